"""Entry types that this program knows; every other one is kept and shown, and no number is made of it."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from quartermaster.core.trajectory import ENTRY_TYPE_OF_KIND

UNKNOWN_TYPES_KEPT: Final = 100
"""How many unknown types of one file are told apart; further ones are counted together."""
FURTHER_TYPES: Final = "…"
_NAME_LIMIT: Final = 200

_FACTS: Final = ("mission.created", "mission.outcome", "mission.absorbed")
_EVALUATION: Final = (
    "eval.run_started",
    "eval.metric",
    "eval.regression_detected",
    "eval.run_completed",
    "eval.run_failed",
)
_TOLD_TO_PEOPLE: Final = (
    "keeper.request",
    "llm.cache_hit",
    "message.assistant",
    "message.user",
    "run.agent_span",
    "run.api_error",
    "run.api_retry",
    "run.cancelled",
    "run.compaction",
    "run.completed",
    "run.error",
    "run.failed",
    "run.note",
    "run.notice",
    "run.search",
    "run.started",
    "run.sub_agent",
    "run.timeout",
    "run.totals",
    "sandbox.exec",
    "simulator.command",
    "simulator.llm_call",
    "simulator.result",
    "span.agent",
    "span.message",
    "span.model",
    "span.other",
    "summary.generated",
    "verifier.command",
    "verifier.llm_call",
)
"""What happened around the steps: shown beside them, and on purpose none of them."""

KNOWN_ENTRY_TYPES: Final = frozenset((*ENTRY_TYPE_OF_KIND.values(), *_FACTS, *_EVALUATION, *_TOLD_TO_PEOPLE))


def unknown_types(entry_types: Iterable[str], named: Iterable[str] = ()) -> dict[str, int]:
    """How many entries have each type that is not known; `named` are the types that were told before."""
    told = set(named)
    counts: Counter[str] = Counter()
    for entry_type, entries in Counter(entry_types).items():
        if entry_type in KNOWN_ENTRY_TYPES:
            continue
        name = entry_type[:_NAME_LIMIT].encode("utf-8", "replace").decode()
        if name not in told and len(told) >= UNKNOWN_TYPES_KEPT:
            name = FURTHER_TYPES
        told.add(name)
        counts[name] += entries
    return dict(counts)
