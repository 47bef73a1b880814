"""OTLP in JSON, one export a line, as the file exporter of a collector writes it while it runs.

Spans of a trace come in any order and on many lines. Each line adds its spans at once; what a later
line shows in another light is told again.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters._documents import members_by_name
from quartermaster.adapters._lines import Object, read_objects
from quartermaster.adapters._otlp import CONTAINER
from quartermaster.adapters._span_documents import spans_of
from quartermaster.adapters._spans import Recollection, Span, tell
from quartermaster.adapters.otlp_json import is_lines


class _Probe(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[msgspec.Raw] | None = None
    resource_logs: Any = None
    resource_metrics: Any = None

    def says_nothing(self) -> bool:
        return self.resource_spans is None and self.resource_logs is None and self.resource_metrics is None


_probe = msgspec.json.Decoder(_Probe).decode


class OtlpLineReader:
    """Reads one file from its first line on."""

    def __init__(self) -> None:
        self._memory = Recollection()

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries of the spans of one export; an export of other signals tells nothing."""
        outputs: list[Record | RejectedLine] = []
        for item in read_objects(line, offset, _probe):
            outputs.extend(self._read(item) if isinstance(item, Object) else (item,))
        return outputs

    def finish(self) -> Iterable[Record]:
        """Every line has told everything it can."""
        return ()

    def _read(self, item: Object) -> Iterable[Record | RejectedLine]:
        if item.value.says_nothing():
            yield RejectedLine(item.offset, len(item.text), "no export of OpenTelemetry")
        if item.value.resource_spans is None:
            return
        spans: list[Span] = []
        for found in spans_of(item.text, 0, CONTAINER):
            if isinstance(found, RejectedLine):
                yield RejectedLine(item.offset + found.offset, found.length, found.reason)
            else:
                spans.append(found)
        for told in tell(spans, self._memory):
            yield Record(told.raw, item.offset + told.span.offset, told.span.length)


class OtlpJsonLines:
    """Files of a collector's file exporter."""

    name = "otlp_json_lines"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A first line that is one object with `resourceSpans`."""
        return b"resourceSpans" in members_by_name(head) and is_lines(head)

    def line_reader(self) -> OtlpLineReader:
        """A fresh reader."""
        return OtlpLineReader()


ADAPTER: Final[LineAdapter] = OtlpJsonLines()
