"""Missions as a comparison of sets sees them, the policy they are judged by, and how they are paired."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from quartermaster.core.assessment import Assessment
from quartermaster.core.comparison import Profile
from quartermaster.core.intervals import wilson
from quartermaster.core.profile import BehaviourProfile

Status = Literal["succeeded", "failed", "aborted", "timed_out", "limit_reached", "running", "unknown"]

ABNORMAL: Final = frozenset({"aborted", "timed_out", "limit_reached"})
TERMINAL: Final = ABNORMAL | {"succeeded", "failed"}

INFRASTRUCTURE_SHARE: Final = 0.05
"""Beyond this share of an arm's missions, failures of the infrastructure cannot be set aside."""
VERDICT_ONLY: Final = "verdict only"
"""The label `recorded` of a mission of which nothing but its verdict is known: it has no other values."""
_UNSTABLE_RUNS: Final = 10
_UNSTABLE_BETWEEN: Final = (0.2, 0.8)
_NANOSECONDS: Final = 1e9
_LARGEST_SCORE: Final = 1e15
_STATUSES: Final[dict[str, Status]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "aborted": "aborted",
    "timed_out": "timed_out",
    "limit_reached": "limit_reached",
}


class Facts(Protocol):
    """What is known of a mission beside its steps. Times are nanoseconds, None where there is no clock."""

    @property
    def mission_id(self) -> str: ...
    @property
    def task(self) -> str | None: ...
    @property
    def title(self) -> str | None: ...
    @property
    def trial(self) -> int | None: ...
    @property
    def outcome(self) -> str | None: ...
    @property
    def labels(self) -> Mapping[str, Any] | None: ...
    @property
    def started_at(self) -> int | None: ...
    @property
    def ended_at(self) -> int | None: ...


class Score(NamedTuple):
    """What somebody gave a mission, beside who that was."""

    origin: str
    value: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One mission of a set.

    `success` is a verifier's word and wins over the status. `values` holds `work_steps`, `steps`,
    `total_tokens`, `total_cost_usd`, `wall_time` (seconds), `tool_calls`, `hallucinations`,
    `guardrail_blocks`: None or absent where it cannot be said. `cost_coverage` is the share of the tokens
    that has a price. `tools` holds the calls that succeeded and failed of each tool, `behaviour` which tool
    followed which, `scores` what the recording's own judges gave.
    """

    mission_id: str
    task: str | None = None
    order: int = 0
    status: Status = "unknown"
    success: bool | None = None
    values: Mapping[str, float | None] = {}
    cost_coverage: float | None = None
    tool_ok: int = 0
    tool_errors: int = 0
    infrastructure: bool = False
    failure_modes: Mapping[str, int] = {}
    tools: Mapping[str, tuple[int, int]] = {}
    behaviour: BehaviourProfile | None = None
    scores: Mapping[str, Score] = {}

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded" if self.success is None else self.success

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def without_steps(self) -> bool:
        return self.values.get("work_steps", self.values.get("steps")) == 0

    @property
    def ended_abnormally(self) -> bool:
        return self.status in ABNORMAL or self.without_steps


class Family(msgspec.Struct, frozen=True):
    """Metrics that share one chance of a false alarm; `blocks` says whether a regression fails a gate."""

    name: str
    metrics: tuple[str, ...]
    blocks: bool


QUALITY: Final = Family("quality", ("mission_success", "tool_success_rate", "hallucinations"), blocks=True)
EFFICIENCY: Final = Family("efficiency", ("work_steps", "total_cost_usd"), blocks=False)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """By what a comparison is judged. `thresholds` are for metrics that the profile does not name."""

    profile: Profile = Profile()
    thresholds: Mapping[str, float] = {}
    families: tuple[Family, ...] = (QUALITY, EFFICIENCY)
    alpha: float = 0.05
    strict: bool = False
    quarantine: bool = False

    def __post_init__(self) -> None:
        gated = [metric for family in self.families for metric in family.metrics]
        if len(set(gated)) < len(gated):
            raise ValueError("a metric belongs to one family only")
        if not 0 < self.alpha < 0.5:
            raise ValueError("alpha must lie between 0 and 0.5")

    def family_of(self, metric: str) -> Family | None:
        return next((family for family in self.families if metric in family.metrics), None)

    def threshold_of(self, metric: str) -> float:
        """By how much the metric may get worse: a share for rates and ratios, a count per mission."""
        if metric in self.thresholds:
            return self.thresholds[metric]
        named: dict[str, float] = {
            "mission_success": self.profile.tool_success_rate,
            "tool_success_rate": self.profile.tool_success_rate,
            "work_steps": self.profile.steps_to_goal,
            "steps": self.profile.steps_to_goal,
            "total_cost_usd": self.profile.total_cost_usd,
            "total_tokens": self.profile.total_cost_usd,
            "wall_time": self.profile.steps_to_goal,
        }
        return named.get(metric, self.profile.hallucinations)


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How often a task succeeded in each arm. `unstable` is measured on the baseline alone, so that a
    candidate cannot quarantine the task it breaks."""

    task: str
    baseline_succeeded: int
    baseline_runs: int
    candidate_succeeded: int
    candidate_runs: int
    unstable: bool


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one side's missions before anything was compared."""

    missions: int
    compared: int
    non_terminal: int
    infrastructure: int
    without_task: int
    quarantined: int
    abnormal: int


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """Who is compared with whom. Tasks of only one side are listed and never compared."""

    paired: bool
    tasks: int
    fewest_trials: int
    most_trials: int
    baseline: Arm
    candidate: Arm
    only_in_baseline: tuple[str, ...]
    only_in_candidate: tuple[str, ...]
    quarantined: tuple[str, ...]
    in_both_sets: int


class Pair(msgspec.Struct, frozen=True):
    """The runs of one task in both arms."""

    task: str
    baseline: tuple[Trial, ...]
    candidate: tuple[Trial, ...]


class Pairing(msgspec.Struct, frozen=True):
    """The paired tasks, or, where no mission names a task, one pair that holds both arms whole."""

    pairs: tuple[Pair, ...]
    population: Population
    records: tuple[TaskRecord, ...]


def pair_up(baseline: Sequence[Trial], candidate: Sequence[Trial], policy: Policy) -> Pairing:
    """Sets aside what cannot be compared, counts it, and pairs the rest by task in order of its name."""
    sides = [_ordered(arm) for arm in (baseline, candidate)]
    kept = [[trial for trial in side if trial.terminal and not trial.infrastructure] for side in sides]
    paired = any(trial.task is not None for side in sides for trial in side)
    before, after = (_by_task(side) if paired else {"": side} for side in kept)
    shared = sorted(task for task in before if before[task] and after.get(task))
    records = tuple(_record(task, before[task], after[task]) for task in shared) if paired else ()
    quarantined = tuple(record.task for record in records if record.unstable and policy.quarantine)
    pairs = tuple(
        Pair(task, tuple(before[task]), tuple(after[task])) for task in shared if task not in quarantined
    )
    trials = [len(side) for pair in pairs for side in (pair.baseline, pair.candidate)]
    population = Population(
        paired=paired,
        tasks=len(pairs) if paired else 0,
        fewest_trials=min(trials, default=0),
        most_trials=max(trials, default=0),
        baseline=_arm(sides[0], kept[0], [t for pair in pairs for t in pair.baseline], paired, quarantined),
        candidate=_arm(sides[1], kept[1], [t for pair in pairs for t in pair.candidate], paired, quarantined),
        only_in_baseline=tuple(sorted(before.keys() - after.keys())),
        only_in_candidate=tuple(sorted(after.keys() - before.keys())),
        quarantined=quarantined,
        in_both_sets=len({trial.mission_id for trial in sides[0]} & {trial.mission_id for trial in sides[1]}),
    )
    return Pairing(pairs, population, records)


def _ordered(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: (trial.task or "", trial.order, trial.mission_id))


def _by_task(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    tasks: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.task is not None:
            tasks.setdefault(trial.task, []).append(trial)
    return tasks


def _record(task: str, baseline: Sequence[Trial], candidate: Sequence[Trial]) -> TaskRecord:
    succeeded = sum(trial.succeeded for trial in baseline)
    return TaskRecord(
        task=task,
        baseline_succeeded=succeeded,
        baseline_runs=len(baseline),
        candidate_succeeded=sum(trial.succeeded for trial in candidate),
        candidate_runs=len(candidate),
        unstable=_unstable(succeeded, len(baseline)),
    )


def _unstable(succeeded: int, runs: int) -> bool:
    interval = wilson(succeeded, runs)
    low, high = _UNSTABLE_BETWEEN
    return runs >= _UNSTABLE_RUNS and interval is not None and low < interval.low and interval.high < high


def _arm(
    trials: Sequence[Trial],
    kept: Sequence[Trial],
    compared: Sequence[Trial],
    paired: bool,
    quarantined: Sequence[str],
) -> Arm:
    return Arm(
        missions=len(trials),
        compared=len(compared),
        non_terminal=sum(not trial.terminal for trial in trials),
        infrastructure=sum(trial.terminal and trial.infrastructure for trial in trials),
        without_task=sum(trial.task is None for trial in kept) if paired else 0,
        quarantined=sum(trial.task in quarantined for trial in kept),
        abnormal=sum(trial.ended_abnormally for trial in compared),
    )


def trial_of(mission: Facts, assessment: Assessment, ungrounded: int | None) -> Trial:
    """What a comparison of sets looks at. Money that is known in part comes with its coverage.

    Hallucinations are those that a guardrail reported and the `ungrounded` actions that its words show;
    None where nobody looked, and then their number cannot be said.
    """
    cost = assessment.metric("total_cost_usd")
    known = cost.value if cost.value is not None or not cost.coverage.known else cost.partial
    reported = assessment.metric("hallucinations").number
    values: dict[str, float | None] = {
        "work_steps": assessment.model_calls + assessment.commands,
        "steps": assessment.steps,
        "total_tokens": assessment.metric("total_tokens").number,
        "total_cost_usd": float(known) if isinstance(known, int | float) else None,
        "wall_time": _seconds(mission),
        "tool_calls": assessment.commands,
        "hallucinations": None if None in (reported, ungrounded) else (reported or 0) + (ungrounded or 0),
        "guardrail_blocks": assessment.blocks,
    }
    labels = mission.labels or {}
    verdict_only = labels.get("recorded") == VERDICT_ONLY
    return Trial(
        mission_id=mission.mission_id,
        task=mission.task or _goal_of(mission.title),
        order=mission.trial or 0,
        status=_status(mission, assessment),
        values={"wall_time": values["wall_time"]} if verdict_only else values,
        cost_coverage=_priced_share(assessment),
        tool_ok=assessment.commands - assessment.failed_commands - assessment.commands_without_outcome,
        tool_errors=assessment.failed_commands,
        infrastructure=labels.get("ended_by") == "infrastructure",
        failure_modes={finding.failure_mode: 1 for finding in assessment.findings},
        behaviour=None if verdict_only else BehaviourProfile(Counter(dict(assessment.transitions))),
        scores=_scores_in(labels),
    )


def _scores_in(labels: Mapping[str, Any]) -> dict[str, Score]:
    """The scores in a mission's labels that are numbers, or yes and no."""
    told = labels.get("scores")
    found: dict[str, Score] = {}
    for name, one in told.items() if isinstance(told, Mapping) else ():
        value, origin = (one.get("value"), one.get("origin")) if isinstance(one, Mapping) else (one, None)
        if isinstance(value, int | float) and abs(value) <= _LARGEST_SCORE:
            found[str(name)] = Score(origin if isinstance(origin, str) else "unknown", float(value))
    return found


def _status(mission: Facts, assessment: Assessment) -> Status:
    if mission.outcome is not None:
        return _STATUSES.get(mission.outcome, "unknown")
    return "succeeded" if assessment.goal_reached else "unknown"


def _priced_share(assessment: Assessment) -> float | None:
    """Priced tokens over all tokens; over model calls where no tokens are known. None without a call."""
    if assessment.tokens > 0:
        return 1 - assessment.unpriced_tokens / assessment.tokens
    coverage = assessment.metric("total_cost_usd").coverage
    return coverage.known / coverage.of if coverage.of else None


def _seconds(mission: Facts) -> float | None:
    if mission.started_at is None or mission.ended_at is None or mission.ended_at < mission.started_at:
        return None
    return (mission.ended_at - mission.started_at) / _NANOSECONDS


def _goal_of(title: str | None) -> str | None:
    """Missions without a task are paired by what was asked, letter case and white space apart."""
    words = " ".join((title or "").casefold().split())
    return "goal:" + blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest() if words else None
