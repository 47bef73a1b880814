"""A comparison of sets in sentences: the change with its population and certainty, then the verdict.

No p stands alone, no percentage without the number it is of, and a change that was not seen is never
called absent.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from quartermaster.core.behaviour import BehaviourComparison
from quartermaster.core.comparison import dollars
from quartermaster.core.set_verdicts import MetricComparison, SetVerdict
from quartermaster.core.trials import Population

_MANY_RUNS: Final = 1_000

_HEADINGS: Final[dict[SetVerdict, str]] = {
    "regressed": "Regressed",
    "drift": "Drift",
    "no_regression": "No regression",
    "inconclusive": "Inconclusive",
    "improved": "Improved",
    "not_comparable": "Not comparable",
}


def worded(metric: MetricComparison, population: Population) -> MetricComparison:
    sentences = (_change(metric, population), _judgement(metric, population))
    return replace(metric, sentence=" ".join(sentence for sentence in sentences if sentence))


def with_outcome(metrics: Sequence[MetricComparison], population: Population) -> tuple[MetricComparison, ...]:
    """What got cheaper or shorter is never told without what became of the missions' success."""
    outcome = next((metric for metric in metrics if metric.metric == "mission_success"), None)
    if outcome is None or outcome.baseline is None:
        return tuple(metrics)
    beside = f"Mission success over {_size(outcome, population)}: {shown(outcome, outcome.baseline)} -> "
    beside += f"{shown(outcome, outcome.candidate)}."
    return tuple(
        replace(metric, sentence=f"{metric.sentence} {beside}")
        if metric.kind == "ratio" and metric.worsening is not None and metric.worsening < 0
        else metric
        for metric in metrics
    )


def result(
    verdict: SetVerdict,
    metrics: Sequence[MetricComparison],
    obstacle: str | None,
    behaviour: BehaviourComparison | None = None,
) -> str:
    """One line for the whole: the verdict and the metrics that earned it."""
    if obstacle:
        return f"Not comparable: {obstacle}."
    gated = [metric for metric in metrics if metric.verdict != "not_gated"]
    named = _list(metric.label for metric in gated if metric.verdict == verdict)
    parts = [f"{_HEADINGS[verdict]}: {named}"]
    for other in ("drift", "inconclusive", "improved", "not_comparable"):
        labels = _list(metric.label for metric in gated if metric.verdict == other != verdict)
        if labels:
            parts.append(f"{_HEADINGS[other].lower()}: {labels}")
    if behaviour is not None and behaviour.verdict == "drift":
        parts.append("the agent behaves differently")
    return "; ".join(parts) + "."


def population_notes(population: Population) -> Iterator[str]:
    """What was set aside, and why."""
    for name, arm in (("baseline", population.baseline), ("candidate", population.candidate)):
        of = f"of {arm.missions} missions of the {name}"
        if arm.non_terminal:
            yield f"{arm.non_terminal} {of} had not ended or were skipped, and are left out"
        if arm.infrastructure:
            yield f"{arm.infrastructure} {of} failed by infrastructure and are left out"
        if arm.without_task:
            yield f"{arm.without_task} {of} name no task and are left out"
        if arm.quarantined:
            yield f"{arm.quarantined} {of} are of quarantined tasks and are left out"
    if population.quarantined:
        yield f"quarantined for measured instability: {_list(population.quarantined)}"
    if population.only_in_baseline:
        yield f"only in the baseline, not compared: {_list(population.only_in_baseline)}"
    if population.only_in_candidate:
        yield f"only in the candidate, not compared: {_list(population.only_in_candidate)}"
    if population.in_both_sets:
        stand = "mission is" if population.in_both_sets == 1 else "missions are"
        yield f"{population.in_both_sets} {stand} in both sets"


def points(share: float) -> str:
    """A difference of rates in percentage points."""
    return f"{_digits(100 * share)} pp"


def percent(share: float) -> str:
    return f"{_digits(100 * share)} %"


def probability(p: float) -> str:
    """`p 0.03`, or `p < 0.001`."""
    return f"p {bare_probability(p)}"


def bare_probability(p: float) -> str:
    """A probability where it is plain that it is one: `0.03`, or `< 0.001`."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.01 else f"{p:.2f}"


def runs_word(runs: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(runs, f"{runs} times")


def _change(metric: MetricComparison, population: Population) -> str:
    label = metric.label[0].upper() + metric.label[1:]
    if metric.baseline is None or metric.candidate is None:
        return f"{label} cannot be said of both sets."
    facts = "; ".join(_facts(metric, population))
    if metric.worsening is None:
        return f"{label} rose from nothing ({facts})."
    if not metric.worsening:
        return f"{label} did not change ({facts})."
    falls = (metric.worsening > 0) == (metric.kind in ("outcome", "rate"))
    amount = _amount(metric, abs(metric.worsening))
    return f"{label} {'fell' if falls else 'rose'} {amount} ({facts})."


def _facts(metric: MetricComparison, population: Population) -> Iterator[str]:
    kind = {"geometric mean ratio": "geometric mean ", "ratio of sums": "mean "}.get(metric.effect or "", "")
    each = " per mission" if metric.kind == "count" else ""
    change = f"{shown(metric, metric.baseline)} -> {shown(metric, metric.candidate)}"
    yield f"{kind}{change}{each}, {_size(metric, population)}"
    if metric.interval is not None:
        yield f"95 % interval {range_of(metric)}"
    if population.paired:
        yield f"{_tasks(metric.worse)} got worse, {metric.better} better"
    if metric.p is not None:
        chance = probability(metric.p)
        if metric.adjusted_p is not None and probability(metric.adjusted_p) != chance:
            chance += f", {bare_probability(metric.adjusted_p)} after Holm"
        yield chance


def _size(metric: MetricComparison, population: Population) -> str:
    return _tasks(metric.tasks) if population.paired else f"{metric.tasks} missions"


def _tasks(number: int) -> str:
    return f"{number} task" if number == 1 else f"{number} tasks"


def range_of(metric: MetricComparison) -> str:
    """The interval of the change in the direction that the sentence names."""
    assert metric.interval is not None
    low, high = metric.interval.low, metric.interval.high
    if metric.worsening is not None and metric.worsening < 0:
        low, high = -high, -low
    unit = {"count": ""}.get(metric.kind, " %" if metric.kind == "ratio" else " pp")
    scale = 1 if metric.kind == "count" else 100
    return f"{_digits(scale * low)} to {_digits(scale * high)}{unit}"


def _judgement(metric: MetricComparison, population: Population) -> str:
    if metric.verdict == "not_gated":
        return ""
    if metric.verdict == "not_comparable":
        breach = f" {_above(metric).capitalize()}." if metric.breach and metric.threshold else ""
        return f"Not comparable: {metric.reason}.{breach}"
    if metric.verdict == "inconclusive":
        return _inconclusive(metric, population)
    noise = "and not explained by run-to-run variation"
    return {
        "regressed": f"Regressed: {_above(metric)} {noise}.",
        "drift": f"Drift: small but real, within the {_threshold(metric)} threshold.",
        "improved": f"Improved: {_above(metric).replace('above', 'by more than')} {noise}.",
        "no_regression": _no_regression(metric, population),
    }[metric.verdict]


def _above(metric: MetricComparison) -> str:
    if not metric.threshold:
        return "any change counts,"
    return f"above the {_threshold(metric)} threshold"


def _no_regression(metric: MetricComparison, population: Population) -> str:
    if not metric.threshold and metric.kind == "count":
        if not population.paired:
            return f"No regression: none in the candidate ({_size(metric, population)} in both sets)."
        return f"No regression: in none of {_size(metric, population)} did they become more."
    return f"No regression: a worsening of {_threshold(metric)} or more is excluded with 95 % confidence."


def _inconclusive(metric: MetricComparison, population: Population) -> str:
    parts = []
    if metric.breach and metric.threshold:
        parts.append(f"above the {_threshold(metric)} threshold, but run-to-run variation may explain it")
    if metric.minimum_detectable:
        parts.append(f"with {_design(metric, population)} this comparison can only see {_visible(metric)}")
    sentence = f"Inconclusive: {'; '.join(parts) or 'too little varied to tell'}."
    return " ".join(part for part in (sentence, _remedy(metric, population)) if part)


def _visible(metric: MetricComparison) -> str:
    assert metric.minimum_detectable is not None
    noun = "drops" if metric.kind in ("outcome", "rate") else "rises"
    return f"{noun} of about {_amount(metric, metric.minimum_detectable)}"


def _design(metric: MetricComparison, population: Population) -> str:
    if not population.paired:
        return f"{metric.tasks} missions without tasks"
    fewest, most = population.fewest_trials, population.most_trials
    times = runs_word(fewest) if fewest == most else f"{fewest} to {most} times"
    return f"{_size(metric, population)} run {times}"


def _remedy(metric: MetricComparison, population: Population) -> str:
    if metric.runs_needed is None:
        return ""
    if metric.runs_needed > _MANY_RUNS * max(1, metric.tasks):
        return "No practical number of runs would tell the change from the threshold."
    goal = f"To see {_threshold(metric)}" if metric.threshold else "To settle a change of this size"
    visible = metric.minimum_detectable
    if metric.threshold and visible is not None and visible <= metric.threshold:
        goal = f"To tell the change from the {_threshold(metric)} threshold"
    if not population.paired or metric.trials_needed is None:
        return f"{goal}, compare about {metric.runs_needed} missions in both arms."
    return f"{goal}, run every task about {runs_word(metric.trials_needed)} in both arms."


def _threshold(metric: MetricComparison) -> str:
    assert metric.threshold is not None
    return _amount(metric, metric.threshold)


def _amount(metric: MetricComparison, change: float) -> str:
    if metric.kind == "count":
        return f"{_digits(change)} per mission" if change else "zero"
    return percent(change) if metric.kind == "ratio" else points(change)


def shown(metric: MetricComparison, number: float | None) -> str:
    """One side of a metric, in its unit."""
    if number is None:
        return "cannot be said"
    if metric.kind in ("outcome", "rate"):
        return percent(number)
    if metric.metric == "total_cost_usd":
        return dollars(number)
    return _digits(number)


def _digits(number: float) -> str:
    """Two significant digits, whole numbers as they are; a zero has no sign."""
    if abs(number) < 1e-9:
        return "0"
    if abs(number) >= 10:
        return f"{number:,.0f}"
    return f"{number:.{max(0, 1 - math.floor(math.log10(abs(number))))}f}".rstrip("0").rstrip(".")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
