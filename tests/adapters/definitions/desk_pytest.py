"""The cases of the desk for pytest; DESK names which desk, each case is asked twice (pytest-repeat)."""

import os
from collections.abc import Callable

import pytest
from desk import CASES, answer

DESK = os.environ.get("DESK", "desk-v1")


@pytest.fixture
def boat(request: pytest.FixtureRequest) -> str:
    if DESK == "desk-closed":
        raise ConnectionError("the boat does not answer")
    return "Tern"


@pytest.mark.repeat(2)
@pytest.mark.parametrize("case", CASES)
def test_desk(case: str, record_property: Callable[[str, object], None]) -> None:
    question, fact = CASES[case]
    said = answer(DESK, question)
    record_property("variant", DESK)
    record_property("prompt", question)
    record_property("output", said)
    record_property("input_tokens", len(question.split()))
    record_property("output_tokens", len(said.split()))
    record_property("cost_usd", len(said.split()) / 1000)
    assert fact in said


def test_boat(boat: str) -> None:
    assert boat == "Tern"


@pytest.mark.skip(reason="the desk is closed in winter")
def test_winter(boat: str) -> None:
    assert boat == "none"
