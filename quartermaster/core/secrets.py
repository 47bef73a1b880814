"""Secrets in recordings: found by their form, and masked before anything is kept.

Only text inside of JSON strings can match: no rule reaches over a quotation mark or a backslash (but the
line breaks of a private key), and what stands in its place has neither, so masked JSON stays JSON.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

import msgspec
from ahocorasick_rs import BytesAhoCorasick, MatchKind

from quartermaster.errors import ConfigurationError


class _Rule(msgspec.Struct, frozen=True):
    """Secrets of one form. `pattern` is tried wherever `hint` stands, from its first byte on; the first
    group, where there is one, is the secret itself, and `plausible` tells it from what only looks like it.
    """

    name: str
    hint: bytes
    pattern: re.Pattern[bytes]
    plausible: Callable[[bytes], bool] | None = None


def _is_random(value: bytes) -> bool:
    """Whether a value mixes letters and digits and repeats itself too little to be a word or a name."""
    has_letter = any(65 <= byte <= 90 or 97 <= byte <= 122 for byte in value)
    has_digit = any(48 <= byte <= 57 for byte in value)
    return has_letter and has_digit and _bits_per_character(value) >= _RANDOM_BITS


def _bits_per_character(value: bytes) -> float:
    """Shannon entropy of the bytes."""
    length = len(value)
    return -sum(count / length * math.log2(count / length) for count in Counter(value).values())


def _is_password(value: bytes) -> bool:
    """Whether the part before the @ of an address is more than a placeholder."""
    placeholders = (b"password", b"pass", b"pwd", b"secret", b"xxx", b"***", b"changeme", b"user")
    return value.lower() not in placeholders and not value.startswith((b"$", b"<", b"{", b"%", b"[masked:"))


_PASSES: Final = 4
_RANDOM_BITS: Final = 3.5
_ASSIGNED_NAMES: Final = (
    b"api_key",
    b"apikey",
    b"api-key",
    b"secret",
    b"passwd",
    b"password",
    b"access_key",
    b"token",
)


def _rules(
    name: str, rest: bytes, *hints: bytes, plausible: Callable[[bytes], bool] | None = None
) -> list[_Rule]:
    return [_Rule(name, hint, re.compile(re.escape(hint) + rest), plausible) for hint in hints]


_RULES: Final = (
    *_rules("anthropic_key", rb"[\w-]{20,}", b"sk-ant-"),
    *_rules("openai_key", rb"(?!ant-)[A-Za-z0-9_-]{20,}", b"sk-", plausible=_is_random),
    *_rules("github_token", rb"[A-Za-z0-9]{36,}", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
    *_rules("github_token", rb"\w{60,}", b"github_pat_"),
    *_rules("gitlab_token", rb"[\w-]{20,}", b"glpat-"),
    *_rules("aws_access_key", rb"[A-Z2-7]{16}\b", b"AKIA", b"ASIA"),
    *_rules("google_api_key", rb"[\w-]{35}", b"AIza"),
    *_rules("slack_token", rb"[abeoprs]-[A-Za-z0-9-]{10,}", b"xox"),
    *_rules("stripe_key", rb"(?:live|test)_[A-Za-z0-9]{16,}", b"sk_", b"rk_", b"pk_"),
    *_rules("hugging_face_token", rb"[A-Za-z0-9]{30,}", b"hf_"),
    *_rules("npm_token", rb"[A-Za-z0-9]{36}", b"npm_"),
    *_rules("pypi_token", rb"[\w-]{50,}", b"pypi-AgE"),
    *_rules("quartermaster_token", rb"[A-Za-z0-9]{12}_[A-Za-z0-9]{40,}", b"qm_"),
    *_rules("json_web_token", rb"[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}", b"eyJ"),
    *_rules(
        "private_key",
        rb"[A-Z ]{0,20}PRIVATE KEY-----(?:[^\"]{10,8192}?-----END [A-Z ]{0,20}PRIVATE KEY-----"
        rb"|[^\"]{10,8192}?(?=\xe2\x80\xa6))",  # a long text is cut there, and the end of the key with it
        b"-----BEGIN ",
    ),
    *_rules("bearer_token", rb"([\w.~+/=-]{20,})", b"Bearer ", b"bearer ", plausible=_is_random),
    *_rules(
        "connection_string",
        rb"[^\s:/@\"'\\<>\[]{1,64}:([^\s@/\"'\\<>]{3,128})@[\w.-]",
        b"://",
        plausible=_is_password,
    ),
)


class Masker:
    """Masks what the built-in rules and further patterns of the user find.

    `patterns` are regular expressions; where one has a group, only the group is masked.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = [_compiled(pattern) for pattern in patterns]

    def finds(self, data: bytes) -> bool:
        """Whether there is something to mask; the cheap question for a large piece of text."""
        return next(self._spans(data), None) is not None

    def mask(self, data: bytes) -> tuple[bytes, dict[str, int]]:
        """The text with `[masked:RULE]` in the place of each secret, and how many each rule has found."""
        counts: Counter[str] = Counter()
        for _ in range(_PASSES):  # again, for secrets that were glued to others
            spans = sorted(self._spans(data))
            pieces: list[bytes] = []
            end = 0
            for start, stop, name in spans:
                if start >= end:
                    pieces += (data[end:start], b"[masked:" + name.encode() + b"]")
                    counts[name] += 1
                    end = stop
            data = b"".join((*pieces, data[end:]))
        return data, dict(counts)

    def _spans(self, data: bytes) -> Iterator[tuple[int, int, str]]:
        for number, start in _hints_in(data):
            if number < len(_RULES):
                span = _spelled(data, _RULES[number], start)
            else:
                span = _assigned(data, start + len(_HINTS[number]))
            if span is not None:
                yield span
        for pattern in self._patterns:
            for match in pattern.finditer(data):
                yield *match.span(min(match.re.groups, 1)), "custom"


def _spelled(data: bytes, rule: _Rule, start: int) -> tuple[int, int, str] | None:
    """The secret of a rule whose hint stands at `start`."""
    match = rule.pattern.match(data, start)
    if match is None or (rule.hint[:1].isalpha() and data[max(start - 1, 0) : start].isalnum()):
        return None
    group = match.re.groups
    if rule.plausible is not None and not rule.plausible(match[group]):
        return None
    return *match.span(group), rule.name


_HINTS: Final = (
    *(rule.hint for rule in _RULES),
    *(spelling for name in _ASSIGNED_NAMES for spelling in (name, name.title(), name.upper())),
)
_search: Final = BytesAhoCorasick(_HINTS, matchkind=MatchKind.LeftmostFirst).find_matches_as_indexes


@cache
def _begun_inside(number: int) -> tuple[tuple[int, int], ...]:
    """The other hints that may begin inside of a hint, each with where."""
    hint = _HINTS[number]
    return tuple(
        (other, at)
        for at in range(len(hint))
        for other, text in enumerate(_HINTS)
        if (at or other != number) and (text.startswith(hint[at:]) or hint[at:].startswith(text))
    )


def _hints_in(data: bytes) -> Iterator[tuple[int, int]]:
    """Every hint and where it stands, overlapping ones too.

    The search for those that do not overlap jumps from one to the next many times faster than one for all,
    and passes over only what begins inside of a hint that it has found.
    """
    for number, start, _ in _search(data):
        yield number, start
        for other, at in _begun_inside(number):
            if data.startswith(_HINTS[other], start + at):
                yield other, start + at


_assigned_value: Final = re.compile(
    rb"(?![sS]\b)[\w-]{0,20}(?:\\{0,4}[\"'])?\s{0,2}[=:]\s{0,2}(?:\\{0,4}[\"'])?"
    rb"([A-Za-z0-9+/_.=-]{16,256})(?![\w/(\[])"
).match


def _assigned(data: bytes, behind: int) -> tuple[int, int, str] | None:
    """The value that is assigned to a name that says secret and ends at `behind`, if it looks random."""
    match = _assigned_value(data, behind)
    if match is None or not _is_random(match[1]) or _is_reference(match[1]):
        return None
    return *match.span(1), "assigned_secret"


def _is_reference(value: bytes) -> bool:
    """Whether a value is code that speaks of a secret: a path, an attribute, a call, an identifier."""
    words = re.split(rb"[._/-]", value)
    return len(words) > 1 and all(re.fullmatch(rb"[A-Za-z]*\d{0,4}", word) for word in words)


def _compiled(pattern: str) -> re.Pattern[bytes]:
    try:
        return re.compile(pattern.encode())
    except re.error as error:
        told = f"the pattern {pattern!r} of secrets is no regular expression: {error}"
        raise ConfigurationError(told) from None
