"""The text that `codex exec` prints: a header, then blocks that begin with a word alone on its line.

The text has no clock. Entries are dated one minute per block from 1970 on, and the mission says
`clock: "ordinal"`. Nor does it say where one model call ends and the next begins: what is told is one
call for each sum of tokens that is printed. Reasoning and diffs are not read. What a command printed
ends where the next block begins, so it is told then, together with how the command ended.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, kept_output, one_line
from quartermaster.adapters._lines import is_id
from quartermaster.core.journal import format_instant, minted_id

_TITLE: Final = re.compile(rb"OpenAI Codex v(\d[\w.-]{0,63})[^\r\n]{0,100}\r?\n-{8}\r?\n")
_SETTING: Final = re.compile(r"([a-z][a-z ]{0,40}): (.*)")
_RULE: Final = "--------"
_DURATION: Final = r"(?:(?P<minutes>\d{1,6})m ?)?(?P<number>\d{1,9}(?:\.\d{1,9})?)(?P<unit>ms|s)"
_COMMAND_END: Final = re.compile(rf" (?:succeeded|exited (?P<code>-?\d{{1,9}})) in {_DURATION}:?")
_PATCH_END: Final = re.compile(
    rf"apply_patch\([^()]{{0,200}}\) exited (?P<code>-?\d{{1,9}}) in {_DURATION}:?"
)
_TOOL_END: Final = re.compile(
    rf"[\w-]{{1,100}}\.[\w-]{{1,100}}\(.*\) (?:success|(?P<failed>failed)) in {_DURATION}:?"
)
_BEGINNINGS: Final = frozenset(
    {
        b"user",
        b"codex",
        b"thinking",
        b"exec",
        b"file update",
        b"file update:",
        b"Plan update",
        b"tokens used",
        b"context compacted",
        b"task interrupted",
    }
)
"""The lines that begin a block, each alone on its line."""
_STARTUP: Final = b"mcp startup: "
_KEPT: Final = frozenset({b"user", b"codex", b"exec", b"tokens used"})
_SHELL: Final = re.compile(r"(?:/\S{1,100}/)?(?:bash|sh|zsh) -l?c (['\"]?)(?=\S)")
_ESCAPED: Final = re.compile(r"\\([\"\\$`])")
_LINES_LIMIT: Final = 2_000
_MINUTE: Final = 60 * 10**9


class _Block(NamedTuple):
    kind: bytes
    start: int
    lines: list[bytes]


class _Ended(NamedTuple):
    """A command that has ended, and what it has printed so far."""

    command: str
    how: re.Match[str]
    start: int
    printed: list[bytes]


class CodexExecTextReader:
    """Reads one log from its first line on."""

    def __init__(self) -> None:
        self._mission: Mission | None = None
        self._settings: dict[str, str] = {}
        self._version: str | None = None
        self._rules = 0
        self._block = _Block(b"", 0, [])
        self._ended: _Ended | None = None
        self._number = 0
        self._within = 0
        self._end = 0
        self._title: str | None = None
        self._outcome: str | None = None
        self._may_have_ended = False
        self._records: list[Record] = []

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries that a line completes."""
        if not offset and line.startswith(json.BYTE_ORDER_MARK):
            offset = len(json.BYTE_ORDER_MARK)
            line = line[offset:]
        line = line.removesuffix(b"\r")
        if self._mission is None:
            return self._read_header(line, offset)
        if line in _BEGINNINGS or line.startswith(_STARTUP):
            self._close_block(self._end)
            self._ended = None
            self._begin_block(line, offset)
            return self._taken()
        self._end = offset + len(line) if line else self._end
        if self._block.kind in _KEPT:
            return self._read_block(self._block, line)
        if line.endswith(b":") and b" in " in line and self._tool_ended(line, offset):
            return self._taken()
        if self._ended is not None and len(self._ended.printed) < _LINES_LIMIT:
            self._ended.printed.append(line)
        return ()

    def finish(self) -> Iterable[Record]:
        """What the block that is still open says so far, and how the session stands."""
        if self._mission is None or not self._end:
            return []
        number, within, title, outcome = self._number, self._within, self._title, self._outcome
        self._close_block(self._end)
        if self._outcome or self._may_have_ended:
            summary = f"session {self._outcome}" if self._outcome else "no end is recorded"
            payload = {"outcome": self._outcome, "origin": "agent"}
            self._tell("mission.outcome", payload, self._block.start, self._end, summary=summary)
        records = self._taken()
        self._number, self._within, self._title, self._outcome = number, within, title, outcome
        return records

    def _read_header(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        text = line.decode("utf-8", "replace")
        if self._version is None:
            title = _TITLE.match(line + b"\n--------\n")
            self._version = title.group(1).decode() if title else None
            return () if title or not line.strip() else (_rejected(line, offset, "no log of codex exec"),)
        setting = _SETTING.fullmatch(text)
        if text == _RULE and not self._rules:
            self._rules = 1
        elif text == _RULE and self._settings:
            return self._begin_mission(offset, len(line))
        elif setting and self._rules:
            self._settings.setdefault(setting.group(1), setting.group(2))
        elif line.strip():
            return (_rejected(line, offset, "not a line of the header"),)
        return ()

    def _begin_mission(self, offset: int, length: int) -> list[Record]:
        """The session may be recorded as a rollout too, so that the log is a mission of another id."""
        session = self._settings.get("session id", "")
        known = f"codex_exec_{session}" if session else ""
        header = "\n".join(f"{name}: {value}" for name, value in sorted(self._settings.items()))
        mission_id = known if is_id(known) else "codex_exec_" + minted_id("codex_exec_text", header)[2:]
        self._mission = Mission("codex_exec_text", mission_id)
        self._end = offset + length
        self._tell_created(offset)
        return self._taken()

    def _begin_block(self, kind: bytes, offset: int) -> None:
        self._block = _Block(kind, offset, [])
        self._number += 1
        self._within = 0
        self._end = offset + len(kind)
        self._may_have_ended = self._may_have_ended or self._outcome is not None
        self._outcome = None
        if kind == b"context compacted":
            self._tell("run.compaction", {"kind": "compacted"}, offset, self._end, actor="system")
        elif kind == b"task interrupted":
            payload = {"to_status": "interrupted"}
            self._tell(
                "mission.status_change", payload, offset, self._end, summary="interrupted", actor="user"
            )
            self._outcome = "aborted"

    def _read_block(self, block: _Block, line: bytes) -> Iterable[Record]:
        ended = _command_end(line) if block.kind == b"exec" else None
        if ended is None:
            if len(block.lines) < _LINES_LIMIT:
                block.lines.append(line)
            return ()
        last, how = ended
        command = _unwrapped("\n".join([*_texts(block.lines), last]))
        self._ended = _Ended(command, how, block.start, [])
        self._block = _Block(b"", block.start, [])
        return ()

    def _tool_ended(self, line: bytes, offset: int) -> bool:
        text = line.decode("utf-8", "replace")
        how = _PATCH_END.fullmatch(text) or _TOOL_END.fullmatch(text)
        if how is None:
            return False
        self._tell_ended(offset)
        self._ended = _Ended(text.split("(", 1)[0], how, offset, [])
        return True

    def _tell_ended(self, end: int) -> None:
        """The command that has ended, with what it printed before `end`."""
        if self._ended is None:
            return
        command, how, start, printed = self._ended
        told = how.groupdict()
        exit_code = int(told.get("code") or 0) or int(bool(told.get("failed")))
        payload = {
            "command": cut(command, TEXT_LIMIT),
            "call_id": f"{self._number}.{self._within}",
            "exit_code": exit_code,
            "duration_ms": _milliseconds(how),
        }
        output = "\n".join(_texts(printed)).rstrip("\n")
        payload |= kept_output(output)
        payload["error"] = one_line(output) or None if exit_code else None
        severity = "warn" if exit_code else "info"
        self._tell("exec.command", payload, start, end, summary=command, severity=severity)

    def _close_block(self, end: int) -> None:
        """Texts and sums are known when something else begins; a command that never ended is only a start."""
        self._tell_ended(end)
        block = self._block
        text = "\n".join(_texts(block.lines)).strip("\n")
        if block.kind == b"user":
            self._said("message.user", "user", text, block.start, end)
        elif block.kind == b"codex":
            self._said("message.assistant", "agent", text, block.start, end)
        elif block.kind == b"tokens used":
            self._tokens_used(text, block.start, end)
        elif block.kind == b"exec" and " in " in text:
            command = _unwrapped(text.rsplit(" in ", 1)[0])
            payload = {"command": cut(command, TEXT_LIMIT), "phase": "start", "call_id": f"{self._number}.0"}
            self._tell("exec.command", payload, block.start, end, summary=command)

    def _said(self, entry_type: str, actor: str, text: str, start: int, end: int) -> None:
        if not text:
            return
        self._tell(entry_type, {"text": cut(text, TEXT_LIMIT)}, start, end, summary=text, actor=actor)
        if actor == "user" and self._title is None:
            self._title = one_line(text)
            self._tell_created(start)

    def _tokens_used(self, text: str, start: int, end: int) -> None:
        """The sum is of what was not cached; the log says no more."""
        digits = text.split("\n", 1)[0].replace(",", "")
        tokens = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None
        payload = {
            "provider": self._settings.get("provider"),
            "model": self._settings.get("model"),
            "total_tokens": tokens,
        }
        self._tell("llm.call", payload, start, end, summary=self._settings.get("model", ""))
        self._outcome = "succeeded"

    def _tell_created(self, start: int) -> None:
        payload = {
            "title": self._title,
            "agent": "codex-cli",
            "model": self._settings.get("model"),
            "version": self._version,
            "labels": {"cwd": self._settings["workdir"]} if "workdir" in self._settings else None,
            "clock": "ordinal",
        }
        if self._mission:
            entry_id, ts = self._mission.entry_id("created"), format_instant(0)
            about = {"summary": self._title or "", "actor": "system"}
            raw = self._mission.written(entry_id, ts, "mission.created", payload, **about)
            self._records.append(Record(raw, start, self._end - start))

    def _tell(self, entry_type: str, payload: dict[str, Any], start: int, end: int, **about: str) -> None:
        if self._mission is None:
            return
        key = ("outcome",) if entry_type == "mission.outcome" else (str(self._number), str(self._within))
        ts = format_instant(self._number * _MINUTE + self._within)
        self._within += 1
        raw = self._mission.written(self._mission.entry_id(*key), ts, entry_type, payload, **about)
        self._records.append(Record(raw, start, end - start))

    def _taken(self) -> list[Record]:
        records, self._records = self._records, []
        return records


class CodexExecText:
    """What `codex exec` prints for people."""

    name = "codex_exec_text"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """The first line names the program, the second is a rule."""
        return _TITLE.match(head, json.start_of(head)) is not None

    def line_reader(self) -> CodexExecTextReader:
        """A fresh reader."""
        return CodexExecTextReader()


def _rejected(line: bytes, offset: int, reason: str) -> RejectedLine:
    return RejectedLine(offset, len(line), reason)


def _texts(lines: list[bytes]) -> list[str]:
    return [line.decode("utf-8", "replace") for line in lines]


def _command_end(line: bytes) -> tuple[str, re.Match[str]] | None:
    """The last line of a command, without its folder, and how the command ended."""
    end = max(line.rfind(b" succeeded in "), line.rfind(b" exited "))
    ended = _COMMAND_END.fullmatch(line[end:].decode("utf-8", "replace")) if end >= 0 else None
    if ended is None:
        return None
    command, _, _ = line[:end].rpartition(b" in ")
    return command.decode("utf-8", "replace"), ended


def _unwrapped(command: str) -> str:
    """What the shell was asked to run, without the shell."""
    shell = _SHELL.match(command)
    if shell is None:
        return command
    quote, inside = shell.group(1), command[shell.end() :]
    if not quote:
        return inside
    if len(inside) < 2 or inside[-1] != quote:
        return command
    inside = inside[:-1]
    return inside.replace("'\\''", "'") if quote == "'" else _ESCAPED.sub(r"\1", inside)


def _milliseconds(ended: re.Match[str]) -> int:
    value = float(ended["number"]) * (1 if ended["unit"] == "ms" else 1_000)
    return round(value) + int(ended["minutes"] or 0) * 60_000


ADAPTER: Final[LineAdapter] = CodexExecText()
