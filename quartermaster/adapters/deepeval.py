"""Test runs of DeepEval: one mission a test case and repetition. Its files hold no times of day."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import members_by_name, read_object, records_of
from quartermaster.adapters._entries import one_line, output_text
from quartermaster.adapters._lines import text_or_none
from quartermaster.adapters._story import Usage, cost_of, count_of
from quartermaster.adapters._test_cases import (
    CaseRun,
    Check,
    Tool,
    Trials,
    Verdict,
    digest_of,
    entries_of,
    number_of,
    seconds_of,
)
from quartermaster.core.journal import minted_id

_KEPT_INSIDE: Final = b"testRunData"
_NUMBERED: Final = ("test_case_", "conversational_test_case_")
_NOTHING: Final = "no test case is in it"


class _Case(msgspec.Struct, rename="camel", gc=False):
    name: Any = None
    input: Any = None
    actual_output: Any = None
    tools_called: Any = None
    token_cost: Any = None
    input_token_count: Any = None
    output_token_count: Any = None
    completion_time: Any = None
    success: Any = None
    metrics_data: Any = None
    run_duration: Any = None
    order: Any = None
    tags: Any = None
    scenario: Any = None
    turns: Any = None


class _Run(msgspec.Struct, rename="camel", gc=False):
    test_file: Any = None
    test_cases: list[_Case] = []
    conversational_test_cases: list[_Case] = []
    identifier: Any = None
    hyperparameters: Any = None
    dataset_alias: Any = None


_decoder = msgspec.json.Decoder(_Run)
_decode_case = msgspec.json.Decoder(_Case).decode
_lists: Final = {"testCases": _decode_case, "conversationalTestCases": _decode_case}


class DeepEval:
    """What `deepeval test run` leaves in its results folder and in `.deepeval`."""

    name = "deepeval"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object, or one inside of it, with a list of test cases as DeepEval describes them."""
        found = members_by_name(head)
        if _KEPT_INSIDE in found:
            found = {member.name: member.value.start for member in json.members(head, found[_KEPT_INSIDE])}
        at = found.get(b"testCases")
        return at is not None and b"testFile" in found and head[at : at + 1] == b"["

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each test case; a malformed one costs itself."""
        begin, end = _span_of_run(document)
        read, found = read_object(document[begin:end], _decoder, _lists)
        rejected = [RejectedLine(begin + one.offset, one.length, one.reason) for one in found]
        run = read or _Run()
        about, trials = _About(run), Trials()
        cases = [*run.test_cases, *run.conversational_test_cases]
        entries = [entry for case in cases for entry in entries_of("deepeval", _told(case, about, trials))]
        return records_of(document, entries, rejected, _NOTHING)


def _span_of_run(document: bytes) -> json.Span:
    """Where the run stands: the whole document, or what `.latest_test_run.json` keeps under a name."""
    start = json.start_of(document)
    if document[start : start + 1] == b"{":
        first = next(json.members(document, start), None)
        if first is not None and first.name == _KEPT_INSIDE:
            return first.value
    return json.Span(start, None)


class _About:
    """What all test cases of a run have in common."""

    def __init__(self, run: _Run) -> None:
        self.settings = run.hyperparameters if isinstance(run.hyperparameters, dict) else {}
        self.model = text_or_none(self.settings.get("model"))
        self.variant = text_or_none(run.identifier) or self.model
        self.dataset = text_or_none(run.dataset_alias)


def _told(case: _Case, about: _About, trials: Trials) -> CaseRun:
    task = _task(case)
    trial = trials.next(task, about.variant)
    verdict, reason = _verdict(case)
    turns = tuple(_turns(case))
    # nothing but how long a case took to the nanosecond tells one run from the next
    known = (task, trial, case.order, case.run_duration, case.completion_time, digest_of(turns))
    return CaseRun(
        mission_id="deepeval_" + minted_id("deepeval", *(str(part) for part in known))[2:],
        task=task,
        title=text_or_none(case.name),
        trial=trial,
        verdict=verdict,
        harness="deepeval",
        seconds=seconds_of(case.completion_time),
        variant=about.variant,
        model=about.model,
        turns=turns,
        was_called=True,
        usage=Usage(
            fresh=count_of(case.input_token_count),
            output=count_of(case.output_token_count),
            cost=cost_of(case.token_cost),
        ),
        tools=tuple(_tools(case)),
        reward=_reward(case),
        reason=reason,
        checks=tuple(_checks(case)),
        labels={
            "dataset": about.dataset,
            "hyperparameters": about.settings or None,
            "tags": case.tags if isinstance(case.tags, list) and case.tags else None,
        },
    )


def _task(case: _Case) -> str:
    """The same for the same case in another run: its name, unless that only counts, and what it asks."""
    name = one_line(text_or_none(case.name) or "")
    asked = (
        case.input
        if case.input is not None
        else case.scenario or [text for user, text in _turns(case) if user]
    )
    mark = digest_of(asked)
    return f"deepeval/{mark}" if not name or name.startswith(_NUMBERED) else f"deepeval/{name}-{mark}"


def _turns(case: _Case) -> Iterator[tuple[bool, str]]:
    for by_user, text in ((True, case.input), (False, case.actual_output)):
        if isinstance(text, str) and text:
            yield by_user, text
    for turn in case.turns if isinstance(case.turns, list) else ():
        text = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(text, str) and text:
            yield turn.get("role") == "user", text


def _tools(case: _Case) -> Iterator[Tool]:
    for call in case.tools_called if isinstance(case.tools_called, list) else ():
        name = text_or_none(call.get("name")) if isinstance(call, dict) else None
        if name:
            yield Tool(name, call.get("inputParameters"), output_text(call.get("output")))


def _metrics(case: _Case) -> list[dict[str, Any]]:
    metrics = case.metrics_data if isinstance(case.metrics_data, list) else []
    return [metric for metric in metrics if isinstance(metric, dict)]


def _verdict(case: _Case) -> tuple[Verdict, str | None]:
    """A case whose metrics could not be measured, and of which no other one failed, was not judged."""
    if type(case.success) is not bool:
        return "skipped", "the case says neither success nor failure"
    if case.success:
        return "passed", None
    unhappy = [metric for metric in _metrics(case) if metric.get("success") is not True]
    errors = [words for metric in unhappy if (words := text_or_none(metric.get("error")))]
    if unhappy and len(errors) == len(unhappy):
        return "errored", errors[0]
    said = (text_or_none(metric.get("reason")) or text_or_none(metric.get("error")) for metric in unhappy)
    return "failed", next((words for words in said if words), None)


def _reward(case: _Case) -> float | None:
    """The mean score of the metrics, where each has one."""
    scores = [number_of(metric.get("score")) for metric in _metrics(case)]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def _checks(case: _Case) -> Iterator[Check]:
    for metric in _metrics(case):
        passed, error = metric.get("success"), text_or_none(metric.get("error"))
        yield Check(
            text_or_none(metric.get("name")) or "metric",
            passed if type(passed) is bool and not error else None,
            number_of(metric.get("score")),
            error or text_or_none(metric.get("reason")),
        )


ADAPTER: Final[DocumentAdapter] = DeepEval()
