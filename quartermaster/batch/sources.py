"""Which recordings there are: files, folders, archives and globs of this machine, URLs that fsspec reads."""

import glob
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from quartermaster.errors import DaemonUnreachable, NotAllowed, NotFound, NotInstalled, UsageError
from quartermaster.ingest import IGNORED_ENDINGS
from quartermaster.store.sources import printable_path

_ARCHIVES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_WILD: Final = frozenset("*?[")
_STAMPS: Final = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified")
_STAMPS_AT_LAST: Final = ("updated", "created")
_IN_THIS_PROCESS: Final = "memory"

Options = dict[str, Any]


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is a recording, or an archive of them. `stamp` changes when the file does.

    `name` is how the tables call it. `location` is a path, or a URL where `remote`; `data` are the bytes of
    what no other process can reach.
    """

    name: str
    location: str
    size: int
    stamp: str
    remote: bool = False
    archive: bool = False
    data: bytes | None = None

    @property
    def ending(self) -> str:
        """What tells which kind of archive it is."""
        return next((one for one in _ARCHIVES if self.location.lower().endswith(one)), "")


class Unreadable(NamedTuple):
    """A folder that could not be looked into, and why."""

    name: str
    reason: str


class Found(NamedTuple):
    """Files in the order of their names, each once."""

    units: tuple[Unit, ...]
    unreadable: tuple[Unreadable, ...]


def find(sources: Sequence[str], *, leave_out: Path) -> Found:
    """Every file below the sources but those of the folder `leave_out`. Raises NotFound for a source that is
    not there, and NotInstalled where a URL needs a package."""
    units: dict[str, Unit] = {}
    unreadable: list[Unreadable] = []
    for source in sources:
        path = _local(source)
        found = _remote_units(source) if path is None else _local_units(path, leave_out, unreadable.append)
        for unit in found:
            units.setdefault(unit.location, unit)
    ordered = sorted(units.values(), key=lambda unit: order_of(unit.name))
    return Found(tuple(ordered), tuple(sorted(unreadable)))


def order_of(name: str) -> tuple[str, ...]:
    """The order in which recordings count: that of their paths, folder by folder."""
    return tuple(name.split("/"))


def opened(unit: Unit) -> IO[bytes]:
    """The bytes of a unit, to be closed by the caller."""
    if unit.data is not None:
        return io.BytesIO(unit.data)
    if not unit.remote:
        return open(unit.location, "rb")
    file: IO[bytes] = _fsspec().open(unit.location, "rb").open()
    return file


def _local(source: str) -> Path | None:
    """The path that a source names; None for a URL."""
    scheme, mark, rest = source.partition("://")
    if not mark:
        return Path(source)
    return Path(unquote(urlsplit(source).path) or rest) if scheme in ("file", "local") else None


def _local_units(path: Path, leave_out: Path, tell: Callable[[Unreadable], None]) -> Iterator[Unit]:
    matches = [path]
    if not path.exists():
        matches = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            told = "no file matches" if _WILD & set(str(path)) else "there is no file or folder"
            raise NotFound(f"{told} {path}")
    for match in matches:
        if match.is_dir():
            yield from _below(match, leave_out, tell)
        else:
            yield _unit(match, match.stat())


def _below(root: Path, leave_out: Path, tell: Callable[[Unreadable], None]) -> Iterator[Unit]:
    if not os.access(root, os.R_OK | os.X_OK):
        raise NotAllowed(f"the folder {root} may not be read; change its permissions")

    def complain(error: OSError) -> None:
        reason = f"the folder cannot be read: {error.strerror}"
        tell(Unreadable(printable_path(os.fsencode(error.filename)), reason))

    outside = leave_out.resolve()
    for folder, folders, names in os.walk(root, onerror=complain):
        place = Path(folder)
        folders[:] = [
            one for one in folders if not one.startswith(".") and (place / one).resolve() != outside
        ]
        for name in names:
            if name.startswith(".") or os.fsencode(name).endswith(IGNORED_ENDINGS):
                continue
            status = (place / name).lstat()
            if stat.S_ISREG(status.st_mode):
                yield _unit(place / name, status)


def _unit(path: Path, status: os.stat_result) -> Unit:
    return Unit(
        name=printable_path(os.fsencode(path)),
        location=str(path.absolute()),
        size=status.st_size,
        stamp=f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}",
        archive=path.name.lower().endswith(_ARCHIVES),
    )


def _fsspec() -> Any:
    try:
        return import_module("fsspec")
    except ImportError as error:
        raise NotInstalled("URLs need fsspec: pip install 'quartermaster[batch]'") from error


def _remote_units(url: str) -> Iterator[Unit]:
    fsspec = _fsspec()
    try:
        system, path = fsspec.core.url_to_fs(url)
        yield from _listed(system, path)
    except ImportError as error:
        raise NotInstalled(f"{url} cannot be read: {error}") from error
    except FileNotFoundError as error:
        raise NotFound(f"there is nothing at {url}") from error
    except PermissionError as error:
        raise NotAllowed(f"{url} may not be read with the credentials of this machine") from error
    except ValueError as error:
        raise UsageError(f"{url} cannot be read: {error}") from error
    except OSError as error:
        raise DaemonUnreachable(f"{url} does not answer: {error}") from error


def _listed(system: Any, path: str) -> Iterable[Unit]:
    if _WILD & set(path):
        found = system.glob(path, detail=True)
    elif system.isdir(path):
        found = system.find(path, detail=True)
    else:
        found = {path: system.info(path)}
    if not found:
        raise FileNotFoundError(path)
    return [
        _remote_unit(system, place, facts)
        for place, facts in found.items()
        if facts.get("type") != "directory" and not _ignored(place.rsplit("/", 1)[-1])
    ]


def _ignored(name: str) -> bool:
    return name.startswith(".") or os.fsencode(name).endswith(IGNORED_ENDINGS)


def _remote_unit(system: Any, path: str, facts: dict[str, Any]) -> Unit:
    told = next((str(facts[one]) for one in (*_STAMPS, *_STAMPS_AT_LAST) if facts.get(one) is not None), "")
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    url = str(system.unstrip_protocol(path))
    size = int(facts.get("size") or 0)
    return Unit(
        name=url,
        location=url,
        size=size,
        stamp=f"{size}-{sha256(told.encode()).hexdigest()[:16]}",
        remote=True,
        archive=path.lower().endswith(_ARCHIVES),
        data=system.cat_file(path) if _IN_THIS_PROCESS in protocols else None,
    )
