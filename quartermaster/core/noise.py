"""How much a breach between two single missions is worth: does the change leave the usual run-to-run range?

The history is the user's own: earlier runs of the same task, and all tasks of the project run at least twice.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from quartermaster.core.assessment import Assessment
from quartermaster.core.comparison import Comparison, dollars
from quartermaster.core.distributions import student_t_quantile
from quartermaster.core.plan import within_task_variance
from quartermaster.core.set_wording import percent, probability
from quartermaster.core.statistics import binomial_mid_p, fisher_mid_p

Grade = Literal["single-run", "outside-noise", "within-run"]

_RUNS_OF_TASK: Final = 3
_REPEATED_TASKS: Final = 20
_ONE_SIDED: Final = 0.95
_ALPHA: Final = 0.05
_NOTHING: Final = 1e-12
"""Less than this of steps, dollars or seconds is none, and has no logarithm worth taking."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Earlier values of one metric: `task` of the baseline runs of the task at hand, the baseline of the
    pair among them; `project` of every task and its runs."""

    task: tuple[float, ...] = ()
    project: Mapping[str, Sequence[float]] = {}


RISING: Final = ("steps_to_goal", "total_cost_usd")
"""Metrics whose breach is graded by the history."""


class Counts(msgspec.Struct, frozen=True):
    """Of one mission: bad events, and what they are out of: calls, or calls without an error."""

    events: int
    of: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A breach's grade, the sentence that follows it, and what the grade rests on.

    `unchanged_moved` is the share of pairs of runs of the same task that moved at least this much.
    """

    grade: Grade
    sentence: str
    limit: float | None = None
    sigma: float | None = None
    runs: int = 0
    repeated_tasks: int = 0
    unchanged_moved: float | None = None
    p: float | None = None


class _Spread(NamedTuple):
    """The deviation of logarithms inside tasks, and the degrees of freedom behind it."""

    sigma: float
    degrees: int


def grade_breaches(
    comparison: Comparison, baseline: Assessment, candidate: Assessment, histories: Mapping[str, History]
) -> dict[str, Evidence]:
    """How much each breach is worth, by metric; `histories` are those of the RISING metrics."""
    graded: dict[str, Evidence] = {}
    for metric in comparison.regressed_metrics:
        if metric in RISING:
            before, after = (float(side.metric(metric).number or 0) for side in (baseline, candidate))
            graded[metric] = grade_rise(before, after, histories.get(metric, History()))
        elif metric == "tool_success_rate":
            graded[metric] = grade_tool_errors(*(_tool_errors(side) for side in (baseline, candidate)))
        elif metric == "hallucinations":
            graded[metric] = grade_hallucinations(*(_hallucinations(side) for side in (baseline, candidate)))
    return graded


def _tool_errors(side: Assessment) -> Counts:
    outcomes = side.metric("tool_success_rate").coverage.known
    return Counts(side.failed_commands + side.decisions_denied, outcomes)


def _hallucinations(side: Assessment) -> Counts:
    return Counts(int(side.metric("hallucinations").number or 0), side.model_calls)


def grade_rise(baseline: float, candidate: float, history: History) -> Evidence:
    """Grades a rise of steps, cost or another positive metric.

    `outside-noise` where the logarithm of the candidate over the geometric mean of this task's h baseline
    runs exceeds 1.645 sigma sqrt(1 + 1/h); sigma is the deviation of logarithms inside tasks. Where few
    runs stand behind sigma, Student's quantile replaces 1.645: with three runs of one task it is 2.92.
    """
    repeated = _repeated(history)
    moved = _share_moved(repeated, baseline, candidate)
    spread = _spread(history, repeated)
    own = [value for value in history.task or (baseline,) if value > _NOTHING]
    if spread is None or baseline <= _NOTHING or not own:
        return Evidence(
            grade="single-run",
            sentence=_single_run(moved, len(repeated)),
            runs=len(history.task),
            repeated_tasks=len(repeated),
            unchanged_moved=moved,
        )
    limit = student_t_quantile(_ONE_SIDED, spread.degrees) * spread.sigma * math.sqrt(1 + 1 / len(own))
    usual = math.fsum(map(math.log, own)) / len(own)
    outside = candidate > _NOTHING and math.log(candidate) - usual > limit
    return Evidence(
        grade="outside-noise" if outside else "single-run",
        sentence=f"It lies {_outside(len(history.task), len(repeated))}."
        if outside
        else _single_run(moved, len(repeated)),
        limit=math.expm1(limit),
        sigma=spread.sigma,
        runs=len(history.task),
        repeated_tasks=len(repeated),
        unchanged_moved=moved,
    )


def rise_sentence(label: str, baseline: float, candidate: float, threshold: float, evidence: Evidence) -> str:
    """A breach with its evidence. `label` begins the sentence; `threshold` is a share of the baseline."""
    dollar = dollars if "cost" in label.lower() else "{:,.4g}".format
    change = f"({dollar(baseline)} -> {dollar(candidate)})"
    if baseline <= _NOTHING:
        return f"{label} rose from nothing {change}. {evidence.sentence}"
    rise = (
        f"{label} rose {percent(candidate / baseline - 1)} {change}, above the {percent(threshold)} threshold"
    )
    if evidence.grade == "outside-noise":
        return f"{rise} and {_outside(evidence.runs, evidence.repeated_tasks)}."
    return f"{rise}. {evidence.sentence}"


def grade_tool_errors(baseline: Counts, candidate: Counts) -> Evidence:
    """Grades a drop of tool success by the calls inside both missions; `of` counts all calls."""
    p = fisher_mid_p(
        candidate.events, candidate.of - candidate.events, baseline.events, baseline.of - baseline.events
    )
    return _within_run(p, "calls", baseline, candidate)


def grade_hallucinations(baseline: Counts, candidate: Counts) -> Evidence:
    """Grades a rise of hallucinations, given the calls in which they could happen; `of` counts those."""
    calls = baseline.of + candidate.of
    share = candidate.of / calls if calls else 0.5
    p = binomial_mid_p(candidate.events, baseline.events, share) if 0 < share < 1 else 1.0
    return _within_run(p, "calls", baseline, candidate)


def _repeated(history: History) -> dict[str, list[float]]:
    """The project's tasks that were run at least twice, without values that have no logarithm."""
    tasks = {
        task: [value for value in values if value > _NOTHING] for task, values in history.project.items()
    }
    return {task: values for task, values in sorted(tasks.items()) if len(values) >= 2}


def _spread(history: History, repeated: Mapping[str, Sequence[float]]) -> _Spread | None:
    """Pooled over the project's repeated tasks where there are enough, else from this task's own runs."""
    own = [value for value in history.task if value > _NOTHING]
    if len(repeated) >= _REPEATED_TASKS:
        tasks = list(repeated.values())
    elif len(own) >= _RUNS_OF_TASK:
        tasks = [own]
    else:
        return None
    w = within_task_variance([[math.log(value) for value in values] for values in tasks])
    return None if w is None else _Spread(math.sqrt(w), sum(len(values) - 1 for values in tasks))


def _share_moved(repeated: Mapping[str, Sequence[float]], baseline: float, candidate: float) -> float | None:
    """Of all ordered pairs of runs of one task, the share that rose at least this much; each task counts
    the same."""
    if not repeated or baseline <= _NOTHING:
        return None
    ratio = candidate / baseline
    shares = [_pairs_moved(values, ratio) for values in repeated.values()]
    return math.fsum(shares) / len(shares)


def _pairs_moved(values: Sequence[float], ratio: float) -> float:
    pairs = [(before, after) for i, before in enumerate(values) for j, after in enumerate(values) if i != j]
    return sum(after >= before * ratio * (1 - 1e-9) for before, after in pairs) / len(pairs)


def _single_run(moved: float | None, tasks: int) -> str:
    sentence = "One run against one run cannot separate this from run-to-run variation"
    if moved is None:
        return f"{sentence}."
    which = "repeated task" if tasks == 1 else f"{tasks} repeated tasks"
    return f"{sentence}: in your last {which}, {percent(moved)} of unchanged pairs moved at least this much."


def _outside(runs: int, tasks: int) -> str:
    if runs >= 2:
        return f"outside the 95 % range of this task's {runs} earlier runs"
    return f"outside the 95 % range of runs of the same task, known from your last {tasks} repeated tasks"


def _within_run(p: float, unit: str, baseline: Counts, candidate: Counts) -> Evidence:
    counted = f"{baseline.events} of {baseline.of} -> {candidate.events} of {candidate.of} {unit}"
    if p > _ALPHA:
        return Evidence(grade="single-run", sentence=f"{_single_run(None, 0)[:-1]} ({counted}).", p=p)
    return Evidence(
        grade="within-run",
        sentence=f"The calls inside the two runs are enough to tell ({counted}; {probability(p)}).",
        p=p,
    )
