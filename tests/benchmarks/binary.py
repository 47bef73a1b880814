"""What the single executable file costs: its size, `--version`, the first and the next start.

python tests/benchmarks/binary.py dist/quartermaster
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from running import Daemon

REPEAT = 5


def cpu_of(run: Callable[[], object]) -> float:
    """Processor seconds of the children that ended meanwhile."""

    def so_far() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = so_far()
    run()
    return so_far() - before


def seconds_of(run: Callable[[], object]) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began


def start_seconds(home: Path, program: Path) -> float:
    """From the start of the process to the first 200 on /readyz."""
    with Daemon.start(home, program=(str(program),)) as daemon:
        return daemon.start_seconds


def main(program: Path) -> None:
    """Print the table."""

    def version() -> None:
        subprocess.run([program, "--version"], check=True, stdout=subprocess.DEVNULL)

    version()  # so that the file is in memory
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        first = start_seconds(home, program)
        next_start = statistics.median(start_seconds(home, program) for _ in range(REPEAT))
    rows = (
        ("size", f"{program.stat().st_size / 2**20:.1f} MiB"),
        ("`--version`, processor time", f"{statistics.median(cpu_of(version) for _ in range(REPEAT)):.2f} s"),
        ("`--version`, wall clock", f"{statistics.median(seconds_of(version) for _ in range(REPEAT)):.2f} s"),
        ("spawn to first 200 on `/readyz`, first start", f"{first:.2f} s"),
        ("spawn to first 200 on `/readyz`, existing home", f"{next_start:.2f} s"),
    )
    sys.stdout.write("| the single file | measured |\n|---|---|\n")
    sys.stdout.writelines(f"| {what} | {figure} |\n" for what, figure in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
