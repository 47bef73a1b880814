"""Many missions against many: which metric got worse, how sure that is, and what could not be seen.

The unit is the task. A verdict needs both a worsening above the documented threshold and a test that
chance does not explain, corrected for the number of metrics asked about.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from quartermaster.core import measures, plan, set_wording
from quartermaster.core.behaviour import compare_behaviour
from quartermaster.core.comparison import TOLERANCE
from quartermaster.core.exploration import worth_a_look
from quartermaster.core.measures import MEASURES, RULES_VERSION, Analysis, Measure, Runs
from quartermaster.core.scores import compare_scores
from quartermaster.core.set_verdicts import (
    UNPAIRED,
    MetricComparison,
    Reliability,
    SetComparison,
    SetVerdict,
    Stratum,
)
from quartermaster.core.spending import cost_per_success, priced_share
from quartermaster.core.statistics import flake_rate, holm, pass_hat_k
from quartermaster.core.trials import (
    INFRASTRUCTURE_SHARE,
    Arm,
    Pair,
    Pairing,
    Policy,
    Population,
    Trial,
    pair_up,
)

FEWEST_TASKS: Final = 6
"""With fewer, all tasks worse would still not reach 0.05 after Holm over three metrics."""
_FEWEST_FOR_TOOLS: Final = 5
_COVERAGE: Final = 0.95
_ABNORMAL_GAP: Final = 0.05


class _Question(NamedTuple):
    """A metric before its verdict: what was measured, or why nothing can be said."""

    measure: Measure
    analysis: Analysis | None
    reason: str | None
    notes: tuple[str, ...] = ()


def compare_sets(
    baseline: Sequence[Trial],
    candidate: Sequence[Trial],
    policy: Policy | None = None,
    *,
    explore: bool = True,
) -> SetComparison:
    """Judges two sets of missions; the order in which they are given makes no difference. Without `explore`
    only what the verdict rests on is asked."""
    rules = policy or Policy()
    _check(rules)
    pairing = pair_up(baseline, candidate, rules)
    obstacle = _obstacle(pairing)
    mismatch = _not_like_for_like(pairing.population)
    questions = [_question(measure, pairing, mismatch) for measure in MEASURES.values()]
    adjusted = _adjusted(questions, rules)
    metrics = tuple(
        _judged(question, pairing, rules, obstacle, adjusted.get(question.measure.name))
        for question in questions
        if question.analysis is not None or rules.family_of(question.measure.name)
    )
    metrics = set_wording.with_outcome(metrics, pairing.population)
    verdict = _overall(metrics, obstacle)
    behaviour = compare_behaviour(pairing.pairs, obstacle, RULES_VERSION) if explore else None
    return SetComparison(
        verdict=verdict,
        fails=_fails(verdict, metrics, rules),
        result=set_wording.result(verdict, metrics, obstacle, behaviour),
        rules_version=RULES_VERSION,
        policy=rules,
        population=pairing.population,
        stamps=tuple(_stamps(pairing.population, mismatch)),
        notes=tuple(set_wording.population_notes(pairing.population)),
        metrics=metrics,
        reliability=_reliability(pairing),
        tasks=pairing.records,
        worth_a_look=worth_a_look(pairing, _not_gated(questions, rules)) if explore else (),
        behaviour=behaviour,
        scores=compare_scores(pairing.pairs, RULES_VERSION) if explore and pairing.population.paired else (),
        cost_per_success=cost_per_success(pairing.pairs),
    )


def _not_gated(questions: Sequence[_Question], policy: Policy) -> list[tuple[str, float]]:
    """The metrics outside of all families, by label, with the chance of so much worsening."""
    return [
        (question.measure.label, question.analysis.p_worse)
        for question in questions
        if question.analysis is not None and policy.family_of(question.measure.name) is None
    ]


def _check(policy: Policy) -> None:
    for family in policy.families:
        for metric in family.metrics:
            if metric not in MEASURES:
                raise ValueError(f"no metric {metric!r} can be compared; known are {', '.join(MEASURES)}")


def _obstacle(pairing: Pairing) -> str | None:
    """Why the sets as a whole have no verdict."""
    population = pairing.population
    for name, arm in (("baseline", population.baseline), ("candidate", population.candidate)):
        terminal = arm.missions - arm.non_terminal
        if arm.infrastructure > INFRASTRUCTURE_SHARE * terminal + TOLERANCE:
            return (
                f"{arm.infrastructure} of {terminal} missions of the {name} failed by infrastructure, "
                "more than the 5 % that may be set aside"
            )
    if population.paired and population.tasks < FEWEST_TASKS:
        return (
            f"only {_count(population.tasks, 'task')} in both sets, {FEWEST_TASKS} are needed for a verdict"
        )
    fewest = min(population.baseline.compared, population.candidate.compared)
    if fewest < FEWEST_TASKS:
        return f"only {_count(fewest, 'mission')} in one set, {FEWEST_TASKS} are needed for a verdict"
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _not_like_for_like(population: Population) -> str | None:
    before, after = population.baseline, population.candidate
    if not (before.compared and after.compared):
        return None
    if abs(_abnormal(before) - _abnormal(after)) < _ABNORMAL_GAP - TOLERANCE:
        return None
    return (
        "not like for like: "
        f"{before.abnormal} of {before.compared} missions of the baseline and "
        f"{after.abnormal} of {after.compared} of the candidate ended abnormally or recorded no steps"
    )


def _abnormal(arm: Arm) -> float:
    return arm.abnormal / arm.compared


def _stamps(population: Population, mismatch: str | None) -> list[str]:
    unpaired = not population.paired and population.baseline.compared and population.candidate.compared
    return [stamp for stamp in (UNPAIRED if unpaired else None, mismatch) if stamp]


def _question(measure: Measure, pairing: Pairing, mismatch: str | None) -> _Question:
    runs = _runs(measure, pairing)
    if not runs:
        return _Question(measure, None, _why_nothing(measure, pairing.pairs))
    paired = pairing.population.paired
    analysis = measures.analyse(measure, runs) if paired else measures.analyse_unpaired(measure, runs[0])
    reason = _thin_coverage(measure, pairing.pairs)
    if measure.kind == "rate" and paired and len(runs) < _FEWEST_FOR_TOOLS:
        reason = f"tools were called in both arms of {_count(len(runs), 'task')} only, 5 are needed"
    if measure.kind == "ratio" and mismatch:
        reason = mismatch
    notes = ("a value of zero has no logarithm: ratio of sums",) if analysis.effect == "ratio of sums" else ()
    return _Question(measure, analysis, reason, notes)


def _runs(measure: Measure, pairing: Pairing) -> list[Runs]:
    if pairing.population.paired:
        return measures.paired_runs(measure, pairing.pairs)
    both = measures.all_runs(measure, pairing.pairs)
    return [both] if min(len(both.baseline), len(both.candidate)) >= 2 else []


def _why_nothing(measure: Measure, pairs: Sequence[Pair]) -> str:
    known = [
        any(measure.read(trial) is not None for pair in pairs for trial in arm(pair))
        for arm in (_baseline_of, _candidate_of)
    ]
    if measure.kind == "rate" and known == [True, False]:
        return "the candidate stopped using tools"
    if known == [True, True]:
        return "no task has a value in both arms"
    sides = [side for side, said in zip(("baseline", "candidate"), known, strict=True) if not said]
    return f"no value in the {' and the '.join(sides)}"


def _baseline_of(pair: Pair) -> tuple[Trial, ...]:
    return pair.baseline


def _candidate_of(pair: Pair) -> tuple[Trial, ...]:
    return pair.candidate


def _thin_coverage(measure: Measure, pairs: Sequence[Pair]) -> str | None:
    """A rate may be undefined where no tool was called; everything else must be known nearly everywhere."""
    if measure.kind in ("outcome", "rate"):
        return None
    for name, arm in (("baseline", _baseline_of), ("candidate", _candidate_of)):
        trials = [trial for pair in pairs for trial in arm(pair)]
        known = sum(measure.read(trial) is not None for trial in trials)
        if known < _COVERAGE * len(trials) - TOLERANCE:
            return (
                f"{measure.label} known for {known} of {len(trials)} missions of the {name}, 95 % are needed"
            )
        priced = priced_share(trials) if measure.name == "total_cost_usd" else 1.0
        if priced < _COVERAGE - TOLERANCE:
            return f"a price is known for {100 * priced:.1f} % of the {name}'s tokens, 95 % are needed"
    return None


def _adjusted(questions: Sequence[_Question], policy: Policy) -> dict[str, tuple[float, float]]:
    """After Holm inside each family: the chances of so much worsening and of so much improvement."""
    adjusted: dict[str, tuple[float, float]] = {}
    for family in policy.families:
        asked = [
            (question.measure.name, question.analysis)
            for question in questions
            if question.measure.name in family.metrics and question.analysis and not question.reason
        ]
        worse = holm([analysis.p_worse for _, analysis in asked])
        better = holm([analysis.p_better for _, analysis in asked])
        names = [name for name, _ in asked]
        adjusted.update(zip(names, zip(worse, better, strict=True), strict=True))
    return adjusted


def _judged(
    question: _Question,
    pairing: Pairing,
    policy: Policy,
    obstacle: str | None,
    adjusted: tuple[float, float] | None,
) -> MetricComparison:
    measure, analysis = question.measure, question.analysis
    family = policy.family_of(measure.name)
    if analysis is None:
        return set_wording.worded(
            MetricComparison(
                metric=measure.name,
                label=measure.label,
                kind=measure.kind,
                verdict="not_comparable",
                sentence="",
                family=family.name if family else None,
                blocks=family.blocks if family else False,
                reason=question.reason,
            ),
            pairing.population,
        )
    threshold = policy.threshold_of(measure.name)
    reason = obstacle or question.reason
    verdict = _verdict(analysis, threshold, policy.alpha, adjusted, reason) if family else "not_gated"
    better = analysis.p_better < analysis.p_worse
    needed, visible = _runs_needed(analysis, threshold), _minimum_detectable(analysis)
    comparison = MetricComparison(
        metric=measure.name,
        label=measure.label,
        kind=measure.kind,
        verdict=verdict,
        sentence="",
        family=family.name if family else None,
        blocks=family.blocks if family else False,
        threshold=threshold if family else None,
        breach=family is not None and _exceeds(analysis.worsening, threshold),
        reason=reason,
        notes=question.notes,
        effect=analysis.effect,
        tasks=analysis.tasks,
        baseline=_turned(measure, analysis.baseline),
        candidate=_turned(measure, analysis.candidate),
        worsening=analysis.worsening,
        interval=analysis.interval,
        interval_method=analysis.interval_method,
        upper_bound=analysis.upper_bound,
        test=analysis.test,
        p=analysis.p_better if better else analysis.p_worse,
        adjusted_p=adjusted[1 if better else 0] if adjusted else None,
        worse=analysis.worse or 0,
        better=analysis.better or 0,
        rate_ratio=_rate_ratio(measure, analysis),
        minimum_detectable=visible,
        runs_needed=needed,
        trials_needed=_per_task(needed, pairing.population),
        both_succeeded=_both_succeeded(measure, pairing) if measure.kind == "ratio" else None,
    )
    return set_wording.worded(comparison, pairing.population)


def _verdict(
    analysis: Analysis,
    threshold: float,
    alpha: float,
    adjusted: tuple[float, float] | None,
    reason: str | None,
) -> SetVerdict:
    """The first that holds. An improvement is asked for before `no_regression`, which it would also be."""
    if reason or adjusted is None:
        return "not_comparable"
    worse, better = adjusted
    if _exceeds(analysis.worsening, threshold) and worse <= alpha:
        return "regressed"
    if _exceeds(analysis.worsening, 0.0) and worse <= alpha:
        return "drift"
    if _exceeds(analysis.improvement, threshold) and better <= alpha:
        return "improved"
    return "no_regression" if _excluded(analysis, threshold) else "inconclusive"


def _exceeds(change: float | None, threshold: float) -> bool:
    """None is a change beyond all bounds."""
    return change is None or change > threshold + TOLERANCE


def _excluded(analysis: Analysis, threshold: float) -> bool:
    """Whether a worsening of the threshold lies outside of the one-sided 95 % bound.

    No data exclude "any increase" of a count, a threshold of zero; there it is enough that no task got
    worse or, where missions name no task, that the candidate counts none.
    """
    if not threshold and analysis.effect == "mean difference":
        unharmed = not analysis.candidate if analysis.worse is None else not analysis.worse
        return unharmed and analysis.p_worse >= analysis.p_better
    return analysis.upper_bound is not None and analysis.upper_bound < threshold - TOLERANCE


def _turned(measure: Measure, number: float) -> float:
    """Failures back to successes, errors back to successful calls."""
    return 1 - number if measure.kind in ("outcome", "rate") else number


def _rate_ratio(measure: Measure, analysis: Analysis) -> float | None:
    if measure.kind != "count" or not analysis.baseline:
        return None
    return analysis.candidate / analysis.baseline


def _minimum_detectable(analysis: Analysis) -> float | None:
    """The smallest worsening seen with 80 % power; None where nothing varied, or a ratio has no logarithm."""
    if not analysis.w or analysis.effect == "ratio of sums":
        return None
    visible = plan.relative_resolution if analysis.logarithmic else plan.resolution
    return visible(analysis.w, 1, analysis.runs_per_arm)


def _runs_needed(analysis: Analysis, threshold: float) -> int | None:
    """Runs per arm that would settle the question: see the threshold or, where the runs at hand already
    do, tell the worsening from the threshold."""
    if not analysis.w or analysis.effect == "ratio of sums" or analysis.worsening is None:
        return None
    scale = math.log1p if analysis.logarithmic else float
    margin, change = scale(threshold), scale(analysis.worsening)
    for effect in (margin, abs(margin - change)):
        if effect > TOLERANCE:
            needed = plan.trials_for(effect, analysis.w)
            if needed > analysis.runs_per_arm:
                return needed
    return None


def _per_task(runs: int | None, population: Population) -> int | None:
    if runs is None or not population.paired:
        return None
    return -(-runs // max(1, population.tasks))


def _both_succeeded(measure: Measure, pairing: Pairing) -> Stratum | None:
    if not pairing.population.paired:
        return None
    pairs = [
        Pair(pair.task, _successful(pair.baseline), _successful(pair.candidate)) for pair in pairing.pairs
    ]
    runs = measures.paired_runs(measure, pairs)
    if not runs:
        return None
    change, interval = measures.estimate_ratio(measure, runs)
    return Stratum(tasks=len(runs), change=change, interval=interval)


def _successful(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    return tuple(trial for trial in trials if trial.succeeded)


def _overall(metrics: Sequence[MetricComparison], obstacle: str | None) -> SetVerdict:
    """The gravest verdict of a gated metric; those that cannot be compared are named beside it."""
    gated = [metric for metric in metrics if metric.verdict != "not_gated"]
    verdicts = {metric.verdict for metric in gated}
    if obstacle or verdicts <= {"not_comparable"}:
        return "not_comparable"
    order: tuple[SetVerdict, ...] = ("regressed", "drift", "inconclusive", "improved")
    return next((verdict for verdict in order if verdict in verdicts), "no_regression")


def _fails(verdict: SetVerdict, metrics: Sequence[MetricComparison], policy: Policy) -> bool:
    if policy.strict and verdict in ("inconclusive", "not_comparable"):
        return True
    strictly = {"regressed", "inconclusive", "not_comparable"} if policy.strict else {"regressed"}
    return any(metric.blocks and metric.verdict in strictly for metric in metrics)


def _reliability(pairing: Pairing) -> Reliability | None:
    population = pairing.population
    if not population.paired or population.fewest_trials < 2:
        return None
    compared = {pair.task for pair in pairing.pairs}
    records = [record for record in pairing.records if record.task in compared]
    before = [(record.baseline_succeeded, record.baseline_runs) for record in records]
    after = [(record.candidate_succeeded, record.candidate_runs) for record in records]
    return Reliability(
        k=population.fewest_trials,
        baseline_pass_hat_k=pass_hat_k(before, population.fewest_trials),
        candidate_pass_hat_k=pass_hat_k(after, population.fewest_trials),
        baseline_flake_rate=flake_rate(before),
        candidate_flake_rate=flake_rate(after),
    )
