"""The cases of the desk for `deepeval test run`; DESK names which desk."""

import os
from typing import Any

import deepeval
import pytest
from deepeval import assert_test
from deepeval.metrics import BaseMetric
from deepeval.test_case import LLMTestCase, ToolCall
from desk import CASES, answer

DESK = os.environ.get("DESK", "desk-v1")


class HoldsTheFact(BaseMetric):
    """1 where the answer holds what was expected, else 0; no model is asked."""

    async_mode = False

    def __init__(self) -> None:
        self.threshold = 0.5

    def measure(self, test_case: LLMTestCase, *_: Any, **__: Any) -> float:
        self.score = float((test_case.expected_output or "") in (test_case.actual_output or ""))
        self.success = self.score >= self.threshold
        self.reason = "the fact is there" if self.success else "the fact is missing"
        return self.score

    async def a_measure(self, test_case: LLMTestCase, *_: Any, **__: Any) -> float:
        return self.measure(test_case)

    def is_successful(self) -> bool:
        return bool(self.success)

    @property
    def __name__(self) -> str:
        return "Holds the fact"


class ServiceLine(HoldsTheFact):
    """A metric that cannot be measured at a closed desk, nor at the second one when it storms."""

    def measure(self, test_case: LLMTestCase, *_: Any, **__: Any) -> float:
        if DESK == "desk-closed" or (DESK == "desk-v2" and "storm" in test_case.input):
            raise ConnectionError("the service line is dead")
        self.score, self.success, self.reason = 1.0, True, "reached"
        return self.score

    @property
    def __name__(self) -> str:
        return "Service line"


@pytest.mark.parametrize("case", CASES)
def test_desk(case: str) -> None:
    question, fact = CASES[case]
    said = answer(DESK, question)
    test_case = LLMTestCase(
        name=case,
        input=question,
        actual_output=said,
        expected_output=fact,
        token_cost=len(said.split()) / 1000,
        completion_time=0.25,
        tools_called=[ToolCall(name="timetable", input_parameters={"about": case}, output=said)],
    )
    metrics = [ServiceLine()] if DESK == "desk-closed" else [HoldsTheFact(), ServiceLine()]
    assert_test(test_case, metrics, run_async=False)


@deepeval.log_hyperparameters
def hyperparameters() -> dict[str, Any]:
    return {"model": DESK, "temperature": 0}
