"""Cut the power under the writer again and again, then look at what the disk still holds.

Run it: python tests/faults/power.py --rounds 300

The statements are the program's own (`journal.append`, `runs.queue_run`, `claim_next`, `finish`), with its
own pragmas. They run on a file system that keeps what was written apart from what was synced: at the cut
each file falls back to its last synced state and any of the writes behind it, whole or torn by sectors.
It prints one JSON object and exits with 1 when something acknowledged is gone or the database is damaged.
With `--synchronous normal` it has to lose something: that shows that it can tell.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from quartermaster.core.run import Completed
from quartermaster.store import access, journal, runs, verification
from quartermaster.store.database import closing_connection, configure, prepare, quick_check

_SECTOR = 512
_PAGES_BETWEEN_CHECKPOINTS = 40
_LONGEST = 400
"""Writes and syncs before the cut, at the most."""
_WAYS = ("nothing", "first", "some", "torn")
_NAME = "quartermaster.db"
_NOW = 1_800_000_000 * 10**9


class PowerCut(apsw.IOError):
    """The power is gone: nothing that is written from here on happens."""


class Disk:
    """Files as they were synced last, and what was written to them since."""

    def __init__(self, choice: random.Random) -> None:
        self.synced: dict[str, bytearray] = {}
        self._written: dict[str, list[tuple[int, bytes | None]]] = {}
        self._choice = choice
        self.steps_left: int | None = None

    def step(self) -> None:
        if self.steps_left is None:
            return
        self.steps_left -= 1
        if self.steps_left < 0:
            raise PowerCut("the power was cut")

    def write(self, name: str, place: int, data: bytes | None) -> None:
        """Bytes at a place; None: the file ends there."""
        self.step()
        self._written.setdefault(name, []).append((place, data))

    def sync(self, name: str) -> None:
        self.step()
        image = self.synced.setdefault(name, bytearray())
        for place, data in self._written.pop(name, ()):
            _apply(image, place, data)

    def remove(self, name: str) -> None:
        self.synced.pop(name, None)
        self._written.pop(name, None)

    def left(self, way: str) -> dict[str, bytes]:
        """What is found after the cut: of the writes that were not synced nothing, the first ones, some in
        any choice, or some of them torn."""
        return {name: self._image(name, way) for name in sorted(self.synced.keys() | self._written.keys())}

    def _image(self, name: str, way: str) -> bytes:
        image = bytearray(self.synced.get(name, b""))
        writes = self._written.get(name, [])
        if way == "nothing":
            writes = []
        elif way == "first":
            writes = writes[: self._choice.randint(0, len(writes))]
        else:
            writes = [one for one in writes if self._choice.random() < 0.5]
        for place, data in writes:
            if way == "torn" and data is not None and self._choice.random() < 0.5:
                for start in range(0, len(data), _SECTOR):
                    if self._choice.random() < 0.5:
                        _apply(image, place + start, data[start : start + _SECTOR])
            else:
                _apply(image, place, data)
        return bytes(image)


def _apply(image: bytearray, place: int, data: bytes | None) -> None:
    end = place if data is None else place + len(data)
    if len(image) < end:
        image.extend(bytes(end - len(image)))
    if data is None:
        del image[place:]
    else:
        image[place:end] = data


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._name = None if text is None else Path(text).name

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._name is not None:
            self._disk.write(self._name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        if self._name is not None:
            self._disk.write(self._name, newsize, None)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._name is not None:
            self._disk.sync(self._name)


class _FileSystem(apsw.VFS):
    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _File:
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.remove(Path(filename).name)
        super().xDelete(filename, syncdir)


class _Cursor:
    """What the program uses of a cursor of sqlite3."""

    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._connection = connection
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall
        self._cursor = cursor

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    @property
    def lastrowid(self) -> int:
        return self._connection.last_insert_rowid()


class _Connection:
    """What the program uses of a connection of sqlite3, on a file system of ours."""

    def __init__(self, path: Path, file_system: str) -> None:
        self._connection = apsw.Connection(str(path), vfs=file_system)

    def execute(self, statement: str, values: Any = ()) -> _Cursor:
        return _Cursor(self._connection, self._connection.execute(statement, values))

    def executemany(self, statement: str, rows: Any) -> _Cursor:
        return _Cursor(self._connection, self._connection.executemany(statement, rows))

    def close(self) -> None:
        try:
            self._connection.close(True)
        except apsw.Error:
            return


class Acknowledged:
    """What a client was told to be kept."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.runs: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.entries) + len(self.runs)


def make_home(folder: Path) -> bytes:
    """An empty database of the program, with its first workspace."""
    path = folder / _NAME
    prepare(path)
    with closing_connection(path) as connection:
        access.first_start(connection, now=1, secret_bytes=b"s" * access.SECRET_BYTES)
        connection.execute("pragma wal_checkpoint(truncate)")
    return path.read_bytes()


def work_until_cut(connection: Any, choice: random.Random, acknowledged: Acknowledged) -> None:
    """Take entries in and evaluate, one transaction after the other, until the power goes."""
    number = 0
    while True:
        number += 1
        if choice.random() < 0.7:
            _append(connection, choice, acknowledged, number)
        else:
            _evaluate(connection, acknowledged, number)


def _append(connection: Any, choice: random.Random, acknowledged: Acknowledged, number: int) -> None:
    ids = [f"e{number}-{place}" for place in range(choice.choice([1, 3, 20, 600]))]
    raws = [
        json.dumps(
            {
                "id": entry_id,
                "mission_id": f"m{number % 5}",
                "ts": "2027-01-15T08:00:00Z",
                "entry_type": "exec.command",
                "payload": {"command": "ls", "exit_code": 0, "output": "x" * choice.randint(0, 300)},
            }
        ).encode()
        for entry_id in ids
    ]
    _commit(connection, lambda: journal.append(connection, 1, raws, now=_NOW))
    acknowledged.entries += ids


def _evaluate(connection: Any, acknowledged: Acknowledged, number: int) -> None:
    run_id = f"er_{number:016x}"
    _commit(
        connection,
        lambda: runs.queue_run(
            connection, 1, run_id=run_id, kind="replay", seed=0, mission_id="m1", created_by=None, now=_NOW
        ),
    )
    acknowledged.runs[run_id] = "queued"
    claimed = _commit(connection, lambda: runs.claim_next(connection, boot_id="boot", now=_NOW))
    acknowledged.runs[claimed.run_id] = "running"
    outcome = Completed(
        result="ok", report=msgspec.Raw(b"{}"), measured=(), total_tokens=0, total_cost_usd=0.0
    )
    _commit(connection, lambda: runs.finish(connection, claimed, outcome, now=_NOW))
    acknowledged.runs[claimed.run_id] = "completed"


def _commit(connection: Any, change: Any) -> Any:
    connection.execute("begin immediate")
    outcome = change()
    connection.execute("commit")
    return outcome


def losses(path: Path, acknowledged: Acknowledged) -> list[str]:
    """What was promised and is not there, and what is damaged."""
    complaint = quick_check(path)
    if complaint is not None:
        return [f"damaged: {complaint}"]
    order = ("queued", "running", "completed")
    with closing_connection(path) as connection:
        kept = {journal.entry_id_of(key) for (key,) in connection.execute("select entry_id from entry_key")}
        found = [f"entry {entry_id} is gone" for entry_id in acknowledged.entries if entry_id not in kept]
        for run_id, status in acknowledged.runs.items():
            run = runs.find_run(connection, 1, run_id)
            if run is None or order.index(run.status) < order.index(status):
                found.append(f"run {run_id} was {status}")
            elif run.status == "completed" and runs.find_report(connection, 1, run_id) is None:
                found.append(f"run {run_id} has no report")
        return found + [f"chain: {problem}" for problem in verification.verify_all(connection)]


def cut(folder: Path, empty: bytes, number: int, seed: int, synchronous: str) -> tuple[int, list[str]]:
    """One round: how much was acknowledged, and what of it is lost."""
    choice = random.Random(seed * 1_000_003 + number)
    live, left = folder / f"live{number}", folder / f"left{number}"
    live.mkdir()
    left.mkdir()
    (live / _NAME).write_bytes(empty)
    disk = Disk(choice)
    disk.synced[_NAME] = bytearray(empty)
    acknowledged = Acknowledged()
    file_system = _FileSystem(disk, f"power{number}")
    connection = _Connection(live / _NAME, f"power{number}")
    try:
        connection.execute("pragma locking_mode = exclusive")  # this file system has no shared memory
        configure(connection, writable=True)  # type: ignore[arg-type]
        connection.execute(f"pragma wal_autocheckpoint = {_PAGES_BETWEEN_CHECKPOINTS}")
        if synchronous != "full":
            connection.execute(f"pragma synchronous = {synchronous}")
        disk.steps_left = choice.randint(1, _LONGEST)
        work_until_cut(connection, choice, acknowledged)
    except apsw.IOError:
        pass
    finally:
        for name, data in disk.left(choice.choice(_WAYS)).items():
            if name in (_NAME, f"{_NAME}-wal"):
                (left / name).write_bytes(data)
        connection.close()
        file_system.unregister()
    found = losses(left / _NAME, acknowledged)
    for place in (live, left):
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
    return len(acknowledged), found


def run(*, rounds: int, seed: int, synchronous: str = "full") -> dict[str, Any]:
    """Cut the power as often as that; the figures."""
    began = time.monotonic()
    acknowledged, lossy, examples = 0, 0, list[str]()
    with tempfile.TemporaryDirectory(prefix="quartermaster-power-") as name:
        folder = Path(name)
        empty = make_home(folder)
        for number in range(rounds):
            kept, found = cut(folder, empty, number, seed, synchronous)
            acknowledged += kept
            lossy += bool(found)
            examples += [f"round {number}: {one}" for one in found[:3]]
    return {
        "rounds": rounds,
        "seed": seed,
        "synchronous": synchronous,
        "sqlite": apsw.sqlite_lib_version(),
        "acknowledged": acknowledged,
        "rounds_with_losses": lossy,
        "examples": examples[:20],
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--synchronous", choices=("full", "normal"), default="full")
    chosen = parser.parse_args()
    figures = run(rounds=chosen.rounds, seed=chosen.seed, synchronous=chosen.synchronous)
    print(json.dumps(figures, indent=2))
    return 1 if figures["rounds_with_losses"] else 0


if __name__ == "__main__":
    sys.exit(main())
