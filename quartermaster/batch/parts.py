"""What has been evaluated, on the disk: parts that are written whole, so that a killed run goes on.

    parts/<name>.part    one line of JSON: the rules, and per piece of work its key, stamp, place and length
                         then the packed answers, one behind the other

An answer is found by what it is of: a file by its name and stamp, missions of several recordings by the
digests of these. Answers under other rules are not looked at.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from quartermaster.errors import StorageError

_ENDING: Final = ".part"
_UNFINISHED: Final = ".writing"


class Key(NamedTuple):
    """What an answer is of: the name and the stamp of a file, or the key of a merge and nothing."""

    name: str
    stamp: str


class Place(NamedTuple):
    """Where an answer lies."""

    path: Path
    offset: int
    length: int


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    name: str
    stamp: str
    offset: int
    length: int


class _Head(msgspec.Struct, frozen=True):
    rules: str
    entries: tuple[_Entry, ...]


class Parts:
    """The answers of a folder under some rules."""

    def __init__(self, folder: Path, rules: str) -> None:
        self._folder = folder
        self._rules = rules
        self._places: dict[Key, Place] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            if path.suffix == _UNFINISHED:
                path.unlink()
            elif path.suffix == _ENDING:
                self._places.update(self._read_head(path))

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def answer(self, key: Key) -> bytes:
        """The packed answer of a key that is there."""
        place = self._places[key]
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.length)

    def add(self, answers: Iterable[tuple[Key, bytes]]) -> None:
        """Writes answers as one part, which is there whole or not at all."""
        entries, packed, offset = [], [], 0
        for key, answer in answers:
            entries.append(_Entry(key.name, key.stamp, offset, len(answer)))
            packed.append(answer)
            offset += len(answer)
        if not entries:
            return
        head = msgspec.json.encode(_Head(self._rules, tuple(entries))) + b"\n"
        content = head + b"".join(packed)
        path = self._folder / f"{sha256(content).hexdigest()[:24]}{_ENDING}"
        write_whole(path, content)
        for one in entries:
            self._places[Key(one.name, one.stamp)] = Place(path, len(head) + one.offset, one.length)

    def forget_all_but(self, keys: Iterable[Key]) -> None:
        """Removes the parts that hold none of these answers."""
        wanted = {self._places[key].path for key in keys if key in self._places}
        for path in self._folder.glob(f"*{_ENDING}"):
            if path not in wanted:
                path.unlink()

    def _read_head(self, path: Path) -> Iterator[tuple[Key, Place]]:
        with path.open("rb") as file:
            line = file.readline()
        try:
            head = msgspec.json.decode(line, type=_Head)
        except msgspec.DecodeError:
            return
        end = len(line) + sum(one.length for one in head.entries)
        if head.rules != self._rules or path.stat().st_size != end:
            return
        for one in head.entries:
            yield Key(one.name, one.stamp), Place(path, len(line) + one.offset, one.length)


def write_whole(path: Path, content: bytes) -> None:
    """A file that is there whole, on the disk, or as it was before."""
    unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
