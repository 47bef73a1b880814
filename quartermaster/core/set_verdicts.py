"""What a comparison of two sets says: records, ready for JSON."""

from typing import Final, Literal

import msgspec

from quartermaster.core.behaviour import BehaviourComparison
from quartermaster.core.exploration import WorthALook
from quartermaster.core.intervals import Interval
from quartermaster.core.measures import Effect, Kind
from quartermaster.core.scores import ScoreComparison
from quartermaster.core.spending import CostPerSuccess
from quartermaster.core.trials import Policy, Population, TaskRecord

SetVerdict = Literal["regressed", "drift", "no_regression", "inconclusive", "improved", "not_comparable"]
MetricVerdict = SetVerdict | Literal["not_gated"]

UNPAIRED: Final = "unpaired: 1.7 to 4.5 times more missions needed"


class Stratum(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio over the tasks in which both arms succeeded, from their successful missions alone."""

    tasks: int
    change: float | None
    interval: Interval | None


class MetricComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both arms. `worsening`, its interval and its bound count up where the candidate is
    worse: shares for rates, a share of the baseline for ratios, a count per mission for counts.

    `baseline` and `candidate` are means over tasks (geometric for ratios); `adjusted_p` is after Holm.
    """

    metric: str
    label: str
    kind: Kind
    verdict: MetricVerdict
    sentence: str
    family: str | None = None
    blocks: bool = False
    threshold: float | None = None
    breach: bool = False
    reason: str | None = None
    notes: tuple[str, ...] = ()
    effect: Effect | None = None
    tasks: int = 0
    baseline: float | None = None
    candidate: float | None = None
    worsening: float | None = None
    interval: Interval | None = None
    interval_method: str | None = None
    upper_bound: float | None = None
    test: str | None = None
    p: float | None = None
    adjusted_p: float | None = None
    worse: int = 0
    better: int = 0
    rate_ratio: float | None = None
    minimum_detectable: float | None = None
    runs_needed: int | None = None
    trials_needed: int | None = None
    both_succeeded: Stratum | None = None


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """Mean chances over tasks, where tasks were run more than once; `k` is the fewest runs of a task."""

    k: int
    baseline_pass_hat_k: float | None
    candidate_pass_hat_k: float | None
    baseline_flake_rate: float | None
    candidate_flake_rate: float | None


class SetComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement of two sets. `fails` is the answer for a gate, `result` the one for people."""

    verdict: SetVerdict
    fails: bool
    result: str
    rules_version: int
    policy: Policy
    population: Population
    stamps: tuple[str, ...]
    notes: tuple[str, ...]
    metrics: tuple[MetricComparison, ...]
    reliability: Reliability | None
    tasks: tuple[TaskRecord, ...]
    worth_a_look: tuple[WorthALook, ...]
    behaviour: BehaviourComparison | None = None
    """None where it is not known of every mission which tools it called."""
    scores: tuple[ScoreComparison, ...] = ()
    cost_per_success: CostPerSuccess | None = None
    """None where nothing was compared."""
