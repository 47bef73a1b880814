"""JUnit XML, as pytest and most other test programs write it: one mission a test case and repetition."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import records_of
from quartermaster.adapters._entries import TEXT_LIMIT, cut
from quartermaster.adapters._junit_markup import Case, Element, read_cases
from quartermaster.adapters._pytest_cases import PREFIX, Repeat, repeats_of
from quartermaster.adapters._story import local_instant
from quartermaster.adapters._test_cases import CaseRun, Properties, Verdict, entries_of, seconds_of
from quartermaster.core.journal import minted_id

_ROOT: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*+>\s*)?(?:<!--.*?-->\s*)*"
    rb"(?:<!DOCTYPE\s+testsuites?\b|<testsuites?(?=[\s/>]))",
    re.DOTALL,
)
_OF_SUITES: Final = ("variant", "provider", "model", "agent", "version")
_RERUNS: Final = ("rerunFailure", "rerunError", "flakyFailure", "flakyError")
_VERDICTS: Final[tuple[tuple[str, Verdict], ...]] = (
    ("error", "errored"),
    ("failure", "failed"),
    ("skipped", "skipped"),
)
_NOT_RUN: Final = ("notrun", "disabled", "skipped", "suppressed")
_NOTHING: Final = "no test case is in it"


class JunitXml:
    """What `pytest --junitxml` and others write."""

    name = "junit_xml"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A document whose first element is `testsuites` or `testsuite`."""
        return _ROOT.match(head) is not None

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each test case; a malformed one costs itself."""
        found = list(read_cases(document))
        cases = [case for case in found if isinstance(case, Case)]
        rejected = [line for line in found if isinstance(line, RejectedLine)]
        repeats, seen = repeats_of(dict.fromkeys(map(_name, cases))), Counter[str]()
        entries: list[bytes] = []
        for case in cases:
            seen[_name(case)] += 1
            entries += entries_of("junit_xml", _run(case, repeats, seen[_name(case)]))
        return records_of(document, entries, rejected, _NOTHING)


def _name(case: Case) -> str:
    """The class, or else the suites, and the name: what pytest's other reports call the test."""
    told = case.attributes
    suites = [name for one in case.suite.attributes if (name := one.get("name"))]
    place = told.get("classname") or ".".join(suites)
    return f"{place}.{told.get('name', '')}" if place else told.get("name", "")


def _run(case: Case, repeats: dict[str, Repeat], numbered: int) -> CaseRun:
    told, name = _properties(case), _name(case)
    known = repeats.get(name)
    verdict, reason = _verdict(case)
    # the innermost suite that says when it began tells this run from others
    suite = next((one for one in reversed(case.suite.attributes) if "timestamp" in one), {})
    key = [suite.get("timestamp", ""), suite.get("hostname", ""), case.attributes.get("time", "")]
    reruns = sum(element.name in _RERUNS for element in case.elements)
    return CaseRun(
        mission_id="junit_" + minted_id("junit_xml", name, str(numbered), *key)[2:],
        task=PREFIX + (known.name if known else name),
        title=case.attributes.get("name"),
        trial=told.trial or (known.number if known else numbered),
        verdict=verdict,
        harness="JUnit XML",
        began=local_instant(suite.get("timestamp")),
        seconds=seconds_of(case.attributes.get("time")),
        variant=told.variant,
        model=told.model,
        agent=told.agent,
        version=told.version,
        turns=told.turns,
        was_called=told.tell_of_a_call,
        usage=told.usage,
        total_tokens=told.total_tokens,
        reward=told.reward,
        reason=reason,
        labels={"properties": told.rest, "reruns": reruns or None},
    )


def _properties(case: Case) -> Properties:
    """Those of the case and, where it says nothing else, what its suite says of who was tested."""
    inherited = {name: value for name, value in case.suite.properties.items() if name in _OF_SUITES}
    own = [
        (element.attributes["name"], element.attributes.get("value", element.text.strip()))
        for element in case.elements
        if element.name == "property" and element.attributes.get("name")
    ]
    return Properties([*inherited.items(), *own])


def _verdict(case: Case) -> tuple[Verdict, str | None]:
    for name, verdict in _VERDICTS:
        for element in case.elements:
            if element.name == name:
                return verdict, _words(element)
    if case.attributes.get("status", "").lower() in _NOT_RUN:
        return "skipped", None
    return "passed", None


def _words(element: Element) -> str | None:
    said = element.attributes.get("message") or element.text.strip() or element.attributes.get("type")
    return cut(said, TEXT_LIMIT) if said else None


ADAPTER: Final[DocumentAdapter] = JunitXml()
