"""Every benchmark, by one command: `python tests/benchmarks/run.py [--only NAME] [--repeat N] [--markdown]`.

Rates are per second of processor time, medians of repetitions that take turns with their floor. Run it in an
environment that the program is installed in, with `wrk` on the path; it takes about a quarter of an hour and
3 GiB of disk.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from subjects import BENCHMARKS
from workshop import Row, Workshop

_PACKAGES = ("litestar", "msgspec", "uvicorn", "httptools", "anyio", "watchfiles", "zstandard")
_TITLES = ("what", "at least", "aim", "ours", "floor", "ratio")


def main() -> None:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="may be given again")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each measurement")
    parser.add_argument("--markdown", action="store_true", help="a table for a README")
    parser.add_argument("--folder", type=Path, help="where to work instead of the system's temporary folder")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quartermaster-benchmarks-", dir=arguments.folder))
    rows: list[Row] = []
    try:
        workshop = Workshop(folder, arguments.repeat)
        for name in arguments.only or BENCHMARKS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            measured = BENCHMARKS[name](workshop)
            rows += measured
            print(*_lines(measured, markdown=False), sep="\n", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(_machine(), "", *_lines(rows, markdown=arguments.markdown), sep="\n")


def _machine() -> str:
    from quartermaster.store.database import sqlite_version

    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()},"
        f" load {load}; Python {platform.python_version()}, SQLite {sqlite_version()}, {versions}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _lines(rows: list[Row], *, markdown: bool) -> list[str]:
    table = [_TITLES, *((row.what, row.at_least, row.aim, row.ours, row.floor, row.ratio) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_TITLES))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in table]
    if not markdown:
        return ["  ".join(line).rstrip() for line in padded]
    rule = ["-" * width for width in widths]
    return [f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:])]


if __name__ == "__main__":
    main()
