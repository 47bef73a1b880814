"""From entries to steps: which entry makes a step, under which name, with which outcome.

A step here is a flat row, because a mission may have a million of them: the store keeps the same
columns, and a replay walks either kind without building objects.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from quartermaster.core.journal import JournalEntry, Payload, framed

# Kinds of rows that a replay reads. Values are stored: append, never renumber.
ASSIGNMENT_CREATED: Final = 1
ASSIGNMENT_RUNNING: Final = 2
ASSIGNMENT_COMPLETED: Final = 3
ASSIGNMENT_FAILED: Final = 4
COMMAND: Final = 5
COMMAND_START: Final = 6
COMMAND_END: Final = 7
MODEL_CALL: Final = 8
STATUS_CHANGE: Final = 9
KEEPER_DECISION: Final = 10
INPUT_BLOCKED: Final = 11
OUTPUT_BLOCKED: Final = 12
ESCALATION_QUESTION: Final = 13
ESCALATION_ANSWER: Final = 14
BUDGET_WARNING: Final = 15
BUDGET_EXCEEDED: Final = 16
COST_INCURRED: Final = 17
"""Not a step: it carries money that a model call of the same ledger id may carry too."""

ENTRY_TYPE_OF_KIND: Final = {
    ASSIGNMENT_CREATED: "assignment.created",
    ASSIGNMENT_RUNNING: "assignment.running",
    ASSIGNMENT_COMPLETED: "assignment.completed",
    ASSIGNMENT_FAILED: "assignment.failed",
    COMMAND: "exec.command",
    COMMAND_START: "exec.command",
    COMMAND_END: "exec.command",
    MODEL_CALL: "llm.call",
    STATUS_CHANGE: "mission.status_change",
    KEEPER_DECISION: "keeper.decision",
    INPUT_BLOCKED: "guardrail.input_blocked",
    OUTPUT_BLOCKED: "guardrail.output_blocked",
    ESCALATION_QUESTION: "peer.escalation",
    ESCALATION_ANSWER: "peer.escalation",
    BUDGET_WARNING: "budget.warning",
    BUDGET_EXCEEDED: "budget.exceeded",
    COST_INCURRED: "cost.incurred",
}

GOAL_WORDS: Final = frozenset({"completed", "done"})
RUNNING_WORDS: Final = frozenset({"running", "in_progress"})

PICODOLLARS: Final = 10**12
"""Picodollars in a dollar. Money is summed as whole picodollars, so a sum is exact."""

_DECIMALS: Final = 12
"""Decimals of a dollar that whole picodollars have."""

_LARGEST: Final = 2**62 - 1
_SMALLEST: Final = -_LARGEST


class Step(NamedTuple):
    """One row of a trajectory. Rows are ordered by (`instant`, `id`).

    `tool` and `arguments` are texts, or whatever key stands for the text in the store. `success` is
    None where no outcome is known. `cost` is whole picodollars, None where none was recorded.
    `pairing` joins the start of a command to its end, `ledger` a cost to its model call.
    `cache_write_1h_tokens` are a part of `cache_write_tokens`; `terms` is a text for `terms_of`, or its key.
    """

    instant: int
    kind: int
    tool: Any = None
    success: bool | None = None
    severity: int = 0
    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost: int | None = None
    duration_ms: int | None = None
    pairing: int | None = None
    ledger: int | None = None
    arguments: Any = None
    cache_write_1h_tokens: int | None = None
    terms: Any = None


class Terms(NamedTuple):
    """What the price of a call depends on beside its model and counters; `tier` None is the usual one."""

    provider: str | None
    tier: str | None
    unbilled: str | None


def step_of(entry: JournalEntry) -> Step | None:
    """The row that an entry adds to its mission's trajectory; None for every other type."""
    project = _projections.get(entry.entry_type)
    return None if project is None else project(entry, entry.payload)


def _assignment(kind: int, success: bool) -> Callable[[JournalEntry, Payload], Step]:
    def project(entry: JournalEntry, payload: Payload) -> Step:
        return Step(entry.instant, kind, None, success, entry.severity)

    return project


def _command(entry: JournalEntry, payload: Payload) -> Step:
    tool = payload.command
    if type(tool) is not str or not tool:
        tool = _first_text(payload.tool, payload.name) or _joined(payload.cmd)
    kind, pairing = COMMAND, None
    if payload.phase in ("start", "end"):
        kind = COMMAND_START if payload.phase == "start" else COMMAND_END
        pairing = _pairing(entry, payload, tool)
    return Step(
        entry.instant,
        kind,
        tool,
        None if kind == COMMAND_START else _command_success(payload),
        entry.severity,
        None,
        None,
        None,
        None,
        None,
        None,
        _first_integer(payload.elapsed_ms, payload.duration_ms),
        pairing,
        None,
        None if payload.arguments is None else argument_template(payload.arguments),
    )


def _pairing(entry: JournalEntry, payload: Payload, tool: str | None) -> int:
    if type(payload.call_id) is str and payload.call_id:
        return key_of("call", payload.call_id)
    run = payload.run_id if type(payload.run_id) is str else entry.trace_id
    return key_of("command", tool or "", run or "")


def _command_success(payload: Payload) -> bool:
    if payload.in_band_error is True:
        return False
    exit_code = payload.exit_code
    if type(exit_code) is bool:
        return exit_code
    if type(exit_code) is int or type(exit_code) is float:
        return bool(exit_code == 0)
    failed = payload.error or payload.cancelled is True or payload.reason == "loop_detected"
    return not failed


def _model_call(entry: JournalEntry, payload: Payload) -> Step:
    fresh = _integer(payload.input_tokens)
    output = _integer(payload.output_tokens)
    cache_read = _first_integer(payload.cached_input_tokens, payload.cache_read_tokens)
    cache_write = _integer(payload.cache_creation_tokens)
    tokens = _first_integer(payload.total_tokens, payload.tokens)
    if tokens is None:
        parts = [part for part in (fresh, output, cache_read, cache_write) if part is not None]
        tokens = sum(parts) if parts else None
    return Step(
        entry.instant,
        MODEL_CALL,
        _first_text(payload.model, payload.provider),
        True,
        entry.severity,
        tokens,
        fresh,
        output,
        cache_read,
        cache_write,
        _recorded_cost(payload),
        _first_integer(payload.elapsed_ms, payload.duration_ms),
        None,
        _ledger(payload),
        None,
        _integer(payload.cache_creation_1h_tokens),
        _terms(payload),
    )


_UNBILLED: Final = {
    "flat_rate": "a flat-rate plan",
    "free": "a free offer",
    "local": "a model that ran locally",
}
_USUAL_TIERS: Final = frozenset({"auto", "default", "standard", "standard_only"})
_TERM_LIMIT: Final = 64


def _recorded_cost(payload: Payload) -> int | None:
    """What was charged. A zero of unknown confidence is no cost, unless the plan charges no single call."""
    cost = picodollars(payload.cost_usd)
    if type(payload.billing_mode) is str and payload.billing_mode in _UNBILLED:
        return cost or 0
    return None if cost == 0 and payload.cost_confidence == "unknown" else cost


def _terms(payload: Payload) -> str | None:
    provider, tier, billing = payload.provider, payload.service_tier, payload.billing_mode
    return _terms_text(
        provider if type(provider) is str else "",
        tier if type(tier) is str else "",
        billing if type(billing) is str else "",
    )


@lru_cache(maxsize=1024)
def _terms_text(provider: str, tier: str, billing: str) -> str | None:
    provider, tier, billing = _term(provider), _term(tier), _term(billing)
    tier = "" if tier in _USUAL_TIERS else tier
    billing = billing if billing in _UNBILLED else ""
    return f"{provider};{tier};{billing}".rstrip(";") or None


def _term(text: str) -> str:
    return text[:_TERM_LIMIT].replace(";", " ").strip()


@lru_cache(maxsize=1024)
def terms_of(text: str | None) -> Terms:
    """The terms that a step's text stands for."""
    provider, tier, billing = f"{text or ''};;".split(";")[:3]
    return Terms(provider or None, tier or None, _UNBILLED.get(billing))


def _cost_incurred(entry: JournalEntry, payload: Payload) -> Step:
    return Step(entry.instant, COST_INCURRED, cost=picodollars(payload.cost_usd), ledger=_ledger(payload))


def _ledger(payload: Payload) -> int | None:
    return key_of("ledger", payload.ledger_id) if type(payload.ledger_id) is str else None


def _status_change(entry: JournalEntry, payload: Payload) -> Step:
    word = _first_text(payload.to_status, payload.status, payload.to)
    return Step(entry.instant, STATUS_CHANGE, word, True, entry.severity)


def _keeper_decision(entry: JournalEntry, payload: Payload) -> Step:
    name = _first_text(payload.credential_id, payload.decision)
    return Step(entry.instant, KEEPER_DECISION, name, _keeper_success(payload), entry.severity)


def _keeper_success(payload: Payload) -> bool | None:
    if type(payload.decision) is str and payload.decision:
        if payload.decision.lower() in ("allow", "approve", "approved"):
            return True
        return payload.approved if type(payload.approved) is bool else False
    return payload.approved if type(payload.approved) is bool else None


def _blocked(kind: int) -> Callable[[JournalEntry, Payload], Step]:
    def project(entry: JournalEntry, payload: Payload) -> Step:
        return Step(entry.instant, kind, None, False, entry.severity)

    return project


def _escalation(entry: JournalEntry, payload: Payload) -> Step:
    asked = not payload.state or payload.state == "pending"
    kind = ESCALATION_QUESTION if asked else ESCALATION_ANSWER
    return Step(entry.instant, kind, None, True, entry.severity)


_projections: Final[dict[str, Callable[[JournalEntry, Payload], Step]]] = {
    "assignment.created": _assignment(ASSIGNMENT_CREATED, True),
    "assignment.running": _assignment(ASSIGNMENT_RUNNING, True),
    "assignment.completed": _assignment(ASSIGNMENT_COMPLETED, True),
    "assignment.failed": _assignment(ASSIGNMENT_FAILED, False),
    "exec.command": _command,
    "llm.call": _model_call,
    "mission.status_change": _status_change,
    "keeper.decision": _keeper_decision,
    "guardrail.input_blocked": _blocked(INPUT_BLOCKED),
    "guardrail.output_blocked": _blocked(OUTPUT_BLOCKED),
    "peer.escalation": _escalation,
    "budget.warning": _blocked(BUDGET_WARNING),
    "budget.exceeded": _blocked(BUDGET_EXCEEDED),
    "cost.incurred": _cost_incurred,
}

STEP_ENTRY_TYPES: Final = frozenset(_projections) - {"cost.incurred"}


def key_of(*parts: str) -> int:
    """A 64-bit key (signed, as SQLite stores it) that follows from the texts alone."""
    return int.from_bytes(blake2b(framed(*parts), digest_size=8).digest(), signed=True)


def picodollars(amount: Any) -> int | None:
    """Whole picodollars of a number of dollars; None where it is no number or beyond all sense."""
    if type(amount) is not float and type(amount) is not int:
        return None
    text = repr(amount)
    whole, _, fraction = text.partition(".")
    if fraction.isdigit() and len(fraction) <= _DECIMALS:
        value = int(whole + fraction.ljust(_DECIMALS, "0"))
    else:
        try:
            value = int((Decimal(text) * PICODOLLARS).to_integral_value())
        except (InvalidOperation, OverflowError, ValueError):
            return None
    return value if _SMALLEST <= value <= _LARGEST else None


def _first_text(*values: Any) -> str | None:
    for value in values:
        if type(value) is str and value:
            return value
    return None


def _joined(command: Any) -> str | None:
    if type(command) is not list:
        return None
    return " ".join(part for part in command if type(part) is str) or None


def _first_integer(*values: Any) -> int | None:
    """The first value that is a number, its fraction cut; booleans and texts are no numbers."""
    for value in values:
        if value is not None and (type(value) is int or type(value) is float):
            return int(value) if _SMALLEST <= value <= _LARGEST else None
    return None


def _integer(value: Any) -> int | None:
    """A number without its fraction."""
    if value is None:
        return None
    return value if type(value) is int and _SMALLEST <= value <= _LARGEST else _first_integer(value)


_TIME: Final = re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?")
_UUID: Final = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
_PATH: Final = re.compile(r"(?:~|\.{1,2})?(?:/[\w.@+-]+)+/?")
_LONG_WORD: Final = re.compile(r"\b[0-9a-zA-Z_-]{8,}\b")
_NUMBER: Final = re.compile(r"\b\d+(?:\.\d+)?\b")
_DIGIT: Final = re.compile(r"\d")
_LETTER: Final = re.compile(r"[a-zA-Z]")
_TEMPLATE_LIMIT: Final = 2_000
_TEMPLATE_DEPTH: Final = 64
"""Beyond it arguments are cut: recordings may nest deeper than the interpreter may recurse."""


_REMEMBERED_WORDS: Final = 65_536
_REMEMBERED_LENGTH: Final = 64


class _WordTemplates(dict[str, str]):
    """Words of command lines come again and again; each is looked at once."""

    def __missing__(self, word: str) -> str:
        template = _word_template(word)
        if len(word) <= _REMEMBERED_LENGTH:
            if len(self) >= _REMEMBERED_WORDS:
                self.clear()
            self[word] = template
        return template


_word_templates: Final = _WordTemplates()


def text_template(text: str) -> str:
    """A text with its paths, ids, times and numbers replaced by typed holes (first 2,000 characters)."""
    template = text[:_TEMPLATE_LIMIT]
    if ":" in template and "-" in template:  # a time may hold a space, so it must go before the words
        template = _TIME.sub("<time>", template)
    return " ".join([_word_templates[word] for word in template.split(" ")])


def _word_template(word: str) -> str:
    template = word
    if "-" in word:
        template = _TIME.sub("<time>", _UUID.sub("<id>", template))
    if "/" in word:
        template = _PATH.sub("<path>", template)
    if not _DIGIT.search(template):
        return template
    return _NUMBER.sub("<number>", _LONG_WORD.sub(_id_or_word, template))


def _id_or_word(match: re.Match[str]) -> str:
    word = match[0]
    return "<id>" if _DIGIT.search(word) and _LETTER.search(word) else word


def argument_template(arguments: Any) -> str:
    """The shape of a call's arguments: its keys in order of name, each text as its template."""
    return _template(arguments, _TEMPLATE_DEPTH)


def _template(arguments: Any, depth: int) -> str:
    if isinstance(arguments, str):
        return text_template(arguments)
    if not depth:
        return "<nested>"
    if isinstance(arguments, dict):
        inside = ", ".join(f"{key}={_template(arguments[key], depth - 1)}" for key in sorted(arguments))
        return ("{" + inside + "}")[:_TEMPLATE_LIMIT]
    if isinstance(arguments, list):
        inside = ", ".join(sorted({_template(item, depth - 1) for item in arguments}))
        return ("[" + inside + "]")[:_TEMPLATE_LIMIT]
    if isinstance(arguments, bool) or arguments is None:
        return str(arguments).lower()
    return "<number>"
