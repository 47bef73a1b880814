"""OTLP in JSON as one document: `resourceSpans` over several lines."""

from collections.abc import Iterator
from typing import Final, Literal

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import members_by_name
from quartermaster.adapters._otlp import CONTAINER
from quartermaster.adapters._span_documents import read_document


def is_lines(head: bytes) -> bool:
    """Whether a whole object ends on the first line: then each further line is one more."""
    start = json.start_of(head)
    first, newline, _ = head[start:].partition(b"\n")
    return not newline or json.value_end(first, 0) is not None


class OtlpJson:
    """Files of exports that somebody has formatted for people, or written at once."""

    name = "otlp_json"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with `resourceSpans` that goes on over several lines."""
        return b"resourceSpans" in members_by_name(head) and not is_lines(head)

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of every span; one that cannot be read costs itself."""
        return read_document(document, CONTAINER)


ADAPTER: Final[DocumentAdapter] = OtlpJson()
