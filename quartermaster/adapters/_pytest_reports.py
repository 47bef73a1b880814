"""One test of pytest as a mission, whichever of its reports it stands in."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from quartermaster.adapters._pytest_cases import PREFIX, Repeat, dotted
from quartermaster.adapters._test_cases import CaseRun, Properties, Verdict
from quartermaster.core.journal import minted_id

VERDICTS: Final[Mapping[str, Verdict]] = {
    "passed": "passed",
    "xpassed": "passed",
    "failed": "failed",
    "error": "errored",
    "skipped": "skipped",
    "xfailed": "skipped",
}
"""What is expected to fail and does is no news of the agent: it has no outcome, as one that was skipped."""


class Test(NamedTuple):
    """A test with its last verdict. `began` is nanoseconds; `reruns` says how often it was run again."""

    node_id: str
    outcome: str
    began: int | None
    seconds: float | None
    reason: str | None
    properties: Properties
    reruns: int = 0


def case_run(test: Test, harness: str, numbered: int, repeats: Mapping[str, Repeat], *key: str) -> CaseRun:
    """The run of a test; `key` is what makes its file's runs different from those of other files.

    `numbered` counts what comes more than once under one id, from 1 on.
    """
    told, known = test.properties, repeats.get(test.node_id)
    verdict = VERDICTS.get(test.outcome, "skipped")
    return CaseRun(
        mission_id="pytest_" + minted_id("pytest", test.node_id, str(numbered), *key)[2:],
        task=PREFIX + dotted(known.name if known else test.node_id),
        title=test.node_id.rpartition("::")[2],
        trial=told.trial or (known.number if known else numbered),
        verdict=verdict,
        harness=harness,
        began=test.began,
        seconds=test.seconds,
        variant=told.variant,
        model=told.model,
        agent=told.agent,
        version=told.version,
        turns=told.turns,
        was_called=told.tell_of_a_call,
        usage=told.usage,
        total_tokens=told.total_tokens,
        reward=told.reward,
        reason=test.reason,
        labels={
            "properties": told.rest,
            "outcome": test.outcome if test.outcome != verdict else None,
            "reruns": test.reruns or None,
        },
    )
