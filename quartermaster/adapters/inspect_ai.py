"""Inspect logs: one mission a sample and epoch, from `.json` files and from `.eval` archives."""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import members_by_name, or_none, read_object
from quartermaster.adapters._entries import one_line
from quartermaster.adapters._inspect_log import Evaluation, Sample
from quartermaster.adapters._inspect_story import entries_of
from quartermaster.adapters._lines import text_or_none
from quartermaster.adapters._zip import MAGIC, Archive, Member, member_names
from quartermaster.errors import Rejected

_HEADERS: Final = ("header.json", "_journal/start.json")
_ODD_NUMBER: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(-?Infinity|NaN)', re.DOTALL)


class _Log(msgspec.Struct, gc=False):
    eval: Any = None
    plan: Any = None
    samples: list[Sample] | None = None


_decoder = msgspec.json.Decoder(_Log)
_decode_sample = msgspec.json.Decoder(Sample).decode
_lists: Final = {"samples": _decode_sample}


class InspectAi:
    """Logs of Inspect, as `inspect eval` writes them in either of its formats."""

    name = "inspect_ai"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An archive with a journal, or an object whose `eval` names a task and its data."""
        if head.startswith(MAGIC):
            return any(name.startswith("_journal/") for name in member_names(head))
        found = members_by_name(head)
        if not {b"status", b"eval"} <= found.keys() or head[found[b"eval"] : found[b"eval"] + 1] != b"{":
            return False
        names = {member.name for member in json.members(head, found[b"eval"])}
        return {b"task", b"created"} <= names

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each sample; a malformed one costs itself."""
        if document.startswith(MAGIC):
            yield from _read_archive(document)
        else:
            yield from _read_log(document)


def _read_log(document: bytes) -> Iterator[Record | RejectedLine]:
    read, rejected = read_object(document, _decoder, _lists)
    if rejected and (mended := _without_odd_numbers(document)) != document:
        read, rejected = read_object(mended, _decoder, _lists)
    if read is not None:
        evaluation = _evaluation(read)
        for sample in read.samples or []:
            for entry in entries_of(sample, evaluation):
                yield Record(entry, 0, len(document))
    yield from rejected


def _read_archive(document: bytes) -> Iterator[Record | RejectedLine]:
    archive = Archive(document)
    evaluation = _evaluation(_header(archive))
    samples = [member for name, member in archive.members.items() if _is_sample(name)]
    for member in sorted(samples, key=lambda member: member.start):
        try:
            entries = entries_of(_sample(archive, member), evaluation)
        except Rejected as rejected:
            yield _rejection(document, member, str(rejected))
            continue
        for entry in entries:
            yield Record(entry, 0, len(document))
    if not archive.complete:
        yield RejectedLine(0, len(document), "the archive is not whole; what stands in it was read")


def _is_sample(name: str) -> bool:
    return name.startswith("samples/") and name.endswith(".json")


def _header(archive: Archive) -> _Log:
    """The header at the end of a log, or what a log that has none begins with."""
    for name in _HEADERS:
        try:
            text = archive.read(archive.members[name])
        except (KeyError, Rejected):
            continue
        log = or_none(_decoder.decode, text) or or_none(_decoder.decode, _without_odd_numbers(text))
        if log is not None:
            return log
    return _Log()


def _sample(archive: Archive, member: Member) -> Sample:
    text = archive.read(member)
    try:
        return _decode_sample(text)
    except json.UNDECODABLE as error:
        reason = json.why_undecodable(error)
    sample = or_none(_decode_sample, _without_odd_numbers(text))
    if sample is None:
        raise Rejected(f"{member.name}: {reason}")
    return sample


def _rejection(document: bytes, member: Member, reason: str) -> RejectedLine:
    begin = min(member.start, len(document) - 1)
    return RejectedLine(begin, min(member.packed + 1, len(document) - begin), one_line(reason))


def _without_odd_numbers(text: bytes) -> bytes:
    """The text with numbers that JSON does not have made empty texts, each as long as before."""
    if b"NaN" not in text and b"Infinity" not in text:
        return text
    return _ODD_NUMBER.sub(lambda found: b'""'.ljust(len(found[1])) if found[1] else found[0], text)


def _evaluation(log: _Log) -> Evaluation:
    about = log.eval if isinstance(log.eval, dict) else {}
    plan = log.plan if isinstance(log.plan, dict) else {}
    revision, packages = about.get("revision"), about.get("packages")
    version = text_or_none(packages.get("inspect_ai")) if isinstance(packages, dict) else None
    steps = plan.get("steps") if isinstance(plan.get("steps"), list) else []
    solvers = [text_or_none(step.get("solver")) for step in steps or [] if isinstance(step, dict)]
    return Evaluation(
        key=tuple(str(about.get(name)) for name in ("run_id", "task_id", "created")),
        task=text_or_none(about.get("task")),
        agent=one_line("+".join(solver for solver in solvers if solver)) or None,
        model=text_or_none(about.get("model")),
        commit=text_or_none(revision.get("commit")) if isinstance(revision, dict) else None,
        harness=f"inspect_ai {version}" if version else None,
    )


ADAPTER: Final[DocumentAdapter] = InspectAi()
