"""What processes cost: processor time and memory of a process and everything that it has started."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name: state, parent, ...; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """Live processes that a process has started, and theirs."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            parents.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def own_cpu(pid: int) -> float:
    """Processor seconds of one process with all of its threads, without its children."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def tree_cpu(pid: int) -> float:
    """Processor seconds of a process, of its children that have ended, and of those that live."""
    return sum(
        sum(int(field) for field in fields[11:15]) / _TICKS
        for one in (pid, *descendants(pid))
        if (fields := _stat(one))
    )


def tree_rss(pid: int) -> int:
    """Resident bytes of a process and its live children, shared pages counted for each."""
    page = resource.getpagesize()
    return sum(int(fields[21]) * page for one in (pid, *descendants(pid)) if (fields := _stat(one)))


@contextmanager
def peak_rss(pid: int) -> Iterator[list[int]]:
    """The highest resident size of the tree while the block runs, looked at every 10 ms."""
    peak = [0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], tree_rss(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def cpu_of(command: Sequence[str]) -> float:
    """Processor seconds of a command from its start to its end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def wait_until(condition: Callable[[], bool], seconds: float, pause: float) -> None:
    """Ask until the answer is yes; TimeoutError when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing after {seconds} s")
        time.sleep(pause)
