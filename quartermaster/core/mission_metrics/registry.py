"""The register of catalogue metrics: each one is a function over a mission that gives a reading.

Its unit, its direction, what it is measured over and the name it is exported under travel with its function.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import msgspec

from quartermaster.core.metrics import Direction
from quartermaster.core.mission_metrics.subject import Subject

Provenance = Literal["recorded", "computed", "mixed", "unknown"]
"""`recorded` stands in the journal, `computed` follows from rules or prices, `mixed` is some of each."""

_LARGEST: Final = 2**63 - 1


class Known(msgspec.Struct, frozen=True, tag_field="state", tag="value"):
    """A value, and over how many of its population it was measured."""

    value: int | float
    of: int

    @property
    def number(self) -> int | float | None:
        return self.value


class Partial(msgspec.Struct, frozen=True, tag_field="state", tag="partial"):
    """What can be said where only `known` of `of` are known: a part of a sum, or a rate over fewer."""

    value: int | float
    known: int
    of: int
    reason: str

    @property
    def number(self) -> int | float | None:
        return self.value


class Undefined(msgspec.Struct, frozen=True, tag_field="state", tag="undefined"):
    """Nothing can be said, which is neither 0 nor 1."""

    reason: str
    of: int = 0

    @property
    def number(self) -> int | float | None:
        return None


Reading = Known | Partial | Undefined

_BEYOND: Final = "the recorded numbers are beyond all sense"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A reading with its parts (by class of error, by source, by budget), and where it comes from."""

    reading: Reading
    parts: Mapping[str, Reading] = {}
    provenance: Provenance = "recorded"


class MissionMetric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One catalogue metric of one mission."""

    id: str
    reading: Reading
    provenance: Provenance
    parts: dict[str, Reading] = {}


Measure = Callable[[Subject], Reading | Told]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A catalogue metric: what it is, in which unit, which way is good, and over what it is measured.

    `parts` says what its parts are told apart by. `export` is its name in the OpenTelemetry conventions
    where they have one, else under our own prefix.
    """

    id: str
    definition: str
    unit: str
    direction: Direction
    population: str
    parts: str | None
    export: str
    measure: Measure

    def of(self, subject: Subject) -> MissionMetric:
        told = self.measure(subject)
        if not isinstance(told, Told):
            told = Told(reading=told)
        return MissionMetric(
            id=self.id, reading=told.reading, provenance=told.provenance, parts=dict(told.parts)
        )


CATALOGUE: Final[dict[str, Definition]] = {}
"""All metrics by id, in the order in which they are shown."""

_EXPORTED: Final = {
    "tokens_in": "gen_ai.client.inference.usage.input_tokens",
    "tokens_out": "gen_ai.client.inference.usage.output_tokens",
    "tokens_cache_read": "gen_ai.client.inference.usage.cache_read.input_tokens",
    "tokens_cache_write": "gen_ai.client.inference.usage.cache_creation.input_tokens",
    "tokens_reasoning": "gen_ai.client.inference.usage.reasoning.output_tokens",
    "llm_time": "gen_ai.client.operation.duration",
    "tool_time": "gen_ai.execute_tool.duration",
    "active_time": "gen_ai.invoke_agent.duration",
    "wall_time": "gen_ai.workflow.duration",
}
"""The one table of names that others have; they are at an early stage and move."""


def catalogue_metric(
    *, unit: str, direction: Direction, over: str, parts: str | None = None
) -> Callable[[Measure], Measure]:
    """Registers a function as the metric of its name; the first line of its docstring is the definition."""

    def register(measure: Measure) -> Measure:
        name = measure.__name__
        CATALOGUE[name] = Definition(
            id=name,
            definition=" ".join((measure.__doc__ or "").split("\n\n")[0].split()),
            unit=unit,
            direction=direction,
            population=over,
            parts=parts,
            export=_EXPORTED.get(name, f"quartermaster.{name}"),
            measure=measure,
        )
        return measure

    return register


def amount(value: int | float, of: int) -> Reading:
    """A number that is known whole; undefined where the recording holds nonsense."""
    if not math.isfinite(value) or abs(value) > _LARGEST:
        return Undefined(_BEYOND, of)
    return Known(value, of)


def share(part: int, of: int, nothing: str, *, population: int | None = None) -> Reading:
    """A rate; undefined over nothing, partial where more belong to the population than could be judged."""
    if not of:
        return Undefined(nothing, population or 0)
    if population is not None and population > of:
        return Partial(part / of, of, population, f"{population - of:,} of {population:,} cannot be judged")
    return Known(part / of, of)


def total(values: Iterable[int | None], nothing: str, unknown: str) -> Reading:
    """A sum over what is known. `nothing` says why there is no population, `unknown` what is not recorded."""
    all_values = list(values)
    known = [value for value in all_values if value is not None]
    return partial_amount(sum(known), len(known), len(all_values), nothing, unknown)


def partial_amount(value: int | float, known: int, of: int, nothing: str, unknown: str) -> Reading:
    """A sum that `known` of `of` are in."""
    if not of:
        return Undefined(nothing)
    if not known:
        return Undefined(unknown, of)
    if not math.isfinite(value) or abs(value) > _LARGEST:
        return Undefined(_BEYOND, of)
    return (
        Known(value, of) if known == of else Partial(value, known, of, f"{of - known:,} of {of:,}: {unknown}")
    )
