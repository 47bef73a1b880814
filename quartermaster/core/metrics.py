"""The contract metrics: each one a function over what was counted, registered under its own name.

A metric is data with its coverage and its source, so that an unknown cost or an empty denominator can
never pass for a zero.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal

import msgspec

from quartermaster.core.trajectory import PICODOLLARS

Direction = Literal["higher is better", "lower is better", "neutral"]
Source = Literal["recorded", "catalogue", "mixed"]

_LARGEST: Final = 2**63 - 1


class Tally(msgspec.Struct, kw_only=True):
    """What is counted while a trajectory goes by. Money is whole picodollars."""

    steps: int = 0
    commands: int = 0
    succeeded_commands: int = 0
    failed_commands: int = 0
    decisions: int = 0
    decisions_allowed: int = 0
    decisions_denied: int = 0
    model_calls: int = 0
    calls_with_tokens: int = 0
    tokens: int = 0
    calls_with_recorded_cost: int = 0
    calls_with_list_price: int = 0
    calls_not_billed: int = 0
    calls_with_both_costs: int = 0
    recorded_where_both: int = 0
    listed_where_both: int = 0
    charges_without_call: int = 0
    unpriced_tokens: int = 0
    cost: int = 0
    hallucinations: int = 0
    unbilled: frozenset[str] = frozenset()
    goal_index: int | None = None
    running: bool = False
    assignments_before_running: int = 0
    failure_modes: tuple[str, ...] = ()

    @property
    def steps_to_goal(self) -> int:
        return self.steps if self.goal_index is None else self.goal_index + 1


class Coverage(msgspec.Struct, frozen=True):
    """Of how many of the facts that a metric rests on the value was known."""

    known: int
    of: int

    @property
    def full(self) -> bool:
        return self.known == self.of


class Reading(msgspec.Struct, frozen=True):
    """What a metric function says. `partial` is the sum of what is known where the whole is not."""

    value: int | float | tuple[str, ...] | None
    coverage: Coverage
    source: Source = "recorded"
    reason: str | None = None
    partial: int | float | None = None


class Metric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One metric of one mission. A `value` of None cannot be said, and `reason` says why.

    Beside a value the `reason` tells what makes it smaller than one would think.
    """

    name: str
    value: int | float | tuple[str, ...] | None
    unit: str
    direction: Direction
    coverage: Coverage
    source: Source
    reason: str | None = None
    partial: int | float | None = None

    @property
    def number(self) -> int | float | None:
        """The value as a number: a list counts by its length."""
        return len(self.value) if isinstance(self.value, tuple) else self.value


ReadsTally = Callable[[Tally], Reading]


class Definition(msgspec.Struct, frozen=True):
    name: str
    unit: str
    direction: Direction
    read: ReadsTally


METRICS: Final[dict[str, Definition]] = {}


def metric(*, unit: str, direction: Direction) -> Callable[[ReadsTally], ReadsTally]:
    """Registers a function as the metric of its name."""

    def register(read: ReadsTally) -> ReadsTally:
        METRICS[read.__name__] = Definition(read.__name__, unit, direction, read)
        return read

    return register


def read_metrics(tally: Tally) -> tuple[Metric, ...]:
    """Every registered metric, in the order of registration."""
    return tuple(_metric(definition, definition.read(tally)) for definition in METRICS.values())


def _metric(definition: Definition, reading: Reading) -> Metric:
    return Metric(
        name=definition.name,
        value=reading.value,
        unit=definition.unit,
        direction=definition.direction,
        coverage=reading.coverage,
        source=reading.source,
        reason=reading.reason,
        partial=reading.partial,
    )


@metric(unit="calls", direction="neutral")
def tool_call_count(tally: Tally) -> Reading:
    return _counted(tally, tally.commands + tally.model_calls)


@metric(unit="ratio", direction="higher is better")
def tool_success_rate(tally: Tally) -> Reading:
    """Share of commands and access decisions with an outcome that succeeded."""
    succeeded = tally.succeeded_commands + tally.decisions_allowed
    outcomes = succeeded + tally.failed_commands + tally.decisions_denied
    coverage = Coverage(outcomes, tally.commands + tally.decisions)
    if not coverage.of:
        return Reading(None, coverage, reason="no command ran and no access was decided")
    if not outcomes:
        return Reading(None, coverage, reason="no outcome was recorded")
    return Reading(succeeded / outcomes, coverage)


@metric(unit="steps", direction="lower is better")
def steps_to_goal(tally: Tally) -> Reading:
    """Steps up to the goal; all steps where the goal was never reached."""
    return _counted(tally, tally.steps_to_goal)


@metric(unit="ratio", direction="neutral")
def convergence_ratio(tally: Tally) -> Reading:
    """Assignments made before work began, plus one, over the steps to the goal."""
    if not tally.steps:
        return _counted(tally, 0)
    return _counted(tally, (tally.assignments_before_running + 1) / tally.steps_to_goal)


@metric(unit="tokens", direction="lower is better")
def total_tokens(tally: Tally) -> Reading:
    """Sum over the model calls whose tokens are known; the coverage says over how many."""
    coverage = Coverage(tally.calls_with_tokens, tally.model_calls)
    if tally.model_calls and not tally.calls_with_tokens:
        return Reading(None, coverage, reason="no model call has a token count")
    if abs(tally.tokens) > _LARGEST:
        return Reading(None, coverage, reason="the recorded counts are beyond all sense")
    return Reading(tally.tokens, coverage)


@metric(unit="USD", direction="lower is better")
def total_cost_usd(tally: Tally) -> Reading:
    """Exact sum of money; cannot be said while the cost of one model call is unknown."""
    priced = tally.calls_with_recorded_cost + tally.calls_with_list_price
    coverage = Coverage(priced, tally.model_calls)
    dollars = float(Decimal(tally.cost) / PICODOLLARS)
    source = _cost_source(tally)
    if coverage.full:
        return Reading(dollars, coverage, source, _not_billed(tally))
    unknown = tally.model_calls - priced
    reason = f"the cost of {unknown} of {tally.model_calls} model calls is unknown"
    return Reading(None, coverage, source, reason, dollars)


@metric(unit="blocks", direction="lower is better")
def hallucinations(tally: Tally) -> Reading:
    """Outputs that a guardrail blocked at severity warn or error."""
    return _counted(tally, tally.hallucinations)


@metric(unit="modes", direction="lower is better")
def failure_modes(tally: Tally) -> Reading:
    return Reading(tally.failure_modes, Coverage(tally.steps, tally.steps))


def _not_billed(tally: Tally) -> str | None:
    if not tally.calls_not_billed:
        return None
    why = " and ".join(sorted(tally.unbilled))
    return f"{tally.calls_not_billed} of {tally.model_calls} model calls are not billed singly: {why}"


def _cost_source(tally: Tally) -> Source:
    if not tally.calls_with_list_price:
        return "recorded"
    recorded = tally.calls_with_recorded_cost or tally.charges_without_call
    return "mixed" if recorded else "catalogue"


def _counted(tally: Tally, value: int | float) -> Reading:
    return Reading(value, Coverage(tally.steps, tally.steps))
