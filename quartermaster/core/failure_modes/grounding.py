"""Calls that rest on nothing: unknown tools, ids and paths that nobody gave, arguments against the schema."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event, EventKind

_TEXT_LIMIT: Final = 2_000
_CUT: Final = "\u2026"
_DEPTH: Final = 4
_SHOWN: Final = 10
_WORD: Final = re.compile(r"[^\W_]+")
_SPACES: Final = {code: " " for code in range(128) if not chr(code).isalnum()}
"""A table is half as long at it as a pattern."""
_IDENTIFIER: Final = re.compile(r"#?(?=[^\s]*\d)[A-Za-z0-9][\w#-]{3,63}")
_INVENTED: Final = re.compile(
    r"\d{4}-\d\d?-\d\d?\S*|\d\d?[:h]\d\d\S*|[+-]?\d{1,4}|\d+(?:px|ms|s|m|h|d|kb|mb|gb|k|x|st|nd|rd|th"
    r"|am|pm|em|%)"
    r"|v\d+(?:[.-]\d+)*|(?:utf|iso|sha|md|gpt|claude|python|http)-?\d[\w-]*",
    re.IGNORECASE,
)
_FREE: Final = re.compile(
    r"query|search|text|content|message|body|code|command|cmd|script|input|expression|pattern|regex"
    r"|string|str$|thought"
    r"|reason|summary|note|title|subject|description|prompt|comment|plan|todo|date|time|timestamp"
    r"|answer|question"
    r"|language|format|model|version|encoding|name$|label|range|color|size|chars|workdir|cwd|offset|limit",
    re.IGNORECASE,
)
"""Names of arguments whose values an agent may think up."""
_FREE_TOOLS: Final = re.compile(
    r"search|calculat|think|plan|todo|python|shell|bash|terminal|exec|browser|evaluate", re.I
)
_PLACES: Final = re.compile(r"^(?:file_?path|path|file|filename|absolute_path|url|uri|href)$", re.IGNORECASE)
_ABSENT: Final = re.compile(
    r"not found|no such file|does not exist|doesn't exist|\b404\b|ENOENT|cannot find|could not find",
    re.IGNORECASE,
)
_PREFIX: Final = re.compile(r"^(?:functions|tools?|default_api|mcp__\w+?_)[.:_]+")


Leaves = list[tuple[str, str]]
"""Texts in arguments, each with the name nearest to it."""


class EvidenceBank:
    """Every word that a mission was given or told, so that an argument is looked up in its own length.

    A text is taken apart once, and only when the first argument that must be looked up comes after it.
    """

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._pending: list[str] = []
        self._words: set[str] = set()
        self.complete = True
        """Whether all was kept: what is missing from a text that was cut is not thereby made up."""

    def learn(self, text: str | None) -> None:
        """Each text once, however often it is told."""
        if text and text not in self._texts:
            self._texts.add(text)
            self._pending.append(text)

    def holds(self, value: str) -> bool:
        """Whether every part of the value that has a digit in it was told."""
        return self._told(part for part in _words(value) if not part.isalpha())

    def names(self, place: str) -> bool:
        """Whether every word in the last part of a path or an address was told."""
        return self._told(_words(place.rstrip("/").rpartition("/")[2]))

    def _told(self, parts: Iterable[str]) -> bool:
        if self._pending:
            self._words.update(_words("\n".join(self._pending)))
            self._pending.clear()
        return self._words.issuperset(parts)


def _words(text: str) -> list[str]:
    plain = text.lower()
    return plain.translate(_SPACES).split() if plain.isascii() else _WORD.findall(plain)


def _no_declarations(evidence: Evidence) -> str | None:
    if not evidence.calls:
        return None
    missing = [
        told
        for told, known in (
            ("which tools there are", evidence.declared_tools),
            ("schemas of their arguments", evidence.context.tool_schemas),
        )
        if not known
    ]
    return f"in part: the recording does not hold {' and '.join(missing)}" if missing else None


@detector(
    id="D17",
    severity=Severity.WARN,
    confidence=Confidence.LIKELY,
    trail=("Tool-related",),
    lacks=_no_declarations,
)
def ungrounded_action(evidence: Evidence) -> Iterator[Sighting]:
    """A tool that is not there, an id that nobody gave, a place that was guessed and missed, or arguments
    that do not fit the tool's schema."""
    yield from _unknown_tools(evidence)
    yield from _unheard_of(evidence)
    yield from _unfit_arguments(evidence)


def _unknown_tools(evidence: Evidence) -> Iterator[Sighting]:
    """Silent where none of the calls is declared: the declaration then speaks of something else."""
    declared = evidence.declared_tools
    if not declared:
        return
    plain = frozenset(map(_plain_name, declared))
    found: dict[str, list[int]] = {}
    known = False
    for at in evidence.calls:
        name = evidence.events[at].name
        if _plain_name(name) in plain:
            known = True
        elif name:
            found.setdefault(name, []).append(at)
    for name, positions in found.items() if known else ():
        yield Sighting(
            positions=positions,
            reason=f"{name} was called and is none of the {len(declared)} declared tools",
            evidence={"tool": name, "calls": len(positions)},
            severity=Severity.HIGH,
            confidence=Confidence.CERTAIN,
            wasted=positions,
        )


def _plain_name(tool: str) -> str:
    return _PREFIX.sub("", tool).lower().replace("-", "_")


class Grounding(NamedTuple):
    """What the ids and places in arguments rest on. Of the calls `with_ids` among their arguments those are
    `judged` before which nothing that was told was cut; one with an id from nowhere is `ungrounded`.
    """

    with_ids: int
    judged: int
    ungrounded: int
    made_up: dict[tuple[str, str], list[tuple[int, str]]]
    missed: list[tuple[int, str]]


def grounding_of(evidence: Evidence) -> Grounding:
    """Every argument held against what was told before it, in one pass."""
    bank = EvidenceBank()
    _learn_words(bank, evidence.transcript.goal)
    made_up: dict[tuple[str, str], list[tuple[int, str]]] = {}
    missed: list[tuple[int, str]] = []
    with_ids = judged = ungrounded = 0
    for at, event in enumerate(evidence.events):
        if event.kind is not EventKind.TOOL_CALL:
            if event.kind not in (EventKind.AGENT_MESSAGE, EventKind.MODEL_CALL):
                _learn_words(bank, event.text)
            continue
        leaves = _leaves(event.arguments) if event.arguments is not None else []
        if leaves and event.command is None and (ids := _ids(event, leaves)):
            with_ids += 1
            if bank.complete:
                judged += 1
                unheard = [(name, value) for name, value in ids if not bank.holds(value)]
                ungrounded += bool(unheard)
                for name, value in unheard:
                    made_up.setdefault((event.name, name), []).append((at, value))
        if event.succeeded is False:
            place = _missed_place(bank, event, leaves)
            if place is not None:
                missed.append((at, place))
        _learn_result(bank, event, leaves)
    return Grounding(with_ids, judged, ungrounded, made_up, missed)


def _unheard_of(evidence: Evidence) -> Iterator[Sighting]:
    """One sighting for each argument of each tool, with all calls in which its value came from nowhere."""
    grounding = evidence.once(grounding_of)
    for (tool, name), calls in grounding.made_up.items():
        yield _of_made_up(tool, name, calls)
    if grounding.missed:
        yield _of_missed(grounding.missed)


def _of_made_up(tool: str, name: str, calls: list[tuple[int, str]]) -> Sighting:
    positions = list(dict.fromkeys(at for at, _ in calls))
    values = list(dict.fromkeys(value for _, value in calls))[:_SHOWN]
    return Sighting(
        positions=positions,
        reason=f"{tool} was given {name} {values[0]!r}, which nothing before it had told",
        evidence={"tool": tool, "argument": name, "values": values, "calls": len(positions)},
        wasted=positions,
    )


def _of_missed(missed: list[tuple[int, str]]) -> Sighting:
    positions = [at for at, _ in missed]
    return Sighting(
        positions=positions,
        reason=f"{missed[0][1][:200]!r} was asked for, which nobody had named and which was not there",
        evidence={"places": [place[:200] for _, place in missed[:_SHOWN]], "calls": len(missed)},
        wasted=positions,
    )


def _learn_words(bank: EvidenceBank, text: str | None) -> None:
    bank.learn(text)
    if text and (len(text) >= _TEXT_LIMIT or text.endswith(_CUT)):
        bank.complete = False


def _learn_result(bank: EvidenceBank, event: Event, leaves: Leaves) -> None:
    """What a call answered; what it was given becomes known when it succeeded."""
    bank.learn(event.output)
    bank.learn(event.error)
    if event.succeeded is True:
        for _, one in leaves:
            bank.learn(one)
        bank.learn(event.command)
    kept = event.output is not None or event.succeeded is not True
    if not kept or event.output_digest is not None:
        bank.complete = False


def _ids(event: Event, leaves: Leaves) -> list[tuple[str, str]]:
    """What looks like an id among the arguments, each with the name nearest to it."""
    if _is_free_tool(event.name):
        return []
    return [(name, value) for name, value in leaves if not _is_free(name) and _is_identifier(value)]


@lru_cache(maxsize=1024)
def _is_free_tool(tool: str) -> bool:
    return _FREE_TOOLS.search(tool) is not None


@lru_cache(maxsize=1024)
def _is_free(argument: str) -> bool:
    return _FREE.search(argument) is not None or _PLACES.match(argument) is not None


def _is_identifier(value: str) -> bool:
    return _IDENTIFIER.fullmatch(value) is not None and _INVENTED.fullmatch(value) is None


def _missed_place(bank: EvidenceBank, event: Event, leaves: Leaves) -> str | None:
    """A file or an address that nobody had named and that was not there either."""
    if event.refused or not _ABSENT.search((event.error or event.output or "")[:500]):
        return None
    places = (value for name, value in leaves if _PLACES.match(name))
    return next((place for place in places if not bank.names(place)), None)


def _leaves(value: Any) -> Leaves:
    leaves: Leaves = []
    _gather(leaves, "", value, _DEPTH)
    return leaves


def _gather(leaves: Leaves, name: str, value: Any, depth: int) -> None:
    if isinstance(value, str):
        leaves.append((name, value))
    elif depth and isinstance(value, dict):
        for key, one in value.items():
            if type(one) is str:  # as most are: no call for each
                leaves.append((key, one))
            elif isinstance(one, dict | list | tuple):
                _gather(leaves, key, one, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for one in value:
            _gather(leaves, name, one, depth - 1)


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}


def _unfit_arguments(evidence: Evidence) -> Iterator[Sighting]:
    for at in evidence.calls if evidence.context.tool_schemas else ():
        event = evidence.events[at]
        schema = evidence.context.tool_schemas.get(event.name)
        if (
            not isinstance(schema, Mapping)
            or not isinstance(event.arguments, Mapping)
            or event.arguments_digest
        ):
            continue
        faults = list(schema_faults(schema, event.arguments))
        if faults:
            yield Sighting(
                positions=[at],
                reason=f"the arguments of {event.name} do not fit its schema: {'; '.join(faults[:3])}",
                evidence={"tool": event.name, "faults": faults[:10]},
                confidence=Confidence.CERTAIN,
                wasted=[at],
            )


def schema_faults(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[str]:
    """What is missing, unknown or of another type at the top of the arguments."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    for name in schema.get("required") or ():
        if name not in arguments:
            yield f"{name} is missing"
    for name, value in arguments.items():
        wanted = properties.get(name)
        if wanted is None and schema.get("additionalProperties") is False:
            yield f"{name} is unknown"
        elif isinstance(wanted, Mapping):
            yield from _value_faults(name, wanted, value)


def _value_faults(name: str, wanted: Mapping[str, Any], value: Any) -> Iterator[str]:
    kind = wanted.get("type")
    types = _TYPES.get(kind) if isinstance(kind, str) else None
    if types and (not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{name} is no {kind}"
    allowed = wanted.get("enum")
    if isinstance(allowed, list | tuple) and value not in allowed:
        yield f"{name} is none of the allowed values"


def _no_roles(evidence: Evidence) -> str | None:
    agents = {event.agent for event in evidence.events if event.agent is not None}
    if len(agents) < 2 or evidence.context.agent_tools:
        return None
    return f"the recording does not say which tools each of its {len(agents)} agents may use"


@detector(id="D20", severity=Severity.HIGH, mast=("1.2",), lacks=_no_roles)
def role_breach(evidence: Evidence) -> Iterator[Sighting]:
    """An agent that uses a tool which is not its own, or speaks in another agent's name."""
    allowed = evidence.context.agent_tools
    if not allowed:
        return
    found: dict[tuple[str, str], list[int]] = {}
    for at, agent, deed in _breaches(evidence, {agent: frozenset(tools) for agent, tools in allowed.items()}):
        found.setdefault((agent, deed), []).append(at)
    for (agent, deed), positions in found.items():
        yield Sighting(
            positions=positions,
            reason=f"{agent} {deed}, which is not its part",
            evidence={"agent": agent, "times": len(positions)},
            agent=agent,
        )


def _breaches(evidence: Evidence, allowed: Mapping[str, frozenset[str]]) -> Iterable[tuple[int, str, str]]:
    roles = re.compile(rf"\s*\W*({'|'.join(map(re.escape, allowed))})\W*:\s")
    for at in evidence.positions(EventKind.TOOL_CALL, EventKind.AGENT_MESSAGE):
        event = evidence.events[at]
        if event.agent is None or event.agent not in allowed:
            continue
        if event.kind is EventKind.TOOL_CALL:
            if event.name not in allowed[event.agent]:
                yield at, event.agent, f"used {event.name}"
        elif (spoken := roles.match(event.text or "")) and spoken[1] != event.agent:
            yield at, event.agent, f"spoke for {spoken[1]}"
