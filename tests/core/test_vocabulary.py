"""Which entry types are known, and how those that are not are told."""

from quartermaster.core.trajectory import ENTRY_TYPE_OF_KIND
from quartermaster.core.vocabulary import FURTHER_TYPES, KNOWN_ENTRY_TYPES, UNKNOWN_TYPES_KEPT, unknown_types


def test_every_type_that_makes_a_step_is_known():
    assert set(ENTRY_TYPE_OF_KIND.values()) <= KNOWN_ENTRY_TYPES


def test_types_that_are_not_known_are_counted_by_name():
    assert unknown_types(["llm.call", "robot.danced", "message.user", "robot.danced"]) == {"robot.danced": 2}


def test_a_file_of_countless_types_names_the_first_and_counts_the_rest_together():
    first = unknown_types(f"type.{number}" for number in range(UNKNOWN_TYPES_KEPT + 50))
    assert len(first) == UNKNOWN_TYPES_KEPT + 1
    assert first[FURTHER_TYPES] == 50
    assert unknown_types(["type.0", "type.new", "type.newer"], first) == {"type.0": 1, FURTHER_TYPES: 2}


def test_a_type_that_is_no_text_or_endless_is_told_as_a_short_text():
    (name,) = unknown_types(["\ud800" + "x" * 10_000])
    assert name.startswith("?x")
    assert len(name) == 200
    name.encode()
