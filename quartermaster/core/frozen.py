"""Verdicts on capsules: they follow from the capsules alone, so they can be repeated anywhere."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.core.assessment import Assessment, Assessor, PlainTexts
from quartermaster.core.capsule import (
    RULES_OF_PAIRS,
    Capsule,
    FrozenMission,
    FrozenPrices,
    Head,
    MissionFacts,
    computed_from,
)
from quartermaster.core.comparison import Profile, compare, first_divergence
from quartermaster.core.measures import RULES_VERSION
from quartermaster.core.noise import RISING, History, grade_breaches
from quartermaster.core.pricing import Price
from quartermaster.core.report import (
    ComparisonReport,
    Provenance,
    RegressionReport,
    comparison_report,
    regression_report,
)
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trials import Policy, Trial, trial_of
from quartermaster.errors import UsageError

Verdict = RegressionReport | ComparisonReport
Cause = Literal["rules", "prices", "thresholds"]

_DIFFERENCES: Final = 20
_LONGEST: Final = 80


class Today(NamedTuple):
    """What a verdict would be given under now."""

    price: Price
    prices: str
    profile: Profile


class Difference(msgspec.Struct, frozen=True):
    """One field of a report, as it stands there and as it came out again."""

    field: str
    told: str
    recomputed: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a report follows from its capsules, field by field; `reasons` say why where it does not."""

    identical: bool
    verdict: str
    result: str
    differences: tuple[Difference, ...]
    reasons: tuple[str, ...]


class Recomputed(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict as it was and as it would be now, and what makes the difference, each of it alone."""

    was: str
    now: str
    flips: bool
    because: tuple[Cause, ...]


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a frozen mission that would have another value now."""

    mission_id: str
    metric: str
    was: Any
    now: Any
    because: Literal["rules", "prices"]


def assess_frozen(
    mission: FrozenMission, price: Price | None = None, *, check_costs: bool = False
) -> Assessment:
    """The assessment of a frozen mission, with its own prices or with those given."""
    assessor = Assessor(PlainTexts(), 0, price or FrozenPrices(mission), check_costs=check_costs)
    assessor.add(mission.steps())
    return assessor.result()


def trials_of(capsule: Capsule, price: Price | None = None) -> tuple[Trial, ...]:
    """What a comparison of sets looks at."""
    return tuple(
        trial_of(mission.facts, assess_frozen(mission, price), mission.ungrounded)
        for mission in capsule.missions
    )


def head_of(made_by: str, profile: Profile, prices: str) -> Head:
    """The head of a capsule that is made under the rules of this version."""
    return Head(
        made_by=made_by,
        rules_of_pairs=RULES_OF_PAIRS,
        rules_of_sets=RULES_VERSION,
        profile=profile,
        prices=prices,
        missions=0,
    )


def judge_pair(
    baseline: Capsule,
    candidate: Capsule,
    profile: Profile,
    *,
    run_id: str,
    made_by: str,
    histories: Mapping[str, History] | None = None,
    price: Price | None = None,
    prices: str | None = None,
) -> RegressionReport:
    """The report of two capsules with one mission each, priced as they were frozen or by `price`."""
    before, after = _only(baseline), _only(candidate)
    judged_before, judged_after = (assess_frozen(one, price, check_costs=True) for one in (before, after))
    divergence = None
    if judged_before.signature != judged_after.signature:
        texts = PlainTexts()
        divergence = first_divergence(before.steps(), after.steps(), texts, texts)
    comparison = compare(judged_before, judged_after, profile, divergence)
    known = dict(histories or {}) if any(one in RISING for one in comparison.regressed_metrics) else {}
    report = regression_report(
        comparison,
        judged_before,
        judged_after,
        run_id=run_id,
        baseline_mission_id=before.mission_id,
        candidate_mission_id=after.mission_id,
        evidence=grade_breaches(comparison, judged_before, judged_after, known),
        prices=prices or _prices_of(baseline, candidate),
    )
    return msgspec.structs.replace(report, provenance=provenance_of(baseline, candidate, made_by, known))


def judge_sets(
    baseline: Capsule,
    candidate: Capsule,
    profile: Profile,
    *,
    run_id: str,
    made_by: str,
    seed: int = 0,
    price: Price | None = None,
    prices: str | None = None,
) -> ComparisonReport:
    """The report of two capsules as sets of missions."""
    report = comparison_report(
        compare_sets(trials_of(baseline, price), trials_of(candidate, price), Policy(profile=profile)),
        run_id=run_id,
        seed=seed,
        prices=prices or _prices_of(baseline, candidate),
    )
    return msgspec.structs.replace(report, provenance=provenance_of(baseline, candidate, made_by, {}))


def provenance_of(
    baseline: Capsule, candidate: Capsule, made_by: str, histories: Mapping[str, History]
) -> Provenance:
    """Where a verdict on these capsules comes from."""
    return Provenance(
        made_by=made_by,
        rules_of_pairs=RULES_OF_PAIRS,
        rules_of_sets=RULES_VERSION,
        baseline=baseline.digest,
        candidate=candidate.digest,
        baseline_prices=baseline.head.prices,
        candidate_prices=candidate.head.prices,
        histories=dict(histories),
    )


def mission_for(baseline: Capsule, facts: MissionFacts) -> Capsule:
    """The part of a baseline that one mission is held against: its only mission, or the one of that task."""
    if len(baseline.missions) == 1:
        return baseline
    same = [one for one in baseline.missions if one.facts.task == facts.task and facts.task is not None]
    if len(same) != 1:
        raise UsageError(
            f"the baseline has {len(baseline.missions):,} missions, {len(same):,} of them of the task of"
            " the candidate; compare sets of missions instead"
        )
    return msgspec.structs.replace(baseline, missions=tuple(same))


def verify(document: bytes, baseline: Capsule, candidate: Capsule) -> Verified:
    """Gives a verdict again and holds it against its report (JSON), bit by bit; white space makes no
    difference. What a pair shows step by step is no part of the verdict: a capsule holds no words for it."""
    report = read_report(document)
    assert report.provenance is not None
    again = judge_again(report, baseline, candidate)
    told, recomputed = (_verdict_of(one) for one in (document, msgspec.json.encode(again)))
    identical = _canonical(told) == _canonical(recomputed)
    return Verified(
        identical=identical,
        verdict=again.verdict,
        result=again.result,
        differences=tuple(_differences(told, recomputed))[:_DIFFERENCES],
        reasons=() if identical else tuple(_reasons(report.provenance, baseline, candidate)),
    )


def _verdict_of(document: bytes) -> Any:
    report = msgspec.json.decode(document)
    report.pop("difference", None)
    return report


def read_report(document: bytes) -> Verdict:
    """The report of two missions or two sets; UsageError for anything else."""
    try:
        kind = msgspec.json.decode(document, type=_Kind).kind
        report = msgspec.json.decode(document, type=_REPORTS[kind])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        raise UsageError("this is no report of a comparison that this version can read") from None
    if report.provenance is None:
        raise UsageError("the report does not say which capsules it comes from; it cannot be verified")
    return report


class _Kind(msgspec.Struct):
    kind: Literal["regression", "comparison"]


_REPORTS: Final[dict[str, type[Verdict]]] = {"regression": RegressionReport, "comparison": ComparisonReport}


def _canonical(document: Any) -> bytes:
    return msgspec.json.encode(document, order="sorted")


def judge_again(
    report: Verdict,
    baseline: Capsule,
    candidate: Capsule,
    today: Today | None = None,
    profile: Profile | None = None,
) -> Verdict:
    """The verdict of a report once more: with the prices it was given under, or with those of today."""
    price, prices = (None, None) if today is None else (today.price, today.prices)
    made_by = "" if report.provenance is None else report.provenance.made_by
    if isinstance(report, RegressionReport):
        histories = {} if report.provenance is None else report.provenance.histories
        return judge_pair(
            _side(baseline, report.baseline.mission_id),
            _side(candidate, report.candidate.mission_id),
            profile or report.profile,
            run_id=report.run_id,
            made_by=made_by,
            histories=histories,
            price=price,
            prices=prices,
        )
    return judge_sets(
        baseline,
        candidate,
        profile or report.comparison.policy.profile,
        run_id=report.run_id,
        made_by=made_by,
        seed=report.seed,
        price=price,
        prices=prices,
    )


def recompute(report: Verdict, baseline: Capsule, candidate: Capsule, today: Today) -> Recomputed:
    """What the verdict would be under the rules, prices and thresholds of today."""
    now = judge_again(report, baseline, candidate, today, today.profile)
    was = _said(report)
    alone: tuple[tuple[Cause, Verdict], ...] = (
        ("rules", judge_again(report, baseline, candidate)),
        ("prices", judge_again(report, baseline, candidate, today)),
        ("thresholds", judge_again(report, baseline, candidate, profile=today.profile)),
    )
    by_rules = _said(alone[0][1])
    because = tuple(
        cause for cause, verdict in alone if _said(verdict) != (was if cause == "rules" else by_rules)
    )
    flips = _said(now) != was
    return Recomputed(
        was=f"{report.verdict}: {report.result}",
        now=f"{now.verdict}: {now.result}",
        flips=flips,
        because=because if flips else (),
    )


def changed_metrics(capsule: Capsule, price: Price) -> Iterator[Changed]:
    """The metrics of a baseline that would have other values under the rules and prices of today."""
    for mission in capsule.missions:
        by_rules, now = computed_from(assess_frozen(mission)), computed_from(assess_frozen(mission, price))
        frozen = {metric.name: metric for metric in mission.computed.metrics}
        ruled = {metric.name: metric for metric in by_rules.metrics}
        for metric in now.metrics:
            was = frozen.get(metric.name)
            if metric != was:
                yield Changed(
                    mission_id=mission.mission_id,
                    metric=metric.name,
                    was=None if was is None else was.value,
                    now=metric.value,
                    because="rules" if ruled[metric.name] != was else "prices",
                )


def _said(report: Verdict) -> tuple[str, bool, tuple[str, ...]]:
    """What a reader of the verdict acts on."""
    return report.verdict, report.regressed, report.regressed_metrics


def _only(capsule: Capsule) -> FrozenMission:
    if len(capsule.missions) != 1:
        raise UsageError(f"one mission is compared with one; this capsule has {len(capsule.missions):,}")
    return capsule.missions[0]


def _side(capsule: Capsule, mission_id: str) -> Capsule:
    """Of a baseline with several missions the one that the report names."""
    named = tuple(one for one in capsule.missions if one.mission_id == mission_id)
    if not named:
        raise UsageError(f"the capsule does not hold the mission {mission_id!r} that the report names")
    return msgspec.structs.replace(capsule, missions=named)


def _prices_of(baseline: Capsule, candidate: Capsule) -> str:
    if baseline.head.prices == candidate.head.prices:
        return candidate.head.prices
    return f"{candidate.head.prices}; those of the baseline when it was frozen: {baseline.head.prices}"


def _reasons(told: Provenance, baseline: Capsule, candidate: Capsule) -> Iterator[str]:
    for what, then, now in (
        ("pairs", told.rules_of_pairs, RULES_OF_PAIRS),
        ("sets", told.rules_of_sets, RULES_VERSION),
    ):
        if then != now:
            yield f"the rules for {what} were version {then}, here they are version {now}"
    for side, edition, capsule in (
        ("baseline", told.baseline_prices, baseline),
        ("candidate", told.candidate_prices, candidate),
    ):
        if edition != capsule.head.prices:
            yield f"the {side} was priced by {edition}, its capsule by {capsule.head.prices}"
    if (told.rules_of_pairs, told.rules_of_sets) == (RULES_OF_PAIRS, RULES_VERSION):
        yield "rules and prices are the same: the report is not what its capsules say"


def _differences(told: Any, again: Any, field: str = "") -> Iterator[Difference]:
    if isinstance(told, dict) and isinstance(again, dict):
        for key in sorted(told.keys() | again.keys()):
            yield from _differences(told.get(key), again.get(key), f"{field}.{key}" if field else key)
    elif isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        for index, (before, after) in enumerate(zip(told, again, strict=True)):
            yield from _differences(before, after, f"{field}[{index}]")
    elif type(told) is not type(again) or told != again:
        yield Difference(field, _short(told), _short(again))


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
