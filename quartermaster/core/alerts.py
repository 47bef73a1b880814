"""Alerts: what a rule waits for, what has happened, and the message that tells of it.

A message holds ids, numbers, verdicts and sentences of this program: never a text that an agent or a tool
wrote, because it leaves the machine.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from quartermaster.core.gate import Metric
from quartermaster.core.journal import format_instant
from quartermaster.core.noise import Grade
from quartermaster.core.series import METRICS
from quartermaster.core.trends import By

Severity = Literal["info", "warn", "high"]

SCHEMA: Final = 1
GRADES: Final[tuple[Grade, ...]] = ("single-run", "within-run", "outside-noise")
"""The weakest evidence first. A regression of two sets was tested over its missions: it is outside noise."""
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warn", "high")
NAME_LIMIT: Final = 100
_LABEL_LIMIT: Final = 200


class OnRegression(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="on", tag="regression"
):
    """A run whose verdict is regressed: in one of these metrics, any where none is named, with evidence of
    at least this grade."""

    metrics: tuple[Metric, ...] = ()
    grade: Grade = "single-run"


class OnChangePoint(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="on", tag="change_point"
):
    """A series that has changed its level for the worse, confirmed and beyond its threshold."""

    metrics: tuple[str, ...] = ()
    task: str | None = None
    variant: str | None = None
    by: By = "day"

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"no trend of {unknown[0]!r}; there are {', '.join(METRICS)}")


class OnFailureMode(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="on", tag="failure_mode"
):
    """A finding of at least this severity, by one of these detectors (ids), by any where none is named."""

    severity: Severity = "high"
    detectors: tuple[str, ...] = ()


Trigger = OnRegression | OnChangePoint | OnFailureMode


class Webhook(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="webhook"):
    """A POST to an address. `local`: made on this machine, so that it may name one of a private network."""

    url: str
    local: bool


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="command"):
    """A program with its arguments, the message on its standard input."""

    argv: tuple[str, ...]


Destination = Webhook | Command


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that got worse, and what that is worth."""

    metric: str
    grade: Grade


class Regression(msgspec.Struct, frozen=True, kw_only=True):
    """A run that found the candidate worse; `result` is the run's one sentence."""

    run_id: str
    kind: str
    baseline_mission_id: str | None
    candidate_mission_id: str | None
    verdict: str
    result: str
    metrics: tuple[Breach, ...]

    event: Literal["regression"] = "regression"

    @property
    def key(self) -> str:
        return f"regression {self.run_id}"

    @property
    def wording(self) -> str:
        return self.result

    @property
    def page(self) -> str:
        return _page("runs", self.run_id)


class ChangePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A series that got worse. `change` and its 95 % interval are as in trends: a difference of rates, else
    a share of the level before."""

    agent: str | None
    metric: str
    by: By
    at: str
    seen_at: str | None
    before: float
    after: float
    change: float | None
    low: float | None
    high: float | None
    task: str | None
    variant: str | None
    first_bad_mission_id: str | None

    event: Literal["change_point"] = "change_point"

    @property
    def series(self) -> str:
        return series_key(self.agent, self.metric)

    @property
    def key(self) -> str:
        return f"change_point {self.series} {self.at}"

    @property
    def wording(self) -> str:
        of_agent = "" if self.agent is None else f" of {self.agent}"
        return (
            f"{self.metric.replace('_', ' ')}{of_agent} got worse at {self.at}:"
            f" from {self.before:.4g} to {self.after:.4g}"
        )

    @property
    def page(self) -> str:
        told = {"metric": self.metric, "by": self.by, "task": self.task, "variant": self.variant}
        return _page("trends", **told)


class FailureFound(msgspec.Struct, frozen=True, kw_only=True):
    """What one detector found in a mission: how often, and of what severity at the worst."""

    mission_id: str
    detector: str
    name: str
    severity: Severity
    findings: int
    first_step: int

    event: Literal["failure_mode"] = "failure_mode"

    @property
    def key(self) -> str:
        return f"failure_mode {self.detector} {self.mission_id}"

    @property
    def wording(self) -> str:
        often = "once" if self.findings == 1 else f"{self.findings:,} times"
        named = self.name.replace("_", " ")
        return f"{named} ({self.detector}, {self.severity}) found {often} in mission {self.mission_id}"

    @property
    def page(self) -> str:
        return _page("mission", self.mission_id)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing has happened: somebody tries whether messages arrive."""

    event: Literal["test"] = "test"

    @property
    def wording(self) -> str:
        return "This is a test: nothing has happened."

    @property
    def page(self) -> str:
        return _page("missions")


Happening = Regression | ChangePoint | FailureFound


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Whose message it is: the rule and its workspace. `base` is the address of the page."""

    rule_id: str
    name: str
    workspace_id: str
    slug: str
    base: str


def series_key(agent: str | None, metric: str) -> str:
    """The name of one series of trends."""
    return f"{metric} of {msgspec.json.encode(agent).decode()}"


def delivery_id(rule_id: str, key: str) -> str:
    """The id of the message by which a rule tells of something: the same however often it is made."""
    return "msg_" + sha256(f"{rule_id}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def wants_metrics(trigger: OnRegression, breaches: tuple[Breach, ...]) -> tuple[Breach, ...]:
    """The breaches that a rule asks for; empty where it is not to fire."""
    least = GRADES.index(trigger.grade)
    return tuple(
        breach
        for breach in breaches
        if (not trigger.metrics or breach.metric in trigger.metrics) and GRADES.index(breach.grade) >= least
    )


def wants_severity(trigger: OnFailureMode, severity: str) -> bool:
    """Whether a finding of this severity is grave enough."""
    words: tuple[str, ...] = SEVERITIES
    return words.index(severity) >= words.index(trigger.severity)


def message(what: Happening | Trial, origin: Origin, *, id: str, at: int) -> bytes:
    """The message as it is sent and signed, JSON in UTF-8. `at` is when it was noticed."""
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "id": id,
        "type": what.event,
        "timestamp": format_instant(at),
        "workspace": {"id": origin.workspace_id, "slug": origin.slug},
        "rule": {"id": origin.rule_id, "name": origin.name},
        "wording": what.wording,
        "url": f"{origin.base}/{_in_workspace(what.page, origin.slug)}",
        "data": {name: value for name, value in _facts(what).items() if name != "event"},
    }
    return msgspec.json.encode(told)


def label(text: str | None) -> str | None:
    """The name of an agent or task as one short line without control characters."""
    if text is None:
        return None
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= _LABEL_LIMIT else line[:_LABEL_LIMIT] + "…"


def _facts(what: Happening | Trial) -> Mapping[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(what)
    return facts


def _page(view: str, *parts: str, **query: str | None) -> str:
    """An address of the page, as its router writes them."""
    told = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value is not None)
    path = "/".join((view, *(quote(part, safe="") for part in parts)))
    return f"#/{path}{'?' if told else ''}{told}"


def _in_workspace(page: str, slug: str) -> str:
    return f"{page}{'&' if '?' in page else '?'}workspace={quote(slug, safe='')}"
