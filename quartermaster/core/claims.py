"""What the last message of a mission says was done, held against what the journal recorded.

What cannot be looked up is `unknown`: a contradiction always names the step that contradicts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, Final

import msgspec

from quartermaster.core.assertions import ClaimKind, Said, claiming_sentences, claims_in
from quartermaster.core.transcript import Event, EventKind, Transcript


class Verdict(StrEnum):
    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNKNOWN = "unknown"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the last message says, in its own words (`quote`), and what the journal says to it.

    `subject` is the file, the kind of check, the command line or the value that is spoken of. `position` and
    `entry_id` are those of the step that decides; None where no step does, and the verdict is `unknown`.
    """

    kind: ClaimKind
    verdict: Verdict
    subject: str
    quote: str
    reason: str
    said_at: int
    position: int | None = None
    entry_id: str | None = None


class _Finding(msgspec.Struct, frozen=True):
    verdict: Verdict
    reason: str
    position: int | None = None


_QUOTE_LIMIT: Final = 300
_CLAIMS_LIMIT: Final = 100

_RUNNERS: Final = {
    "tests": re.compile(
        r"\b(?:pytest|py\.test|unittest|nosetests|tox|nox|jest|vitest|mocha|rspec|phpunit|ctest"
        r"|playwright test)\b"
        r"|\b(?:go|cargo|npm|yarn|pnpm|bun|deno|dotnet|swift|mix|flutter|bazel|rake|make|just|task"
        r"|mvn|gradlew?|sbt|lein)"
        r"\s+(?:[\w.:/=-]+\s+)*?(?:run\s+)?(?:test|check|verify)(?:[:\w-]*)"
        r"|\bmise run (?:\w+:)*(?:test|check)\S*|\bmanage\.py test\b|(?:^"
        r"|[\s/])(?:run_?)?tests?[\w-]*\.(?:py|sh|js|ts)\b"
    ),
    "lint": re.compile(
        r"\b(?:ruff|flake8|pylint|eslint|golangci-lint|biome|clippy|rubocop|shellcheck|mypy|prettier"
        r"|tsc|stylelint)\b"
        r"|\b(?:go vet|go fmt|gofmt)\b|\b(?:run|make|just|task|npm|yarn|pnpm"
        r"|bun)\s+(?:run\s+)?[\w:-]*lint[\w:-]*"
    ),
    "build": re.compile(
        r"\b(?:go|cargo|npm|yarn|pnpm|bun|dotnet|swift|mvn|gradlew?|make|docker|mise|just|task|next|vite)"
        r"\s+(?:run\s+)?(?:build|compile|package|install)\b|\btsc\b|\bcmake --build\b|^\s*make\b"
    ),
}
_FAILS: Final = re.compile(
    r"\b[1-9]\d* (?:tests? )?(?:failed|failing|failures?|errors?)\b|^(?:--- )?FAIL(?:ED)?\b"
    r"|\bFAILED\b|\bfailures=[1-9]"
    r"|\b[1-9]\d* issues?:|^error(?:\[\w+\])?:|\btest result: FAILED|^E   ",
    re.MULTILINE,
)
_PASSES: Final = re.compile(
    r"\b\d+ (?:tests? )?pass(?:ed|ing)?\b|^ok\s+\S|^PASS\b|\bOK\b|\btest result: ok|\b0 (?:issues"
    r"|errors|failures|failed)\b"
    r"|\bAll checks passed\b|no issues found|\bpassed\b",
    re.MULTILINE,
)
_PASSED_COUNT: Final = re.compile(r"\b(\d+) (?:tests? )?pass(?:ed|ing)?\b|^Ran (\d+) tests?", re.MULTILINE)

_PATH_KEYS: Final = (
    "file_path",
    "path",
    "filename",
    "file",
    "notebook_path",
    "target_file",
    "filepath",
    "absolute_path",
)
_PATCHED: Final = re.compile(
    r"^\*\*\* (?:Add|Update|Delete) File: (.+?)\s*$|^\*\*\* Move to: (.+?)\s*$", re.MULTILINE
)
_REPORTED: Final = re.compile(r"^[AMD] (\S+)$", re.MULTILINE)
_VIEWS: Final = frozenset({"view", "read", "open", "list", "search"})
_READS_NAME: Final = re.compile(
    r"(?:^|_|\b)(?:read|view|open|grep|glob|search|list|fetch|get|ls)(?:$|_|\b)", re.IGNORECASE
)
_SHELL_WRITES: Final = re.compile(
    r"(?<![0-9&<-])>{1,2}\s*(?!&|/dev/|\s)|<<|\bopen\(|\s-o\s|--out|\bsed\b.*\s-i"
    r"|\b(?:tee|touch|cp|mv|patch|apply_patch|rsync|curl|wget|unzip|tar|ln|dd|git (?:mv|apply"
    r"|checkout|restore))\b"
)
_TOKEN: Final = re.compile(r"[\w.@+~/-]+")
_PIPED: Final = re.compile(r"\|(?!\|)|;|\|\||&&")


def claims_of(transcript: Transcript) -> tuple[Claim, ...]:
    """The claims of the last message, in the order of their sentences; at most a hundred."""
    last = transcript.final_answer
    if last is None or not last.text:
        return ()
    said = [(one, quote) for quote in claiming_sentences(last.text) for one in claims_in(quote)]
    if not said:
        return ()
    deeds = _Deeds(transcript.events[: last.position])
    claims: dict[tuple[ClaimKind, str], Claim] = {}
    for one, quote in said[:_CLAIMS_LIMIT]:
        finding = deeds.judge(one)
        position = finding.position
        claims.setdefault(
            (one.kind, one.subject),
            Claim(
                kind=one.kind,
                verdict=finding.verdict,
                subject=one.subject,
                quote=quote[:_QUOTE_LIMIT],
                reason=finding.reason,
                said_at=last.position,
                position=position,
                entry_id=None if position is None else deeds.events[position].entry_id,
            ),
        )
    return tuple(claims.values())


@lru_cache(maxsize=8192)
def runs_checks(command: str, check: str = "tests") -> bool:
    """Whether a command line runs tests, a linter or a build."""
    return _RUNNERS[check].search(command) is not None


class _Deeds:
    """What the journal recorded before the last message, looked up by what is claimed."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._calls = [event for event in events if event.kind is EventKind.TOOL_CALL]
        self._commands = [event for event in self._calls if event.command]
        self._written: dict[str, list[Event]] | None = None

    def judge(self, said: Said) -> _Finding:
        if said.kind is ClaimKind.FILE:
            return self._file(said.subject)
        if said.kind is ClaimKind.TESTS:
            return self._check(said.subject, said.count)
        if said.kind is ClaimKind.COMMAND:
            return self._command(said.subject, claims_success=said.succeeded)
        return self._value(said.subject)

    def _file(self, path: str) -> _Finding:
        writes = self._writes_of(path)
        good = [event for event in writes if event.succeeded is not False and not event.refused]
        if good:
            return _Finding(Verdict.SUPPORTED, f"{good[-1].name} wrote it", good[-1].position)
        by_shell = self._shell_writes_of(path)
        if by_shell is not None:
            return _Finding(Verdict.SUPPORTED, f"{by_shell.name} was run on it", by_shell.position)
        if writes and not any(
            event.command and event.succeeded for event in self.events[writes[-1].position :]
        ):
            last = writes[-1]
            word = "refused" if last.refused else "failed"
            return _Finding(
                Verdict.CONTRADICTED, f"every write to it {word}, the last by {last.name}", last.position
            )
        return _Finding(Verdict.UNKNOWN, "no recorded call names this file as written")

    def _writes_of(self, path: str) -> list[Event]:
        if self._written is None:
            self._written = {}
            for event in self._calls:
                for written in written_paths(event):
                    self._written.setdefault(_basename(written), []).append(event)
        candidates = self._written.get(_basename(path), [])
        return [event for event in candidates if any(_same_path(path, one) for one in written_paths(event))]

    def _shell_writes_of(self, path: str) -> Event | None:
        name = _basename(path)
        for event in reversed(self._commands):
            if (
                event.succeeded is False
                or event.refused
                or event.command is None
                or name not in event.command
            ):
                continue
            if _SHELL_WRITES.search(event.command) and any(
                _same_path(path, one) or _same_path(one, path) for one in _TOKEN.findall(event.command)
            ):
                return event
        return None

    def _check(self, check: str, count: int | None) -> _Finding:
        runs = [event for event in self._commands if runs_checks(event.command or "", check)]
        told = next(
            ((event, ok) for event in reversed(runs) if (ok := checks_passed(event)) is not None), None
        )
        if told is None:
            return _Finding(Verdict.UNKNOWN, f"no run of {check} with a recorded outcome comes before")
        last, passed = told
        if not passed:
            return _Finding(Verdict.CONTRADICTED, f"the last run of {check} before it failed", last.position)
        if count is not None and (counted := _counted(last)) is not None and counted != count:
            reason = f"the last run of {check} tells of {counted} passed, not of {count}"
            return _Finding(Verdict.CONTRADICTED, reason, last.position)
        changed = next(
            (event for event in self._calls if event.position > last.position and writes_code(event)), None
        )
        if changed is not None:
            reason = f"{changed.name} changed something after the last run of {check}"
            return _Finding(Verdict.UNKNOWN, reason, changed.position)
        return _Finding(Verdict.SUPPORTED, f"the last run of {check} passed", last.position)

    def _command(self, command: str, *, claims_success: bool) -> _Finding:
        wanted = " ".join(command.removeprefix("$ ").split())
        runs = [event for event in self._commands if _contains(event.command or "", wanted)]
        if not runs:
            return _Finding(Verdict.UNKNOWN, "no recorded command holds it")
        good = [event for event in runs if event.succeeded is True]
        if good:
            return _Finding(Verdict.SUPPORTED, "it was run and succeeded", good[-1].position)
        last = runs[-1]
        if last.refused:
            return _Finding(Verdict.CONTRADICTED, "it was refused each time", last.position)
        if last.succeeded is None:
            return _Finding(Verdict.UNKNOWN, "it was run, with no outcome recorded", last.position)
        if claims_success and wanted == " ".join((last.command or "").split()):
            return _Finding(Verdict.CONTRADICTED, "it was run and failed each time", last.position)
        if claims_success:
            return _Finding(Verdict.UNKNOWN, "it was run as a part of a command that failed", last.position)
        return _Finding(Verdict.SUPPORTED, "it was run, and failed", last.position)

    def _value(self, value: str) -> _Finding:
        forms = {form.lower() for form in (value, value.replace(",", ""), value.lstrip("#"))}
        position = self._first(
            re.compile("|".join(rf"(?<![\w.]){re.escape(form)}(?![\w]|\.\d)" for form in forms)), forms
        )
        if position is not None:
            return _Finding(Verdict.SUPPORTED, "it stands in an earlier step", position)
        position = self._rounded(value)
        if position is not None:
            return _Finding(Verdict.SUPPORTED, "an earlier step has it with more decimals", position)
        return _Finding(Verdict.UNKNOWN, "no recorded text holds it; long outputs are kept in part")

    def _first(self, pattern: re.Pattern[str], hints: Iterable[str]) -> int | None:
        """The first step in which the pattern stands; every text that fits it holds one of the hints."""
        hints = tuple(hints)
        for position, text in self._read:
            if any(hint in text for hint in hints) and pattern.search(text):
                return position
        return None

    def _rounded(self, value: str) -> int | None:
        """Where a number stands that rounds to the one that was said."""
        whole, point, decimals = value.replace(",", "").partition(".")
        if not point or not (whole + decimals).isdecimal():
            return None
        number = re.compile(rf"(?<![\w.]){whole}\.\d{{1,15}}(?!\d)")
        for position, text in self._read:
            if f"{whole}." not in text:
                continue
            if any(
                f"{float(one):.{len(decimals)}f}" == f"{whole}.{decimals}" for one in number.findall(text)
            ):
                return position
        return None

    @cached_property
    def _read(self) -> list[tuple[int, str]]:
        """Every text that was given, read or called with, with its step; not what agents said themselves."""
        return [
            (event.position, text.lower())
            for event in self.events
            if event.kind is not EventKind.AGENT_MESSAGE
            for text in (event.text, event.output, event.error, event.command, *_strings(event.arguments))
            if text
        ]


def written_paths(event: Event) -> tuple[str, ...]:
    """The files that a call of an editing tool names; () for shells, and for calls that only read."""
    if event.kind is not EventKind.TOOL_CALL or (event.command and event.arguments is None):
        return tuple(_REPORTED.findall(event.output)) if event.output and event.name == "apply_patch" else ()
    arguments = event.arguments
    text = arguments if isinstance(arguments, str) else None
    if isinstance(arguments, Mapping):
        patch = next((one for key in ("input", "patch") if isinstance(one := arguments.get(key), str)), None)
        text = patch or text
        if arguments.get("command") in _VIEWS or _READS_NAME.search(event.name):
            return ()
        if patch is None:
            return tuple(one for key in _PATH_KEYS if isinstance(one := arguments.get(key), str) and one)
    if text and "*** " in text:
        return tuple(one or other for one, other in _PATCHED.findall(text))
    if event.name == "apply_patch" and event.output:
        return tuple(_REPORTED.findall(event.output))
    return ()


def writes_code(event: Event) -> bool:
    """Whether an editing tool changed a file other than prose."""
    paths = written_paths(event)
    return event.succeeded is not False and any(
        not one.lower().endswith((".md", ".txt", ".rst")) for one in paths
    )


def checks_passed(event: Event) -> bool | None:
    """Whether a run of checks passed; None where its words and its status cannot be told apart.

    The status of a line of several commands is that of its last one, so that its words must say it.
    """
    output = event.output or event.error or ""
    if event.refused or event.succeeded is None:
        return None
    several = _PIPED.search(event.command or "") is not None
    if event.succeeded is False:
        return None if several and not _FAILS.search(output) else False
    if _FAILS.search(output):
        return False if several else None
    if several and not _PASSES.search(output):
        return True if "&&" in (event.command or "") and "|" not in (event.command or "") else None
    return True


def _counted(event: Event) -> int | None:
    found = _PASSED_COUNT.findall(event.output or "")
    return int(found[0][0] or found[0][1]) if len(found) == 1 and event.output_digest is None else None


def _contains(command: str, wanted: str) -> bool:
    plain = " ".join(command.split())
    begin = plain.find(wanted)
    if begin < 0:
        return _loosely(plain, wanted)
    end = begin + len(wanted)
    return (begin == 0 or not plain[begin - 1].isalnum()) and (end == len(plain) or not plain[end].isalnum())


def _loosely(command: str, wanted: str) -> bool:
    """`git push` is also what `git -C folder push` does."""
    words = wanted.split()
    if len(words) < 2 or words[0] not in ("git", "gh"):
        return False
    between = r"(?:\s+-\w\s+\S+|\s+--?\S+)*\s+"
    return re.search(r"\b" + between.join(map(re.escape, words)) + r"\b", command) is not None


def _basename(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _same_path(claimed: str, recorded: str) -> bool:
    """Whether a recorded path is the claimed one, of which only the end may be named."""
    claimed, recorded = claimed.removeprefix("./"), recorded.removeprefix("./")
    return (
        recorded == claimed
        or recorded.endswith("/" + claimed.lstrip("/"))
        or claimed.endswith("/" + recorded)
    )


def _strings(value: Any, depth: int = 4) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif depth and isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one, depth - 1)
