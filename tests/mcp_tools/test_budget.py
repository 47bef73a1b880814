"""What an answer weighs, what of a text can be seen, and what a place is called."""

import time

import msgspec
import pytest

from quartermaster.errors import UsageError
from quartermaster.mcp_tools.anchors import Anchor, parse_anchor
from quartermaster.mcp_tools.budget import clipped, fitted, tokens_of, visible


class Parts(msgspec.Struct):
    parts: tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("the agent failed", 5),
        ("getElementById", 5),
        ("1234567890", 5),
        ('{"a":1}', 7),
        ("我们需要", 8),
        ("🚀🚀", 8),
        ("9f86d081884c7d659a2feaa0c55ad015", 24),
        ("\n\t", 2),
        ("        return x", 4),
    ],
)
def test_a_text_weighs_about_what_a_tokenizer_would_make_of_it(text, tokens):
    assert tokens_of(text) == tokens


def test_a_long_hostile_text_is_weighed_at_once():
    began = time.process_time()
    assert tokens_of("aB" * 200_000) > 100_000
    assert tokens_of("a" * 400_000) == 100_000
    assert time.process_time() - began < 5


def test_a_budget_keeps_as_many_parts_as_fit():
    words = tuple(["reason"] * 50)
    for budget in (10, 50, 120):
        kept = fitted(lambda count: Parts(words[:count]), len(words), budget).parts
        assert tokens_of(msgspec.json.encode(Parts(kept)).decode()) <= budget
        assert tokens_of(msgspec.json.encode(Parts((*kept, "reason"))).decode()) > budget
    with pytest.raises(UsageError, match="at least 9 tokens"):
        fitted(lambda count: Parts(words[:count]), len(words), 3)


def test_nothing_in_a_text_is_invisible():
    assert visible("naïve 我们 🚀") == "naïve 我们 🚀"
    assert visible("a\u202eb\u200bc\x1bd\x00") == "a\\u202eb\\u200bc\\u001bd\\u0000"
    assert visible("\U000e0041\ud800") == "\\udb40\\udc41\\ud800"
    assert visible("two\nlines\t") == "two\nlines\t"


def test_a_long_text_is_clipped_to_one_line():
    assert clipped(" one\n two ", 20) == "one two"
    assert clipped("x" * 30, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("text", "anchor"),
    [
        ("m#step 12", Anchor(mission="m", kind="step", number=12)),
        ("m#step12", Anchor(mission="m", kind="step", number=12)),
        ("a#step 1#event 0", Anchor(mission="a#step 1", kind="event", number=0)),
        ("two\nlines#entry j_0 #1", Anchor(mission="two\nlines", kind="entry", entry_id="j_0 #1")),
    ],
)
def test_an_anchor_names_a_mission_and_a_place_in_it(text, anchor):
    assert parse_anchor(text) == anchor


@pytest.mark.parametrize(
    "text", ["", "m", "#step 1", "m#step", "m#step -1", "m#step x", "m#line 3", "m#entry "]
)
def test_what_is_no_anchor_is_refused(text):
    with pytest.raises(UsageError, match="is no anchor"):
        parse_anchor(text)
