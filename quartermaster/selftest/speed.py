"""How long judging takes: one mission of 100,000 steps, and 200 tasks run three times in both arms."""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Final

from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.failure_modes import Context, Evidence, find_failure_modes, find_in
from quartermaster.core.injection import make_mission
from quartermaster.core.mission_metrics import measure
from quartermaster.core.profile import END, START, BehaviourProfile, Edge
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trajectory import COMMAND, MODEL_CALL, Step
from quartermaster.core.transcript import Event, EventKind
from quartermaster.core.trials import Trial
from quartermaster.selftest.figures import Bar, Figure
from quartermaster.selftest.work import Extent, Sources, Work

PART: Final = "speed"
STEPS: Final = 100_000


def figures(work: Work, extent: Extent, sources: Sources) -> Iterator[Figure]:
    (judged,) = work.spread(judge_mission, [(STEPS // 2, extent.seed)])
    what = f"all metrics and detectors over {STEPS:,} steps"
    yield Figure(part=PART, what=what, value=judged, unit="seconds", bar=Bar(most=2.0))
    (compared,) = work.spread(compare_arms, [(200, 3, extent.seed)])
    what = "comparison of two sets, 200 tasks x 3 trials x 8 metrics"
    yield Figure(part=PART, what=what, value=compared, unit="seconds", bar=Bar(most=2.0))


def judge_mission(turns: int, seed: int) -> float:
    """Seconds for the metrics of the rows, and the findings and metrics in the words, of one generated
    mission, two steps a turn."""
    mission = make_mission(turns, seed)
    rows = [_row(event) for event in mission.events if event.step is not None]
    find_failure_modes(make_mission(40, seed))
    assess(rows[:40], PlainTexts())
    began = time.process_time()
    assess(rows, PlainTexts())
    evidence = Evidence(mission, Context())
    measure(evidence, find_in(evidence))
    return time.process_time() - began


def _row(event: Event) -> Step:
    if event.kind is EventKind.MODEL_CALL:
        return Step(
            event.instant,
            MODEL_CALL,
            event.name,
            True,
            tokens=event.tokens,
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            cost=event.cost,
        )
    return Step(event.instant, COMMAND, event.command or event.name, event.succeeded)


def compare_arms(tasks: int, trials: int, seed: int) -> float:
    """Seconds for one comparison of two generated sets."""
    random = Random(seed)  # noqa: S311 - a simulation
    baseline, candidate = (
        [_trial(random, arm, task, order) for task in range(tasks) for order in range(trials)] for arm in "bc"
    )
    compare_sets(baseline[: 8 * trials], candidate[: 8 * trials])
    began = time.process_time()
    compare_sets(baseline, candidate)
    return time.process_time() - began


def _trial(random: Random, arm: str, task: int, order: int) -> Trial:
    steps = round(random.lognormvariate(3, 0.4)) + 1
    tools = [f"tool-{random.randrange(20)}" for _ in range(steps // 2)]
    edges = Counter(Edge(*pair) for pair in pairwise((START, *tools, END)))
    return Trial(
        mission_id=f"{arm}{task}.{order}",
        task=str(task),
        order=order,
        status="succeeded" if random.random() < 0.7 else "failed",
        values={
            "work_steps": steps,
            "total_tokens": 900.0 * steps,
            "total_cost_usd": 0.004 * steps * random.lognormvariate(0, 0.2),
            "wall_time": 2.5 * steps * random.lognormvariate(0, 0.3),
            "hallucinations": int(random.random() < 0.1),
            "guardrail_blocks": int(random.random() < 0.02),
        },
        tool_ok=steps // 2,
        tool_errors=int(random.random() < 0.3),
        behaviour=BehaviourProfile(edges),
    )
