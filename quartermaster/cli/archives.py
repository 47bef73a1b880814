"""Archives of recordings (.zip, .tar and its compressed forms), unpacked within bounds.

Names inside of an archive are a stranger's: none leads out of the folder, links and devices are left out,
and what unpacks to more than the bounds is refused before it fills the disk.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple

from quartermaster.errors import UsageError

MOST_BYTES: Final = 4 << 30
MOST_FILES: Final = 100_000
_PIECE: Final = 1 << 20
_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class _Member(NamedTuple):
    name: str
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """By its name; a format that is a zip itself (such as `.eval`) has another one."""
    return path.is_file() and path.name.lower().endswith((".zip", *_TARS))


def unpack(
    archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES
) -> None:
    """Writes the files of an archive below the folder. Raises UsageError where that is not safe or fails."""
    read = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    left = most_bytes
    try:
        for count, member in enumerate(read(archive), start=1):
            if count > most_files:
                raise UsageError(f"{archive} holds more than {most_files:,} files; unpack it yourself")
            left -= _write(member, _place(folder, member.name, archive), left)
            if left < 0:
                raise UsageError(
                    f"{archive} unpacks to more than {most_bytes >> 20:,} MiB; unpack it yourself"
                )
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise UsageError(f"{archive} cannot be unpacked: {error}") from error
    except OSError as error:
        raise UsageError(f"{archive} cannot be unpacked: {error.strerror or error}") from error


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            if not info.is_dir() and not is_link:
                yield _Member(info.filename, lambda info=info: opened.open(info))  # type: ignore[misc]


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if info.isfile():
                yield _Member(info.name, lambda info=info: opened.extractfile(info))  # type: ignore[misc]


def _place(folder: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        raise UsageError(f"{archive} holds a file whose name leads out of it: {name!r}")
    return folder.joinpath(*parts)


def _write(member: _Member, place: Path, most: int) -> int:
    """How many bytes were written; stops soon after `most`."""
    opened = member.open()
    if opened is None:
        return 0
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with closing(opened), place.open("wb") as file:
        for piece in _pieces(opened):
            written += file.write(piece)
            if written > most:
                break
    return written


def _pieces(opened: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: opened.read(_PIECE), b"")
