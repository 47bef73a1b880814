"""When are two calls the same call, and two answers the same answer: keys for loops and alignments.

A step key covers kind, name and arguments, an outcome key status, class of error and what was answered.
What differs from run to run without meaning anything (times, ids, addresses, temporary paths) is masked.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from quartermaster.core.transcript import Event, EventKind

Patterns = tuple[str, ...]

VOLATILE: Final[Patterns] = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?",
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
    r"\b(?:req|call|toolu|msg|run|trace|span|chatcmpl|resp)_[0-9A-Za-z]{6,}\b",
    r"(?:/private)?/(?:tmp|var/tmp|var/folders)/[^\s\"'`,;:)\]}]+",
    r"\b0x[0-9a-fA-F]{6,}\b",
    r"\b1[4-9]\d{8}(?:\d{3})?(?:\.\d+)?\b",
    r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{16,}\b",
)
"""Times, UUIDs, request ids, temporary paths, addresses, seconds since 1970 and long hexadecimal ids."""

_HINTS: Final = {
    VOLATILE[0]: ("-", re.compile(r"[0-9]{4}-[0-9]")),
    VOLATILE[1]: ("-", re.compile(r"[0-9a-fA-F]{8}-")),
    VOLATILE[2]: ("_", re.compile(r"_[0-9A-Za-z]{6}")),
    VOLATILE[3]: ("/", re.compile(r"/(?:tmp|var)/")),
    VOLATILE[4]: ("0x", re.compile(r"0x")),
    VOLATILE[5]: ("1", re.compile(r"1[4-9]\d{8}")),
    VOLATILE[6]: ("", re.compile(r"[0-9a-f]{16}")),
}
"""What stands in every text that a pattern finds something in, and is looked for many times faster: a few
letters, and then a simpler pattern."""

_SHORTEST_VOLATILE: Final = 6
"""No usual pattern finds anything in a text shorter than `/tmp/x`."""

_HOLE: Final = "<volatile>"
_ANYTHING: Final = ("", re.compile(""))
_DURATION_HINT: Final = re.compile(r"\d\s?[ms]")
_DURATION: Final = re.compile(r"\b\d+(?:\.\d+)?\s?(?:ms|s|sec|seconds|milliseconds)\b")
_SPOKEN: Final = frozenset({EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE, EventKind.DELEGATION})
_OUTPUT_LIMIT: Final = 2_048
_encode: Final = msgspec.json.Encoder(order="sorted").encode

ERROR_CLASSES: Final = {
    "timeout": r"time(?:d)?[ _-]?out|deadline exceeded|ETIMEDOUT",
    "rate limit": r"rate[ _-]?limit|too many requests|\b429\b|quota exceeded|overloaded",
    "auth": r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|(?:permission|access) denied|invalid api key|EACCES",
    "not found": r"\b404\b|not found|no such file|does not exist|ENOENT|ENOTFOUND|unknown (?:tool|command)",
    "validation": r"invalid|validation|malformed|unexpected (?:token|argument)|missing|syntax ?error",
    "server": r"\b50[0-4]\b|internal (?:server )?error|bad gateway|unavailable|ECONN(?:REFUSED|RESET)",
}
"""Classes of errors in the order in which they are tried; what fits none is `unknown`."""

_CLASSES: Final = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in ERROR_CLASSES.items())


def error_class(text: str | None) -> str:
    """The class of an error by its words; `unknown` for one without words."""
    return _error_class(text[:_OUTPUT_LIMIT]) if text else "unknown"


@lru_cache(maxsize=4096)
def _error_class(text: str) -> str:
    return next((name for name, pattern in _CLASSES if pattern.search(text)), "unknown")


def canonical_arguments(event: Event) -> str:
    """The arguments of a call as one text: JSON with sorted keys, or the command as it stands."""
    if event.command is not None:
        return event.command
    if event.arguments is None:
        return ""
    if isinstance(event.arguments, str):
        return event.arguments
    try:
        return _encode(event.arguments).decode("utf-8", "replace")
    except (msgspec.EncodeError, RecursionError, UnicodeEncodeError, TypeError):
        return repr(event.arguments)[:_OUTPUT_LIMIT]


class StepKeys:
    """Makes the keys of one pair or one mission; `volatile` are patterns of what is masked."""

    def __init__(self, volatile: Patterns = VOLATILE) -> None:
        self._volatile = [
            (letters, hint.search, re.compile(pattern).sub)
            for pattern in volatile
            for letters, hint in (_HINTS.get(pattern, _ANYTHING),)
        ]
        self._usual = volatile == VOLATILE
        self._masked: dict[str, str] = {}
        self._answers: dict[str, str] = {}
        self._digests: dict[str, int] = {}
        self._named: dict[tuple[EventKind, str], int] = {}
        self._outcomes: dict[tuple[str | None, str | None, bool | None, bool], int] = {}

    def steps(self, events: Iterable[Event]) -> list[int]:
        return [self.step(event) for event in events]

    def step(self, event: Event) -> int:
        """Kind, name and arguments; of a message its words."""
        kind = event.kind
        if kind is EventKind.TOOL_CALL:
            rest = event.arguments_digest or ""
            return self._digest(f"{kind.value}\0{event.name}\0{self.arguments(event)}\0{rest}")
        if kind in _SPOKEN:
            said = self.mask(event.text or "")
            return self._digest(f"{kind.value}\0{event.agent or ''}\0{event.to or ''}\0{said}")
        known = self._named.get((kind, event.name))
        if known is None:
            known = self._named[kind, event.name] = self._digest(f"{kind.value}\0{event.name}")
        return known

    def outcome(self, event: Event) -> int:
        """Status, class of error and the beginning of what was answered."""
        told = (event.output, event.error, event.succeeded, event.refused)
        known = self._outcomes.get(told)
        if known is None:
            known = self._outcomes[told] = self._outcome(event)
        return known

    def _outcome(self, event: Event) -> int:
        failed = event.succeeded is False
        words = (event.output or event.error or "")[:_OUTPUT_LIMIT]
        answered = self._answers.get(words)
        if answered is None:
            plain = _DURATION.sub(_HOLE, words) if _DURATION_HINT.search(words) else words
            answered = self._answers[words] = self.mask(plain)
        kind = error_class(event.error or event.output) if failed else ""
        return self._digest(f"outcome\0{event.succeeded}\0{event.refused}\0{kind}\0{answered}")

    def arguments(self, event: Event) -> str:
        return self.mask(canonical_arguments(event))

    def mask(self, text: str) -> str:
        """The text with its volatile parts masked and its white space collapsed."""
        masked = self._masked.get(text)
        if masked is None:
            masked = " ".join(text.split())
            if len(masked) >= _SHORTEST_VOLATILE or not self._usual:
                for letters, holds, mask in self._volatile:
                    if letters in masked and holds(masked):
                        masked = mask(_HOLE, masked)
            self._masked[text] = masked
        return masked

    def _digest(self, framed: str) -> int:
        digest = self._digests.get(framed)
        if digest is None:
            hashed = blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            digest = self._digests[framed] = int.from_bytes(hashed, "big", signed=True)
        return digest
