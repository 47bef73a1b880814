"""Results of promptfoo in JSON: one mission a test, prompt, provider and repetition."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import members_by_name, or_none, read_object, records_of
from quartermaster.adapters._promptfoo_result import Result, Results, about_of

_NOTHING: Final = "no result is in it"


class _Batch(msgspec.Struct, gc=False):
    timestamp: Any = None
    results: list[Result] = []
    prompts: list[dict[str, Any]] = []


class _Document(msgspec.Struct, rename="camel", gc=False):
    eval_id: Any = None
    results: _Batch = msgspec.field(default_factory=_Batch)
    config: Any = None
    metadata: Any = None


_decode = msgspec.json.Decoder(_Document).decode
_batch_decoder = msgspec.json.Decoder(_Batch)
_lists: Final = {
    "results": msgspec.json.Decoder(Result).decode,
    "prompts": msgspec.json.Decoder(dict[str, Any]).decode,
}


class Promptfoo:
    """What `promptfoo eval -o results.json` writes."""

    name = "promptfoo"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with an `evalId` whose `results` have a version and prompts."""
        found = members_by_name(head)
        if not {b"evalId", b"results"} <= found.keys() or head[found[b"results"]] != ord("{"):
            return False
        names = {member.name for member in json.members(head, found[b"results"])}
        return b"version" in names and bool(names & {b"prompts", b"results"})

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each result; a malformed one costs itself."""
        start = json.start_of(document)
        whole = or_none(_decode, memoryview(document)[start:])
        read, rejected = (whole, []) if whole is not None else _recovered(document, start)
        results = Results(about_of(read.eval_id, read.results.timestamp, read.config, read.metadata))
        entries = [entry for result in read.results.results for entry in results.entries_of(result)]
        return records_of(document, entries, rejected, _NOTHING)


def _recovered(document: bytes, start: int) -> tuple[_Document, list[RejectedLine]]:
    """What is readable of a document that is cut off or broken somewhere."""
    read = _Document()
    if document[start : start + 1] != b"{":
        rest = len(document) - start
        return read, [RejectedLine(start, rest, "not a JSON object")] if rest else []
    rejected: list[RejectedLine] = []
    for name, (begin, end) in json.members(document, start):
        if name == b"results":
            read.results, rejected = _recovered_batch(document, begin, end)
        elif end is not None and name in (b"evalId", b"config", b"metadata"):
            attribute = "eval_id" if name == b"evalId" else name.decode()
            setattr(read, attribute, json.decoded_or_none(document[begin:end]))
    if not rejected:
        rejected = [RejectedLine(start, len(document) - start, "not valid JSON, or not of this format")]
    return read, rejected


def _recovered_batch(document: bytes, begin: int, end: int | None) -> tuple[_Batch, list[RejectedLine]]:
    batch, rejected = read_object(document[begin:end], _batch_decoder, _lists)
    moved = [RejectedLine(begin + one.offset, one.length, one.reason) for one in rejected]
    return batch or _Batch(), moved


ADAPTER: Final[DocumentAdapter] = Promptfoo()
