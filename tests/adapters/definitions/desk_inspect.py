"""The cases of the desk for Inspect, two epochs; the solver says what the desk says, no model is asked."""

import os
from typing import Any

from desk import CASES, answer
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import includes
from inspect_ai.solver import Generate, Solver, TaskState, solver

DESK = os.environ.get("DESK", "desk-v1")


@solver
def desk_answers() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        said = answer(DESK, state.input_text)
        state.output = ModelOutput.from_content(DESK, said)
        state.messages.append(state.output.message)
        return state

    return solve


@task
def desk() -> Task:
    samples: list[Any] = [Sample(id=case, input=asked, target=fact) for case, (asked, fact) in CASES.items()]
    return Task(dataset=samples, solver=desk_answers(), scorer=includes(), epochs=2)
