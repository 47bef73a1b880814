"""One test case, run once, as a mission: what result files of test programs have in common.

Such a program knows no agent. What it reports is who was asked what, what came back, and its own verdict:
the outcome is the harness's word. A test that could not be carried out (`errored`) says nothing of the
agent; it is an aborted mission that the infrastructure ended, and comparisons set it aside. One that was
`skipped` has no outcome. Where a file says nothing but verdicts, steps, tokens and costs cannot be said.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, cut_arguments, one_line
from quartermaster.adapters._story import MINUTE, Story, Usage, cost_of, count_of, title_of
from quartermaster.core.trials import VERDICT_ONLY

Verdict = Literal["passed", "failed", "errored", "skipped"]

_CHECKS_LIMIT: Final = 50
_MOST_SECONDS: Final = 1e9
_SECOND: Final = 10**9
_canonical = msgspec.json.Encoder(order="sorted").encode


class Check(NamedTuple):
    """One assertion or metric of a test case; None where it has no verdict or no score."""

    name: str
    passed: bool | None
    score: float | None = None
    reason: str | None = None


class Tool(NamedTuple):
    """A tool call that the test case recorded."""

    name: str
    arguments: Any
    output: str | None


class CaseRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one test case. `began` is nanoseconds, None without a clock; `harness` wrote the file."""

    mission_id: str
    task: str
    title: str | None
    trial: int
    verdict: Verdict
    harness: str
    began: int | None = None
    seconds: float | None = None
    variant: str | None = None
    model: str | None = None
    agent: str | None = None
    version: str | None = None
    turns: tuple[tuple[bool, str], ...] = ()
    """What was said: whether by the one who asks, and the words."""
    was_called: bool = False
    """Whether a model or another provider is known to have been asked."""
    usage: Usage = Usage()
    total_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    reward: float | None = None
    reason: str | None = None
    checks: tuple[Check, ...] = ()
    labels: Mapping[str, Any] = {}


class Trials:
    """Numbers the runs of a task by a variant in the order of the file, from 1 on."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str | None]] = Counter()

    def next(self, task: str, variant: str | None) -> int:
        self._seen[task, variant] += 1
        return self._seen[task, variant]


def entries_of(format_name: str, run: CaseRun) -> list[bytes]:
    """The entries of the mission that the run is."""
    story = Story(Mission(format_name, run.mission_id))
    story.at(run.began or MINUTE)
    story.created(_facts(run))
    for index, (by_user, text) in enumerate(run.turns):
        if by_user:
            story.said(True, text, f"turn {index}")
    for index, tool in enumerate(run.tools):
        call_id = f"call {index}"
        story.begin(call_id, tool.name, tool.arguments)
        story.end(call_id, output=tool.output)
    if run.seconds is not None:
        story.at((run.began or MINUTE) + int(run.seconds * _SECOND))
    if run.was_called:
        error = one_line(run.reason or "") or None if run.verdict == "errored" else None
        lasted = None if run.seconds is None else round(run.seconds * 1000)
        about: dict[str, Any] = {"total_tokens": run.total_tokens, "duration_ms": lasted, "error": error}
        story.model_call("call", run.model or run.variant, run.usage, **about)
    for index, (by_user, text) in enumerate(run.turns):
        if not by_user:
            story.said(False, text, f"turn {index}")
    _tell_verdict(story, run)
    return story.entries


def _facts(run: CaseRun) -> dict[str, Any]:
    asked = next((text for by_user, text in run.turns if by_user and text.strip()), None)
    return {
        "title": title_of(run.title or asked),
        "goal": cut(asked, TEXT_LIMIT) if asked else None,
        "task": run.task,
        "trial": run.trial,
        "variant": run.variant,
        "agent": run.agent,
        "model": run.model,
        "version": run.version,
        "harness": run.harness,
        "labels": _labels(run),
        "clock": None if run.began else "ordinal",
    }


def _labels(run: CaseRun) -> dict[str, Any]:
    told = {
        "verdict": run.verdict,
        "ended_by": "infrastructure" if run.verdict == "errored" else None,
        "recorded": None if run.was_called or run.tools else VERDICT_ONLY,
        "checks": [_told(check) for check in run.checks[:_CHECKS_LIMIT]] or None,
        **{name: cut_arguments(value) for name, value in run.labels.items()},
    }
    return {name: value for name, value in told.items() if value is not None}


def _told(check: Check) -> dict[str, Any]:
    told = {
        "name": one_line(check.name),
        "passed": check.passed,
        "score": check.score,
        "reason": one_line(check.reason) if check.reason and not check.passed else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _tell_verdict(story: Story, run: CaseRun) -> None:
    match run.verdict:
        case "passed":
            story.goal("completed")
            story.outcome("succeeded", "harness", run.reward)
        case "failed":
            story.goal("failed", run.reason)
            story.outcome("failed", "harness", run.reward)
        case "errored":
            words = cut(run.reason or "the test could not be carried out", TEXT_LIMIT)
            about = {"summary": words, "actor": "system", "severity": "error"}
            story.tell("run.failed", {"error": words}, "error", **about)
            story.outcome("aborted", "harness")
        case "skipped":
            if run.reason:
                words = cut(run.reason, TEXT_LIMIT)
                story.tell("test.skipped", {"reason": words}, summary=words, actor="system")


def digest_of(*values: Any) -> str:
    """A short mark of values, the same for equal ones whatever the order of their members."""
    try:
        text = _canonical(values)
    except RecursionError:
        text = b"nested too deeply"
    return blake2b(text, digest_size=5).hexdigest()


def number_of(value: Any) -> float | None:
    """A score or a time; also from text that is a number. None for what is none or beyond all bounds."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = float(value.replace(",", ""))
        except ValueError:
            return None
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if -_MOST_SECONDS < value < _MOST_SECONDS else None


def seconds_of(value: Any) -> float | None:
    """How long something took."""
    known = number_of(value)
    return known if known is not None and known >= 0 else None


class Properties:
    """What a test wrote down beside its verdict, under names of which some are known.

    `record_property("cost_usd", 0.02)` in pytest, `<property>` in JUnit XML.
    """

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        self._told = {name: value for name, value in pairs if name}
        self.variant = self._text("variant", "provider")
        self.model = self._text("model")
        self.agent = self._text("agent")
        self.version = self._text("version")
        self.prompt = self._text("prompt", "input", "question")
        self.output = self._text("output", "answer")
        self.reward = number_of(self._take("reward", "score"))
        trial = number_of(self._take("trial"))
        self.trial = int(trial) if trial is not None and trial >= 0 else None
        self.usage = Usage(
            fresh=self._count("input_tokens", "prompt_tokens"),
            output=self._count("output_tokens", "completion_tokens"),
            cost=cost_of(number_of(self._take("cost_usd", "cost"))),
        )
        self.total_tokens = self._count("total_tokens", "tokens")
        self.rest = dict(list(self._told.items())[:_CHECKS_LIMIT]) or None

    @property
    def turns(self) -> tuple[tuple[bool, str], ...]:
        said = ((True, self.prompt), (False, self.output))
        return tuple((by_user, text) for by_user, text in said if text)

    @property
    def tell_of_a_call(self) -> bool:
        known = (self.model, self.output, self.total_tokens)
        return any(one is not None for one in (*known, self.usage.fresh, self.usage.cost))

    def _take(self, *names: str) -> Any:
        return next((self._told.pop(name) for name in names if name in self._told), None)

    def _text(self, *names: str) -> str | None:
        value = self._take(*names)
        return value if isinstance(value, str) and value.strip() else None

    def _count(self, *names: str) -> int | None:
        value = number_of(self._take(*names))
        return count_of(int(value)) if value is not None else None
