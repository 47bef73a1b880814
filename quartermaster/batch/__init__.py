"""Any number of recordings evaluated into tables: here over processes, or on a cluster that is there.

sources      which recordings there are: files, folders, archives, globs, URLs
gathering    entries of a few recordings joined into missions, as an ingest would
evaluation   the pure function: one recording in, what is known of its missions out
engines      who runs it: processes of this machine, dask, ray
parts        what has been evaluated, on the disk, so that a killed run goes on
merging      missions that several recordings tell of
tables       the Parquet files
driver       all of it together
"""
