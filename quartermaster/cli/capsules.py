"""Sides of a verdict as a person names them, as capsules: files, recordings, missions, baselines."""

import base64
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quartermaster.cli.target import Row
from quartermaster.config import Settings, own_prices, profile_of
from quartermaster.core.capsule import Capsule, Head, Sealed, digest_of, is_capsule, open_capsule
from quartermaster.errors import NotFound, StorageError, UsageError

if TYPE_CHECKING:
    from quartermaster.freezing import Side

BASELINE: Final = "baseline:"
SUFFIX: Final = ".qmb"
_START: Final = 64
_LARGEST: Final = 1 << 30
_LOCAL: Final = "local"


def names_capsule(text: str) -> bool:
    """Whether a file of that name is a capsule, or is meant to be one."""
    path = Path(text)
    if not os.path.isfile(text):
        return path.suffix == SUFFIX
    with path.open("rb") as file:
        return is_capsule(file.read(_START)) or path.suffix == SUFFIX


def is_there(text: str) -> bool:
    """Whether there is a file or folder of that name; a list of ids may be too long to be one."""
    return os.path.exists(text)


def read_capsule(path: Path) -> "Side":
    """The capsule of a file; NotFound or UsageError in one line that names it."""
    from quartermaster.freezing import Side

    data = read_bytes(path)
    try:
        capsule = open_capsule(data)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return Side(capsule, Sealed(capsule.digest, data))


def read_bytes(path: Path) -> bytes:
    """A whole file, unless it is larger than anything this program writes."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def head_for(settings: Settings) -> Head:
    """The head of a capsule that is made now."""
    from quartermaster import __version__
    from quartermaster.core.frozen import head_of
    from quartermaster.evaluate import edition_of

    return head_of(__version__, profile_of(settings), edition_of(own_prices(settings)))


def freeze_recordings(path: Path, side: str, settings: Settings, head: Head) -> "Side":
    """Recordings as a capsule; nothing of them is kept elsewhere."""
    from quartermaster import logs
    from quartermaster.cli.recordings import temporary_recordings
    from quartermaster.core.pricing import PriceBook
    from quartermaster.core.selection import Selection
    from quartermaster.evaluate import nothing_to_check
    from quartermaster.freezing import freeze_missions

    logs.configure("auto", level=logging.WARNING)
    price = PriceBook(own_prices(settings))
    with temporary_recordings(settings) as recordings:
        workspace = recordings.add(side, [path])
        everything = Selection(mission_ids=tuple(recordings.mission_ids(workspace)))
        frozen = recordings.read(
            lambda connection: freeze_missions(
                connection, workspace, everything, head, price=price, check=nothing_to_check
            )
        )
    assert frozen is not None
    return frozen


def judge(baseline: Capsule, candidate: Capsule, settings: Settings) -> Any:
    """The report of two capsules: a pair where the candidate is one mission that the baseline has one for."""
    from quartermaster import __version__
    from quartermaster.core.frozen import judge_pair, mission_for
    from quartermaster.evaluate import judge_sets_of

    profile = profile_of(settings)
    if len(candidate.missions) == 1:
        try:
            counterpart = mission_for(baseline, candidate.missions[0].facts)
        except UsageError:
            counterpart = None
        if counterpart is not None:
            return judge_pair(counterpart, candidate, profile, run_id=_LOCAL, made_by=__version__)
    return judge_sets_of(baseline, candidate, profile, run_id=_LOCAL)


def write_evidence(path: Path, report: Row, capsules: dict[str, bytes]) -> None:
    """A report with the capsules that it can be verified from: one `.json` file, or a folder of files."""
    if path.suffix == ".json":
        embedded = {digest: base64.b64encode(data).decode() for digest, data in sorted(capsules.items())}
        write_whole(path, msgspec.json.encode({**report, "capsules": embedded}) + b"\n")
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror}") from error
    for digest, data in sorted(capsules.items()):
        write_whole(path / f"{digest[:16]}{SUFFIX}", data)
    write_whole(path / "report.json", msgspec.json.encode(report) + b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"{path} could not be written: {error.strerror}") from error


def find_capsules(
    wanted: set[str], folder: Path, embedded: Row, known: Callable[[str], bytes | None]
) -> dict[str, Capsule]:
    """Capsules by digest: inside of the report, beside it, or where `known` finds them."""
    found: dict[str, bytes] = {}
    for digest, text in embedded.items():
        try:
            found[str(digest)] = base64.b64decode(text, validate=True)
        except (ValueError, TypeError):
            raise UsageError("a capsule inside of the report is damaged") from None
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            claimed = digest_of(file.read(2 * _START))
        if claimed is not None and claimed in wanted:
            found.setdefault(claimed, read_bytes(path))
    for digest in wanted - found.keys():
        data = known(digest)
        if data is None:
            raise NotFound(
                f"the capsule {digest[:16]}… is neither inside of the report nor a {SUFFIX} file beside it"
            )
        found[digest] = data
    return {digest: _checked(digest, found[digest]) for digest in wanted}


def _checked(digest: str, data: bytes) -> Capsule:
    capsule = open_capsule(data)
    if capsule.digest != digest:
        raise UsageError(f"the capsule {digest[:16]}… is another one than it says")
    return capsule
