"""Everything SQLite, as synchronous functions over a connection; `database` owns the connections."""
