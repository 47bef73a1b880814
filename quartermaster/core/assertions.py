"""What a message says was done: claims as they stand in its sentences.

Claims are found by patterns over English sentences. Whoever plans, asks, denies or sets a condition claims
nothing.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec


class ClaimKind(StrEnum):
    FILE = "file"
    TESTS = "tests"
    COMMAND = "command"
    VALUE = "value"


class Said(msgspec.Struct, frozen=True):
    """A claim as it stands in a sentence."""

    kind: ClaimKind
    subject: str
    succeeded: bool = True
    count: int | None = None


_FENCE: Final = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_SENTENCE: Final = re.compile(r"(?<=[.!?])[)*_]*\s+(?=[A-Z`*\[(-])|\n+")
_BULLET: Final = re.compile(r"^[\s>]*(?:[-*\u2022+]|\d+[.)])\s+|^[\s>]+")
_MARKUP: Final = re.compile(r"\*\*|__|[\u2705\u2713\u2714\u2611\ufe0f\U0001f389]")
_HEADING: Final = re.compile(r"^\s*(?:#{1,6}\s|\*\*[^*]+\*\*:?\s*$|[A-Z][\w ,/()'-]{2,60}:?\s*$)")
_ASIDE: Final = re.compile(
    r"\b(?:next|todo|to do|plan|planned|follow[- ]?ups?|suggest\w*|recommend\w*|optional|remaining"
    r"|how to|usage"
    r"|problems?|issues?|background|caveats?|limitations?|before|example|expected|options?|proposal)\b",
    re.IGNORECASE,
)
_NO_CLAIM: Final = re.compile(
    r"\b(?:will|would|should|shall|could|can|may|might|must|let me|let's|let us|i'll|we'll|going to"
    r"|need(?:s|ed)? to"
    r"|want(?:s|ed)? to|plan(?:s|ning|ned)?|next|if|unless|once|until|when(?:ever)?|after you|please"
    r"|make sure|ensure"
    r"|not|no longer|never|none|neither|nor|without|unable|cannot|failed to|attempt(?:ed|ing)? to"
    r"|tr(?:y|ied|ying) to"
    r"|instead of|rather than|suggest(?:s|ed)?|recommend(?:s|ed)?|consider|assum(?:e|ing)|expect(?:s"
    r"|ed)?|blocked"
    r"|previous(?:ly)?|earlier|already|existing|originally|used to|you(?:['\u2019]ve| have)|to (?:run"
    r"|verify|check|test)"
    r"|now i(?: need)?|i need|except|but|although|however|partially|most|some|skipped|pending|todo"
    r"|proceed)\b"
    r"|n['\u2019]t\b|['\u2019]ll\b",
    re.IGNORECASE,
)
_PATH: Final = r"[\w.@+~/-]*[\w)-]\.[A-Za-z][A-Za-z0-9]{0,7}"
_LINK: Final = re.compile(r"\[`?([^\]`]+)`?\]\(([^)\s]+)\)")
_QUOTED_PATH: Final = re.compile(rf"`({_PATH}|(?:[\w.@+~-]+/)+[\w.@+-]+|[A-Z]{{4,}}|Makefile|Dockerfile)`")
_BARE_PATH: Final = re.compile(
    rf"(?<![\w`/:@.-])((?:[\w.@+~-]*/)+{_PATH}|[\w-]+\.(?:py|md|js|ts|tsx|jsx|go|rs|c|h|cc|cpp|java|rb|sh"
    r"|json|ya?ml|toml|txt|html|css|sql|diff|patch|csv|ini|cfg|lock|ipynb|mdx))(?![\w`/(-])"
)
_DID: Final = (
    r"(?:created|wrote|written|added|updated|edited|modified|changed|rewrote|rewritten|saved"
    r"|generated|renamed"
    r"|refactored|implemented|replaced|extended|fixed|inserted|appended|documented|corrected|patched)"
)
_WROTE: Final = re.compile(
    rf"^(?:(?:done|perfect|great|ok(?:ay)?|so|then|also|finally|and)[.,:!]?\s+)?"
    rf"(?:(?:i|we)(?:['\u2019]ve| have)?\s+)?(?:(?:just|also|successfully|now|then)\s+)*{_DID}\b"
    rf"|\b(?:i|we)(?:['\u2019]ve| have)?\s+(?:(?:just|also|successfully|now|then)\s+)*{_DID}\b",
    re.IGNORECASE,
)
_WAS_WRITTEN: Final = re.compile(
    r"^\s*(?:file\s+)?(?:has been|have been|was|were|is now)\s+(?:\w+ly\s+)?"
    r"(?:created|written|added|updated|edited|modified|changed|rewritten|saved|generated)\b",
    re.IGNORECASE,
)
_LEADS_ELSEWHERE: Final = re.compile(
    r"\b(?:from|see|like|similar to|based on|using|via|following|according to|as in|than|of|by|with"
    r"|for|because|which"
    r"|that|so|matching|called|calls|imports?|used|uses|referenc\w+|where|mirrors?|per|against"
    r"|into account)\b",
    re.IGNORECASE,
)

_TESTS_PASS: Final = re.compile(
    r"(?:\b(?P<count>\d[\d,]*)(?:\s*/\s*\d+)?\s+(?:\w+\s+){0,2}(?:tests?|specs?"
    r"|test cases?)\s+(?:are\s+|now\s+|all\s+)*"
    r"(?:pass(?:ed|es|ing)?|green|succeeded)\b"
    r"|\btests?\b(?:\s+(?:suites?|cases?|files?))?:?\s*(?:\w+\s+){0,3}?(?:still\s+|now\s+|all\s+|also\s+)*"
    r"(?:pass(?:ed|es|ing)?|(?:are |is )?green|succeed(?:ed|s)?)\b"
    r"|\btests?\s+(?:suites?\s+)?(?:ran|run)\s+(?:clean(?:ly)?|successfully))",
    re.IGNORECASE,
)
_LINT_PASSES: Final = re.compile(
    r"\blint(?:er|ing|s)?\b:?\s*(?:is\s+|checks?\s+|now\s+|\()*(?:pass(?:ed|es|ing)?|clean|0 issues"
    r"|no issues|green|ok)\b"
    r"|\b(?:no|0|zero) lint(?:er|ing)? (?:issues|errors|warnings)\b",
    re.IGNORECASE,
)
_BUILD_PASSES: Final = re.compile(
    r"\b(?:build|compilation)\b:?\s*(?:is\s+|now\s+|still\s+)*(?:pass(?:ed|es|ing)?|succeed(?:ed|s)?"
    r"|green|clean)\b"
    r"|\b(?:builds|compiles) (?:cleanly|successfully|without errors)\b",
    re.IGNORECASE,
)
_CHECKS: Final = (("tests", _TESTS_PASS), ("lint", _LINT_PASSES), ("build", _BUILD_PASSES))

_RAN: Final = re.compile(
    r"\b(?:ran|executed|(?:run|executed)(?: it)? via|running|verified (?:with|by|via|using)"
    r"|tested (?:with|by|via|using)"
    r"|run|checked with)\b:?\s*(?:the\s+\w+\s+)?(?:suite:?\s*)?`([^`\n]{3,400})`",
    re.IGNORECASE,
)
_SUCCEEDED: Final = re.compile(
    r"`([^`\n]{3,400})`\s*(?:now\s+|all\s+|both\s+|has\s+)*"
    r"(?:succeeded|succeeds|passed|passes|completed|(?:executed|ran|completed|finished"
    r"|exits?) (?:successfully|cleanly)"
    r"|\u2192 all tests passed|is green)\b",
    re.IGNORECASE,
)
_DEEDS: Final = {
    "git commit": re.compile(
        r"(?:^|\b(?:i|we)(?:['\u2019]ve| have)? |\band |, |\bchanges (?:were |have been )?)committed\b", re.I
    ),
    "git push": re.compile(
        r"(?:^|\b(?:i|we)(?:['\u2019]ve| have)? |\band |, )pushed\b|\bcommit pushed\b", re.I
    ),
    "gh pr merge": re.compile(
        r"\bPR #?\d* ?(?:has been|was|is) (?:\w+ )?merged\b|^merged (?:the )?PR\b", re.I
    ),
}
"""What is said without its command, by the command that does it."""

_HASH: Final = re.compile(r"`((?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40})\b[^`]*`")
_NUMBERED: Final = re.compile(r"(?<![\w.,#/-])#(\d{1,6})\b")
_ADDRESS: Final = re.compile(r"https?://[^\s)>\]`'\"]+")
_IDENTIFIER: Final = re.compile(
    r"(?<![\w./#-])#?((?=[\w-]*\d)(?=[\w-]*[A-Za-z_-])[A-Za-z0-9][\w-]{5,63})(?![\w./-])"
)
_LONG_NUMBER: Final = re.compile(
    r"(?<![\w.,:/#-])(?:\$\s?)?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{3,}(?:\.\d+)?|\d+\.\d{2,})(?![\w/-]|[.:]\d)"
)


def claiming_sentences(text: str) -> Iterator[str]:
    """Sentences that state something done: no code, plan, question, denial or condition."""
    aside = False
    for sentence in _SENTENCE.split(_FENCE.sub("\n", text)):
        if not sentence or not sentence.strip():
            continue
        if _HEADING.match(sentence):
            aside = _ASIDE.search(sentence) is not None
        plain = _MARKUP.sub("", _BULLET.sub("", _MARKUP.sub("", sentence))).strip()
        if aside or not plain or plain.endswith("?") or plain[-1] == "\u2026":
            continue
        if not _NO_CLAIM.search(_outside_quotes(plain)):
            yield plain


def claims_checks_pass(text: str) -> str | None:
    """The sentence in which a message says that tests pass; None where none does."""
    return next((one for one in claiming_sentences(text) if _TESTS_PASS.search(_outside_quotes(one))), None)


def _outside_quotes(sentence: str) -> str:
    """The sentence without what stands in back quotes and addresses, whose words are not the agent's."""
    return re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+|\"[^\"]*\"", " ", sentence)


def claims_in(sentence: str) -> Iterator[Said]:
    yield from (Said(ClaimKind.FILE, path) for path in _files_in(sentence))
    spoken = _outside_quotes(sentence)
    for check, pattern in _CHECKS:
        if found := pattern.search(spoken):
            count = found.groupdict().get("count")
            yield Said(ClaimKind.TESTS, check, count=int(count.replace(",", "")) if count else None)
    for found in _RAN.finditer(sentence):
        yield Said(ClaimKind.COMMAND, found[1], succeeded=False)
    for found in _SUCCEEDED.finditer(sentence):
        yield Said(ClaimKind.COMMAND, found[1])
    for program, deed in _DEEDS.items():
        if deed.search(spoken):
            yield Said(ClaimKind.COMMAND, program)
    yield from (Said(ClaimKind.VALUE, value) for value in _values_in(sentence))


def _files_in(sentence: str) -> list[str]:
    """The files that a sentence says were written: named right after the verb, or its subject."""
    plain = _LINK.sub(lambda link: f"`{_of_link(link)}`", sentence)
    places = sorted(
        {
            found.span(1): found[1]
            for pattern in (_QUOTED_PATH, _BARE_PATH)
            for found in pattern.finditer(plain)
        }.items()
    )
    verb = _WROTE.search(plain)
    files = []
    for (begin, end), path in places:
        if path.startswith("http") or path.replace(".", "").isdigit():
            continue
        if verb and verb.end() <= begin:
            between = _outside_quotes(plain[verb.end() : begin - (plain[begin - 1] == "`")])
            if not _LEADS_ELSEWHERE.search(between):
                files.append(path)
        elif _WAS_WRITTEN.match(plain[end + (plain[end : end + 1] == "`") :]):
            files.append(path)
    return files


def _of_link(link: re.Match[str]) -> str:
    """What a Markdown link points to where that is a file, else what it is called."""
    return link[1] if link[2].startswith("http") else link[2].split("#")[0]


def _values_in(sentence: str) -> Iterator[str]:
    if found := list(_HASH.finditer(sentence)):
        yield from (one[1] for one in found)
    yield from (f"#{one[1]}" for one in _NUMBERED.finditer(sentence))
    yield from (one[0].rstrip(".,;:*") for one in _ADDRESS.finditer(sentence))
    spoken = _outside_quotes(_LINK.sub(" ", sentence))
    yield from (one[1] for one in _IDENTIFIER.finditer(spoken) if not _is_a_word(one[1]))
    yield from (one[1] for one in _LONG_NUMBER.finditer(spoken))


def _is_a_word(text: str) -> bool:
    """Names of things and dates of versions rather than ids: few digits."""
    digits = sum(map(str.isdigit, text))
    return digits < 4 or (digits < 5 and "-" in text)
