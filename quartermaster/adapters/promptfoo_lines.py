"""Results of promptfoo as lines, as it writes them to `.jsonl`: the same missions as from its JSON."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters._documents import members_by_name
from quartermaster.adapters._lines import Object, read_objects
from quartermaster.adapters._promptfoo_result import About, Result, Results

_NEEDED: Final = {b"gradingResult", b"testCase", b"promptIdx", b"provider"}
_decode = msgspec.json.Decoder(Result).decode


class PromptfooLineReader:
    """Reads one file from its first line on."""

    def __init__(self) -> None:
        self._results = Results(About("lines"))

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries of one result."""
        outputs: list[Record | RejectedLine] = []
        for item in read_objects(line, offset, _decode):
            outputs.extend(self._read(item) if isinstance(item, Object) else (item,))
        return outputs

    def finish(self) -> Iterable[Record]:
        """Every line has told everything it can."""
        return ()

    def _read(self, item: Object) -> Iterable[Record | RejectedLine]:
        result: Result = item.value
        if result.test_case is None and result.provider is None:
            return (RejectedLine(item.offset, len(item.text), "no result of promptfoo"),)
        entries = self._results.entries_of(result)
        return tuple(Record(entry, item.offset, len(item.text)) for entry in entries)


class PromptfooLines:
    """What `promptfoo eval -o results.jsonl` writes."""

    name = "promptfoo_lines"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A first object with a test case, a prompt's number, a provider and what graded it."""
        return members_by_name(head).keys() >= _NEEDED

    def line_reader(self) -> PromptfooLineReader:
        """A fresh reader."""
        return PromptfooLineReader()


ADAPTER: Final[LineAdapter] = PromptfooLines()
