"""A gate: by what a comparison is judged, what of it is ignored, and what makes it fail.

It is written as a document (TOML) that lies in the user's repository and is reviewed like code. A key
that nobody knows is an error: a typing mistake must not open the gate.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import msgspec

from quartermaster.core.comparison import Profile
from quartermaster.core.trials import EFFICIENCY, QUALITY, Family, Policy, Trial

FailOn = Literal["breach", "outside-noise", "regressed", "never"]
SetMetric = Literal[
    "mission_success",
    "tool_success_rate",
    "hallucinations",
    "work_steps",
    "total_cost_usd",
    "total_tokens",
    "wall_time",
    "guardrail_blocks",
    "steps",
]
"""What two sets of missions are compared by."""
Metric = SetMetric | Literal["steps_to_goal"]

FAIL_ON: Final[tuple[FailOn, ...]] = get_args(FailOn)


class FamilyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics that share one chance of a false alarm; `blocks` says whether a regression fails."""

    metrics: tuple[SetMetric, ...]
    blocks: bool = True


class Ignored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What does not count: metrics by name; tasks and missions by name, where `*` stands for any text."""

    metrics: tuple[Metric, ...] = ()
    tasks: tuple[str, ...] = ()
    missions: tuple[str, ...] = ()


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`thresholds` are those of two missions, and of sets where `tolerances` name no other.

    `fail_on` None means: a breach between two missions, a regression of two sets.
    """

    thresholds: Profile = Profile()
    tolerances: dict[str, float] = {}
    families: dict[str, FamilyRule] = {}
    alpha: float = 0.05
    quarantine: bool = False
    strict: bool = False
    fail_on: FailOn | None = None
    ignore: Ignored = Ignored()

    def __post_init__(self) -> None:
        if any(not 0 <= tolerance < float("inf") for tolerance in self.tolerances.values()):
            raise ValueError("a tolerance must be zero or a positive number")
        self.policy()

    def policy(self) -> Policy:
        """By what sets are judged; without the ignored metrics."""
        families = [Family(name, rule.metrics, rule.blocks) for name, rule in self.families.items()]
        kept = [self._without_ignored(family) for family in families or (QUALITY, EFFICIENCY)]
        return Policy(
            profile=self.thresholds,
            thresholds=self.tolerances,
            families=tuple(family for family in kept if family.metrics),
            alpha=self.alpha,
            strict=self.strict,
            quarantine=self.quarantine,
        )

    def missions(self, ids: Iterable[str]) -> list[str]:
        """Those that are not ignored."""
        return [one for one in ids if not _matches(one, self.ignore.missions)]

    def trials(self, trials: Iterable[Trial]) -> tuple[Trial, ...]:
        """Those whose task is not ignored."""
        return tuple(trial for trial in trials if not _matches(trial.task or "", self.ignore.tasks))

    def _without_ignored(self, family: Family) -> Family:
        metrics = tuple(metric for metric in family.metrics if metric not in self.ignore.metrics)
        return msgspec.structs.replace(family, metrics=metrics)


def gate_of(document: Mapping[str, Any], thresholds: Profile | None = None) -> Gate:
    """The gate of a document; `thresholds` stand where it names none. ValueError names what is wrong."""
    given = document.get("thresholds", {})
    if isinstance(given, Mapping):
        given = msgspec.to_builtins(thresholds or Profile()) | dict(given)
    for prefix, table, known in _tables(document):
        _known_keys(table, known, prefix)
    try:
        return msgspec.convert({**document, "thresholds": given}, Gate)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error))) from error


def _tables(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Sequence[str]]]:
    """Every table of the document whose keys are given names, with its name and these."""
    yield "", document, Gate.__struct_fields__
    named = {
        "thresholds": Profile.__struct_fields__,
        "tolerances": get_args(SetMetric),
        "ignore": Ignored.__struct_fields__,
    }
    for name, known in named.items():
        if isinstance(table := document.get(name), Mapping):
            yield f"{name}.", table, known
    families = document.get("families")
    for name, family in families.items() if isinstance(families, Mapping) else ():
        if isinstance(family, Mapping):
            yield f"families.{name}.", family, FamilyRule.__struct_fields__


def _known_keys(table: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {prefix + str(key)!r}; known are {', '.join(known)}")


def _in_words(complaint: str) -> str:
    """msgspec's sentence with the key in front: `families.quality.blocks: expected bool, got int`."""
    said, _, place = complaint.partition(" - at `")
    key = place.rstrip("`").removeprefix("key in `").removeprefix("$").lstrip(".")
    return f"{key}: {said[:1].lower()}{said[1:]}" if key else said


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(_pattern(pattern).fullmatch(name) for pattern in patterns)


@lru_cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
