"""What was done to the world twice."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from quartermaster.core.failure_modes.errors import tells_error
from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event

_OUTWARD: Final = re.compile(
    r"(?:^|_)(?:send|pay|charge|refund|transfer|withdraw|deposit|buy|purchase|order|book|reserve"
    r"|cancel|delete|remove"
    r"|post|publish|submit|create|insert|add|invite|email|sms|notify|deploy|merge|exchange|return"
    r"|issue|redeem|schedule"
    r"|approve|reject|terminate)(?:_|$)"
)
_HARMLESS: Final = re.compile(
    r"(?:^|_)(?:file|files|directory|folder|dir|todo|todos|plan|note|notes|memory|thought|query"
    r"|search|step|task_done"
    r"|get|list|read|find|view|show|check|calculate|editor|edit|answer|report|submit)(?:_|$)"
)
_OUTWARD_COMMANDS: Final = re.compile(
    r"\b(?:(?:npm|pnpm|yarn|cargo|twine|gem|poetry|uv) (?:publish|upload)|gh (?:pr|issue"
    r"|release) (?:create|merge|comment"
    r"|close|delete)|kubectl (?:delete|apply|create)|terraform (?:apply|destroy)|sendmail|mail -s"
    r"|curl\b[^|;&]*\s(?:-X\s*|--request[= ])(?:POST|PUT|PATCH|DELETE))"
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[.\-:/ ]+")


@detector(id="D23", severity=Severity.HIGH, confidence=Confidence.LIKELY)
def repeated_side_effect(evidence: Evidence) -> Iterator[Sighting]:
    """The same payment, message, order or deletion, carried out twice with the same arguments."""
    done: dict[int, list[int]] = {}
    for position in evidence.calls:
        event = evidence.events[position]
        if event.succeeded is True and acts_outward(event) and tells_error(event) is None:
            done.setdefault(evidence.step_keys[position], []).append(position)
    for positions in done.values():
        if len(positions) > 1:
            name = evidence.events[positions[0]].name
            yield Sighting(
                positions=positions,
                reason=f"{name} succeeded {len(positions)} times with the same arguments",
                evidence={"tool": name, "times": len(positions)},
                wasted=positions[1:],
            )


def acts_outward(event: Event) -> bool:
    """Whether a call does what cannot be done twice without a difference: sends, pays, books, deletes."""
    if event.command is not None:
        return _OUTWARD_COMMANDS.search(event.command) is not None
    return _acts_outward(event.name) and (bool(event.arguments) or event.arguments_digest is not None)


@lru_cache(maxsize=1024)
def _acts_outward(tool: str) -> bool:
    name = _CAMEL.sub("_", tool).lower()
    return _OUTWARD.search(name) is not None and _HARMLESS.search(name) is None
