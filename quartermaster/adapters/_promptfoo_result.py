"""One result of promptfoo as a mission, whatever container it came in."""

from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters._entries import one_line, output_text
from quartermaster.adapters._lines import is_id, text_or_none
from quartermaster.adapters._story import Usage, cost_of, count_of, local_instant
from quartermaster.adapters._test_cases import (
    CaseRun,
    Check,
    Trials,
    Verdict,
    digest_of,
    entries_of,
    number_of,
    seconds_of,
)
from quartermaster.core.journal import minted_id

_ERROR: Final = 2
"""The `failureReason` of a test that the provider, not an assertion, ended."""


class Result(msgspec.Struct, rename="camel", gc=False):
    """One test, with one prompt, asked of one provider; fields take any value."""

    id: Any = None
    test_idx: Any = None
    prompt_idx: Any = None
    test_case: Any = None
    vars: Any = None
    provider: Any = None
    prompt: Any = None
    response: Any = None
    error: Any = None
    success: Any = None
    score: Any = None
    failure_reason: Any = None
    grading_result: Any = None
    latency_ms: Any = None
    cost: Any = None


class About(NamedTuple):
    """What all results of a file have in common."""

    key: str
    began: int | None = None
    suite: str | None = None
    harness: str = "promptfoo"


def about_of(eval_id: Any, timestamp: Any, config: Any, metadata: Any) -> About:
    """What the document says around its results."""
    version = text_or_none(_object(metadata).get("promptfooVersion"))
    return About(
        key=eval_id if is_id(eval_id) else str(timestamp),
        began=local_instant(timestamp),
        suite=text_or_none(_object(config).get("description")),
        harness=f"promptfoo {version}" if version else "promptfoo",
    )


class Results:
    """Tells results in the order of their file, and counts the runs of each test."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._trials = Trials()

    def entries_of(self, result: Result) -> list[bytes]:
        """The entries of the mission that the result is."""
        return entries_of("promptfoo", self._run(result))

    def _run(self, result: Result) -> CaseRun:
        about, case = self._about, _object(result.test_case)
        task, variant = _task(case, result), _variant(result)
        trial = self._trials.next(task, variant)
        response = _object(result.response)
        verdict, reason = _verdict(result, response)
        tokens = _object(response.get("tokenUsage"))
        asked = text_or_none(_object(result.prompt).get("raw"))
        answered = output_text(response.get("output"))
        used = Usage(
            fresh=count_of(tokens.get("prompt")),
            output=count_of(tokens.get("completion")),
            cost=cost_of(response.get("cost")) or cost_of(result.cost),
        )
        return CaseRun(
            mission_id=self._mission_id(result, task, variant, trial),
            task=task,
            title=text_or_none(case.get("description")),
            trial=trial,
            verdict=verdict,
            harness=about.harness,
            began=about.began,
            seconds=_latency(result.latency_ms),
            variant=variant,
            turns=tuple((by_user, text) for by_user, text in ((True, asked), (False, answered)) if text),
            was_called=True,
            usage=used,
            total_tokens=count_of(tokens.get("total")),
            reward=number_of(result.score),
            reason=reason,
            checks=tuple(_checks(_object(result.grading_result))),
            labels={
                "suite": about.suite,
                "prompt": one_line(text_or_none(_object(result.prompt).get("label")) or "") or None,
                "cached": True if response.get("cached") is True else None,
            },
        )

    def _mission_id(self, result: Result, task: str, variant: str | None, trial: int) -> str:
        if is_id(result.id) and len(result.id) <= 256:
            return f"promptfoo_{result.id}"
        known = (self._about.key, task, str(variant), str(trial))
        return "promptfoo_" + minted_id("promptfoo", *known)[2:]


def _task(case: dict[str, Any], result: Result) -> str:
    """The same for the same test in another file: its description and its variables.

    A test without either is told from others by its assertions.
    """
    described = one_line(text_or_none(case.get("description")) or "")
    variables = case.get("vars") or result.vars
    if variables or not described:
        mark = digest_of(variables, None if variables or described else case.get("assert"))
        described = f"{described}-{mark}" if described else mark
    return f"promptfoo/{described}"


def _variant(result: Result) -> str | None:
    """The provider; of a later prompt of several, with its number."""
    provider = result.provider
    named = _object(provider).get("label") or _object(provider).get("id") or provider
    name = one_line(named) if isinstance(named, str) and named else None
    number = count_of(result.prompt_idx)
    return f"{name or 'provider'} prompt {number + 1}" if number else name


def _verdict(result: Result, response: dict[str, Any]) -> tuple[Verdict, str | None]:
    """An error beside assertions that were judged is the reason why one of them failed."""
    grading = _object(result.grading_result)
    reason = text_or_none(result.error) or text_or_none(grading.get("reason"))
    provider_error = text_or_none(response.get("error"))
    if result.failure_reason == _ERROR or (provider_error and not grading):
        return "errored", reason or provider_error
    if type(result.success) is not bool:
        return "skipped", "the result says neither success nor failure"
    return ("passed", None) if result.success else ("failed", reason)


def _latency(milliseconds: Any) -> float | None:
    known = seconds_of(milliseconds)
    return None if known is None else known / 1000


def _checks(grading: dict[str, Any]) -> list[Check]:
    """Each assertion by its metric, else by its type."""
    parts = grading.get("componentResults")
    return [_check(_object(part)) for part in parts] if isinstance(parts, list) else []


def _check(part: dict[str, Any]) -> Check:
    assertion, passed = _object(part.get("assertion")), part.get("pass")
    name = text_or_none(assertion.get("metric")) or text_or_none(assertion.get("type")) or "assertion"
    verdict = passed if type(passed) is bool else None
    return Check(name, verdict, number_of(part.get("score")), text_or_none(part.get("reason")))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
