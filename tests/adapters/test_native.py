"""The native journal, as lines and as a document."""

import json
import time

import pytest

from quartermaster.adapters import Record, RejectedLine, native, native_document, recognise
from quartermaster.adapters.native import split_concatenated
from quartermaster.core.journal import read_entry

ENTRY = b'{"entry_type":"llm.call","ts":"2026-03-02T09:00:00Z","id":"j_1","mission_id":"m"}'
OTHER = b'{"entry_type":"exec.command","ts":"2026-03-02T09:00:01Z","payload":{"cmd":["a","}{"]}}'
SPREAD = json.dumps(json.loads(ENTRY), indent=2).encode()


def read_line(line: bytes, offset: int = 0) -> list[Record | RejectedLine]:
    return list(native.ADAPTER.line_reader().read_line(line, offset))


def read_document(document: bytes) -> list[Record | RejectedLine]:
    return list(native_document.ADAPTER.read_document(document))


def texts(document: bytes) -> list[bytes]:
    return [output.raw for output in read_document(document) if isinstance(output, Record)]


def test_a_line_is_kept_byte_for_byte():
    spaced = b' {"ts" : "2026-03-02T09:00:00Z",  "entry_type":"x", "odd": 1.50}  '
    assert read_line(spaced, 700) == [Record(spaced, 700, len(spaced))]


def test_a_carriage_return_and_a_byte_order_mark_are_no_part_of_an_entry():
    assert read_line(b"\xef\xbb\xbf" + ENTRY + b"\r") == [Record(ENTRY, 3, len(ENTRY))]


def test_a_byte_order_mark_further_down_stays():
    assert read_line(b"\xef\xbb\xbf" + ENTRY, 10) == [Record(b"\xef\xbb\xbf" + ENTRY, 10, len(ENTRY) + 3)]


def test_blank_lines_are_nothing():
    assert [*read_line(b""), *read_line(b"\r"), *read_line(b" \t ")] == []


def test_two_entries_on_one_line_are_found():
    line = b" " + ENTRY + OTHER + b" " + ENTRY
    spans = split_concatenated(line)
    assert spans is not None
    assert [line[start : start + length] for start, length in spans] == [ENTRY, OTHER, ENTRY]


@pytest.mark.parametrize(
    "line", [b"", b"{}", ENTRY, ENTRY + OTHER[:-1], ENTRY + b"x", b"[1][2]", b"17", b'{"a":"}']
)
def test_any_other_line_is_not_split(line: bytes):
    assert split_concatenated(line) is None


def test_braces_and_quotes_inside_of_texts_are_no_brackets():
    line = rb'{"a":"}{\"}{"}{"b":"\\"}'
    assert split_concatenated(line) == [(0, 14), (14, 10)]


def test_two_deep_objects_on_one_line_are_found():
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    assert split_concatenated(deep + deep) == [(0, len(deep)), (len(deep), len(deep))]


def test_a_long_line_that_is_one_unclosed_text_is_given_up_in_linear_time():
    began = time.process_time()
    assert split_concatenated(b'{"a":"' + b"\\x" * 2_000_000) is None
    assert time.process_time() - began < 2


def test_lines_are_recognised_behind_broken_ones():
    assert (
        recognise(b'{"half\n\x00\x00\nnonsense\n' + ENTRY + b"\n" + OTHER[:20], whole=False) is native.ADAPTER
    )


def test_an_entry_needs_a_type_and_a_time_or_workspace_to_be_recognised():
    assert recognise(b'{"entry_type":"x","workspace_id":"w"}\n', whole=True) is native.ADAPTER
    assert recognise(b'{"entry_type":"x"}\n', whole=True) is None
    assert recognise(b'{"entry_type":7,"ts":"2026-03-02T09:00:00Z"}\n', whole=True) is None


def test_one_compact_entry_without_a_newline_is_a_line():
    assert recognise(ENTRY, whole=True) is native.ADAPTER


def test_a_first_line_longer_than_what_is_looked_at_is_recognised_by_its_beginning():
    assert recognise(ENTRY[:-1] + b',"payload":{"text":"' + b"x" * 300_000, whole=False) is native.ADAPTER


def test_lines_with_a_session_and_a_parent_are_no_journal():
    claude = b'{"sessionId":"s","parentUuid":null,"entry_type":"x","ts":"2026-03-02T09:00:00Z"}\n'
    assert not native.ADAPTER.recognises(ENTRY + b"\n" + claude, whole=True)


@pytest.mark.parametrize(
    "document",
    [
        b"[" + ENTRY + b"," + OTHER + b"]",
        b"[\n" + ENTRY + b",\n" + OTHER + b"\n]\n",
        b' { "count" : 2, "entries" : [' + ENTRY + b" , " + OTHER + b'], "next_cursor": "" }',
        b'{"entries":[\n' + ENTRY + b",\n" + OTHER + b"\n]}",
    ],
)
def test_arrays_and_replies_give_their_elements_byte_for_byte(document: bytes):
    assert recognise(document, whole=True) is native_document.ADAPTER
    assert texts(document) == [ENTRY, OTHER]


def test_one_entry_over_several_lines_is_a_document():
    assert recognise(SPREAD, whole=True) is native_document.ADAPTER
    assert texts(b"\xef\xbb\xbf" + SPREAD + b"\n") == [SPREAD]


def test_equal_elements_each_have_their_own_place():
    outputs = read_document(b"[" + ENTRY + b"," + ENTRY + b"]")
    assert [output.offset for output in outputs] == [1, 2 + len(ENTRY)]


def test_elements_that_are_no_objects_are_rejected_where_they_stand():
    outputs = read_document(b"[" + ENTRY + b', "a]b", [1,[2]], 17]')
    assert [type(output) for output in outputs] == [Record, RejectedLine, RejectedLine, RejectedLine]
    start = len(ENTRY) + 3
    assert (outputs[1].offset, outputs[1].length) == (start, 5)


def test_a_cut_off_array_gives_its_complete_elements_and_one_rejected_rest():
    document = b"[" + ENTRY + b"," + OTHER
    for cut in range(len(ENTRY) + 2, len(document)):
        *complete, rest = read_document(document[:cut])
        assert [output.raw for output in complete if isinstance(output, Record)] == [ENTRY]
        assert isinstance(rest, RejectedLine)
        assert rest.offset + rest.length == cut


def test_an_array_cut_off_behind_an_element_says_so():
    kept, rest = read_document(b"[" + ENTRY)
    assert isinstance(kept, Record)
    assert rest == RejectedLine(1 + len(ENTRY), 0, "the document ends too early")


def test_what_follows_an_array_is_told():
    kept, rest = read_document(b"[" + ENTRY + b"] and more")
    assert isinstance(kept, Record)
    assert isinstance(rest, RejectedLine)


def test_an_element_with_broken_json_does_not_hide_the_others():
    broken = b'{"entry_type": nonsense}'
    assert texts(b"[" + ENTRY + b"," + broken + b"," + OTHER + b"]") == [ENTRY, broken, OTHER]


def test_a_reply_that_is_cut_off_gives_what_is_complete():
    kept, rest = read_document(b'{"count":2,"entries":[' + ENTRY + b"," + OTHER[:30])
    assert isinstance(kept, Record)
    assert read_entry(kept.raw).id == "j_1"
    assert isinstance(rest, RejectedLine)


def test_a_large_array_is_read_in_linear_time():
    document = b"[" + b",".join([ENTRY] * 100_000) + b"]"
    began = time.process_time()
    assert len(read_document(document)) == 100_000
    assert time.process_time() - began < 5


def test_documents_that_were_joined_are_all_read_and_what_follows_is_rejected() -> None:
    def one(number: int) -> bytes:
        return b'{\n "id": "j_%016x",\n "ts": "2026-01-01T00:00:00Z",\n "entry_type": "x"\n}' % number

    joined = b"\n".join([one(1), b"[" + one(2) + b"]", b'{"entries": [' + one(3) + b"]}", one(4), b"rest"])
    assert texts(joined) == [one(1), one(2), one(3), one(4)]
    [rejected] = [told for told in read_document(joined) if isinstance(told, RejectedLine)]
    assert joined[rejected.offset :] == b"rest"
