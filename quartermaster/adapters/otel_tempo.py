"""Traces as Grafana Tempo exports them: OTLP in JSON as one document, under its older names."""

from collections.abc import Iterator
from typing import Final, Literal

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import members_by_name
from quartermaster.adapters._otlp import CONTAINER
from quartermaster.adapters._span_documents import read_document


class Tempo:
    """Exports of one trace."""

    name = "otel_tempo"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with `batches`, the first of which has a resource or spans."""
        batches = members_by_name(head).get(b"batches")
        if batches is None:
            return False
        beginning = head[batches : batches + 4096]
        return any(name in beginning for name in (b'"resource"', b'"scopeSpans"', b'"instrumentationLib'))

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of every span; one that cannot be read costs itself."""
        return read_document(document, CONTAINER)


ADAPTER: Final[DocumentAdapter] = Tempo()
