"""Reading one native entry: what is accepted, what is rejected and with which reason."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quartermaster.core.journal import (
    ID_LIMIT,
    JournalEntry,
    Payload,
    format_instant,
    minted_id,
    parse_instant,
    read_entry,
)
from quartermaster.errors import Rejected

NEW_YEAR = 1_767_225_600 * 10**9


def entry(**fields):
    body = {"entry_type": "llm.call", "ts": "2026-01-01T00:00:00Z"} | fields
    return read_entry(json.dumps(body).encode())


def reason(raw):
    with pytest.raises(Rejected) as rejected:
        read_entry(raw)
    return str(rejected.value)


def reason_of(**fields):
    body = {"entry_type": "llm.call", "ts": "2026-01-01T00:00:00Z"} | fields
    return reason(json.dumps(body).encode())


def test_type_and_time_are_enough():
    assert entry() == JournalEntry(
        id=None,
        workspace_id=None,
        mission_id=None,
        instant=NEW_YEAR,
        entry_type="llm.call",
        severity=0,
        actor_type=None,
        actor_id=None,
        trace_id=None,
        payload=Payload(),
    )


def test_unknown_types_and_fields_are_no_obstacle():
    assert entry(entry_type="page.viewed", colour="red", payload={"x": [1]}).entry_type == "page.viewed"


@pytest.mark.parametrize("payload", [None, 5, "text", [1, 2], True])
def test_a_payload_that_is_no_object_counts_as_empty(payload):
    assert entry(payload=payload).payload == Payload()


def test_empty_texts_are_absent():
    read = entry(id="", mission_id="", workspace_id="", actor_id="", trace_id="", severity="")
    absent = (read.id, read.mission_id, read.workspace_id, read.actor_id, read.trace_id)
    assert absent == (None,) * 5
    assert read.severity == 0


@pytest.mark.parametrize(("name", "index"), [("info", 0), ("notice", 1), ("warn", 2), ("error", 3)])
def test_severities_are_ranked(name, index):
    assert entry(severity=name).severity == index


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"entry_type": None}, "entry_type is missing or not a text"),
        ({"entry_type": ""}, "entry_type is missing or not a text"),
        ({"entry_type": 5}, "entry_type is missing or not a text"),
        ({"entry_type": "x" * (ID_LIMIT + 1)}, f"entry_type has more than {ID_LIMIT} characters"),
        ({"ts": None}, "ts is missing or not a text"),
        ({"ts": 1767225600}, "ts is missing or not a text"),
        ({"ts": "yesterday"}, "ts is not an RFC 3339 time"),
        ({"id": 7}, "id is not a text"),
        ({"id": "  "}, "id is blank"),
        ({"mission_id": "\t"}, "mission_id is blank"),
        ({"mission_id": "x" * (ID_LIMIT + 1)}, f"mission_id has more than {ID_LIMIT} characters"),
        ({"severity": "fatal"}, "severity is none of info, notice, warn, error"),
        ({"severity": ["warn"]}, "severity is none of info, notice, warn, error"),
    ],
)
def test_a_field_that_cannot_be_right_is_named(fields, expected):
    assert reason_of(**fields) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "JSON ends too early"),
        (b'{"entry_type": "llm.call', "JSON ends too early"),
        (b"[]", "not a JSON object"),
        (b"5", "not a JSON object"),
        (b'{"entry_type": "a\xff", "ts": ""}', "not valid UTF-8 (byte 17)"),
        (
            b'{"entry_type": "a", "ts": "2026-01-01T00:00:00Z", "payload": {"tokens": 1e400}}',
            "a number is out of range",
        ),
        (b'{"payload":' * 100_000, "JSON is nested too deeply"),
    ],
)
def test_text_that_is_no_entry_is_rejected_with_its_reason(raw, expected):
    assert reason(raw) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"cut \\ud83d", "\\ud83d is half of a surrogate pair"),
        (b"cut \\uD83D here", "\\uD83D is half of a surrogate pair"),
        (b"\\udc00 tail", "\\udc00 is half of a surrogate pair"),
        (b"\\ud83d\\ude80 \\\\ud83d \\ud83d", "\\ud83d is half of a surrogate pair"),
    ],
)
def test_half_a_surrogate_pair_is_called_what_it_is(text, expected):
    assert reason(b'{"entry_type": "a", "ts": "2026-01-01T00:00:00Z", "summary": "%s"}' % text) == expected


def test_a_line_cut_off_inside_of_an_escape_ends_too_early():
    assert reason(b'{"entry_type": "a", "summary": "\\ud83d') == "JSON ends too early"


def test_bytes_that_are_no_utf_8_are_found_in_fields_that_nobody_reads():
    raw = b'{"entry_type": "a", "ts": "2026-01-01T00:00:00Z", "payload": {"text": "caf\xe9"}}'
    assert reason(raw) == "not valid UTF-8 (byte 74)"


@pytest.mark.parametrize("raw", [b"\0", b"nonsense", b'{"a": NaN}', b'{"a": "\\ud800"}', b"{} {}"])
def test_other_nonsense_is_rejected_too(raw):
    assert reason(raw)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.5Z"),
        ("2026-01-01T00:00:00.1234567899Z", "2026-01-01T00:00:00.123456789Z"),
        ("2026-01-01T05:30:00+05:30", "2026-01-01T00:00:00Z"),
        ("2025-12-31T16:00:00.25-08:00", "2026-01-01T00:00:00.25Z"),
        ("2026-01-01 00:00:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01 00:00:00.25Z", "2026-01-01T00:00:00.25Z"),
        ("1700-01-01T00:00:00Z", "1700-01-01T00:00:00Z"),
        ("2261-12-31T23:59:59.999999999Z", "2261-12-31T23:59:59.999999999Z"),
    ],
)
def test_times_are_read_in_every_form(text, shown):
    assert format_instant(parse_instant(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-02-30T00:00:00Z",
        "2026-01- 1T00:00:00Z",
        "2026-01- 1T00:00:00+00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00ZZ",
        "2026-01-01T00:00:00.+01:00",
        "2026-01-01T00:00:00+ 5:00",
        "2026-01-01T00:00:00++5:00",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+0530",
        "2026-01-01 00:00:00+02:00",
        "\u0662\u0660\u0662\u0666-01-01T00:00:00Z",
        "2026-01-01T00:00:\u0660\u0660Z",
        "0001-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
        "1767225600",
        "x" * 1_000,
    ],
)
def test_nonsense_times_are_rejected(text):
    with pytest.raises(Rejected):
        parse_instant(text)


def test_the_first_and_the_last_day_that_can_be_told_are_no_whole_days():
    assert parse_instant("2262-04-11T12:00:00Z")
    assert parse_instant("1677-09-21T12:00:00Z")
    for text in ("2262-04-11T23:59:00Z", "1677-09-21T00:00:00Z"):
        with pytest.raises(Rejected, match="1678 to 2261"):
            parse_instant(text)


@given(st.integers(-9 * 10**18, 9 * 10**18))
def test_an_instant_survives_being_written(instant):
    assert parse_instant(format_instant(instant)) == instant


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_rejected(text):
    with suppress(Rejected):
        assert type(parse_instant(text)) is int


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_or_rejected(raw):
    with suppress(Rejected):
        assert type(read_entry(raw)) is JournalEntry


def test_a_minted_id_follows_from_its_parts_and_keeps_them_apart():
    assert minted_id("a", b"b") == minted_id("a", "b")
    assert minted_id("ab", "") != minted_id("a", "b")
    assert len(minted_id("\ud800")) == 18
    assert minted_id("tau_bench", "m", "1", b"2") == "j_0b99be06c4f9846b", (
        "a new version would count everything twice"
    )
