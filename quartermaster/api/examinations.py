"""What was found out about a mission alone, as clients read it."""

from typing import Any

import msgspec

from quartermaster.core.examination import Examination
from quartermaster.core.failure_modes import FailureMode
from quartermaster.core.mission_metrics import CATALOGUE, Known, MissionMetric, Partial, Reading
from quartermaster.core.trajectory import PICODOLLARS


def examination_detail(examination: Examination) -> dict[str, Any]:
    """Everything that an examination found; `failure_counts` counts those beyond `failures` too, and
    `not_judged` says by detector what it lacks."""
    return {
        "unexamined": examination.unexamined,
        "catalogue": [metric_row(metric) for metric in examination.metrics],
        "failures": [failure_row(finding) for finding in examination.findings],
        "failure_counts": examination.counts,
        "not_judged": examination.unknown,
        "claims": msgspec.to_builtins(examination.claims),
        "root_cause": msgspec.to_builtins(examination.root_cause),
    }


def metric_row(metric: MissionMetric) -> dict[str, Any]:
    """A catalogue metric with what it says. `value` is null where nothing can be said, and `reason` why;
    `known` of `of` is its coverage."""
    definition = CATALOGUE[metric.id]
    return {
        "id": metric.id,
        **_reading(metric.reading),
        "unit": definition.unit,
        "direction": definition.direction,
        "population": definition.population,
        "provenance": metric.provenance,
        "parts": {name: _reading(part) for name, part in metric.parts.items()},
        "export": definition.export,
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "state": reading.__struct_config__.tag,
        "value": reading.number,
        "known": _known(reading),
        "of": reading.of,
        "reason": None if isinstance(reading, Known) else reading.reason,
    }


def _known(reading: Reading) -> int:
    if isinstance(reading, Partial):
        return reading.known
    return reading.of if isinstance(reading, Known) else 0


def failure_row(finding: FailureMode) -> dict[str, Any]:
    """A finding of a detector. What was wasted is in USD, and null where it is not known."""
    row: dict[str, Any] = msgspec.to_builtins(finding)
    wasted = row["wasted"]
    cost = wasted.pop("cost")
    wasted["cost_usd"] = None if cost is None else cost / PICODOLLARS
    return row
