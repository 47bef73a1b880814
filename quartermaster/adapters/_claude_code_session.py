"""One Claude Code session as it is read line by line: what each line adds to the mission's entries."""

import re
from typing import Any, Final, NamedTuple

from quartermaster.adapters import _json as json
from quartermaster.adapters._claude_code_lines import Block, Line, Message, Usage, result_text
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, cut_arguments, one_line

_SYNTHETIC: Final = "<synthetic>"
_INTERRUPTED: Final = "[Request interrupted by user"
_REFUSED: Final = "The user doesn't want to proceed with this tool use"
_NOT_SAID: Final = re.compile(
    r"<(?:command-name|local-command-\w+|bash-(?:input|stdout|stderr)|ide_\w+|system-reminder|task-notification)\b"
)
"""How texts begin that the program put into the user's mouth."""
_EXIT_CODE: Final = re.compile(r"Exit code (-?\d{1,9})")

_TEXT, _BUSY, _API_ERROR, _STOPPED = "text", "busy", "api error", "stopped"
_OUTCOMES: Final = {_TEXT: "succeeded", _API_ERROR: "failed", _STOPPED: "aborted"}


class _Call(NamedTuple):
    tool: str
    command: str


class _ModelCall(NamedTuple):
    ts: str
    model: str | None
    usage: Usage | None


class Moment(NamedTuple):
    """Where a line's entries belong: its time, and a key that only this line has."""

    ts: str
    instant: int
    key: str | bytes


class Session:
    """What is known of one session so far; `read` returns the entries that a line adds."""

    def __init__(self, session_id: str, began: str) -> None:
        self._mission = Mission("claude_code", session_id)
        self._began = began
        self._facts: dict[str, str] = {}
        self._created: dict[str, str] = {}
        self._told: set[str] = set()
        self._model_calls: dict[str, _ModelCall] = {}
        self._calls: dict[str, _Call] = {}
        self._open: set[str] = set()
        self._last = ""
        self._may_have_ended = False
        self._now = began
        self._latest: Moment | None = None
        self._ties = 0
        self._entries: list[bytes] = []

    def read(self, line: Line, message: Message | None, moment: Moment) -> list[bytes]:
        self._entries = []
        self._now_is(moment)
        self._learn(version=line.version, cwd=line.cwd, git_branch=line.git_branch)
        if line.type == "system":
            self._system(line, moment)
        elif message and line.type == "assistant":
            self._assistant(line, message, moment)
        elif message:
            self._user(line, message, moment)
        self._tell_created()
        self._may_have_ended = self._may_have_ended or self._outcome() is not None
        return self._entries

    def outcome(self) -> bytes | None:
        """How the session stands. Once it may have been told an end that no longer holds, that it is open."""
        outcome = self._outcome()
        if self._latest is None or (outcome is None and not self._may_have_ended):
            return None
        payload = {"outcome": outcome, "origin": "agent"}
        entry_id = self._mission.entry_id("outcome")
        summary = f"session {outcome}" if outcome else "no end is recorded"
        return self._mission.written(entry_id, self._latest.ts, "mission.outcome", payload, summary=summary)

    def _outcome(self) -> str | None:
        outcome = _OUTCOMES.get(self._last)
        return None if outcome == "succeeded" and self._open else outcome

    def _assistant(self, line: Line, message: Message, moment: Moment) -> None:
        if line.is_api_error_message is True:
            self._api_error(line, message, moment)
            return
        if message.model == _SYNTHETIC:
            return
        self._model_call(message, moment)
        for index, block in enumerate(message.blocks):
            if block.type == "tool_use":
                self._tool_use(block, moment)
            elif block.type == "text" and type(block.text) is str:
                self._text("message.assistant", "agent", block.text, moment, index)
            self._now_last(line, _TEXT if block.type == "text" else _BUSY)

    def _api_error(self, line: Line, message: Message, moment: Moment) -> None:
        text = next((block.text for block in message.blocks if type(block.text) is str), "")
        payload = {"error": json.decoded_or_none(line.error), "text": cut(text, TEXT_LIMIT)}
        self._tell("run.api_error", payload, moment.key, summary=text, actor="system", severity="error")
        self._now_last(line, _API_ERROR)

    def _model_call(self, message: Message, moment: Moment) -> None:
        self._learn(model=message.model)
        key = message.id if type(message.id) is str and message.id else moment.key
        known = self._model_calls.get(str(key))
        if known and (message.usage is None or known.usage == message.usage):
            return
        call = known or _ModelCall(self._stamp(), _text(message.model), None)
        call = call._replace(usage=message.usage)
        self._model_calls[str(key)] = call
        self._entries.append(self._written_model_call(key, call))

    def _written_model_call(self, key: str | bytes, call: _ModelCall) -> bytes:
        usage = call.usage or Usage()
        payload = {
            "provider": "anthropic",
            "model": call.model,
            "input_tokens": _count(usage.input_tokens),
            "output_tokens": _count(usage.output_tokens),
            "cached_input_tokens": _count(usage.cache_read_input_tokens),
            "cache_creation_tokens": _count(usage.cache_creation_input_tokens),
        }
        entry_id = self._mission.entry_id("model call", key)
        return self._mission.written(entry_id, call.ts, "llm.call", payload, summary=call.model or "")

    def _tool_use(self, block: Block, moment: Moment) -> None:
        if not _text(block.id) or not _text(block.name) or block.id in self._calls:
            return
        arguments = json.decoded_or_none(block.input)
        call = _call_of(block.name, arguments)
        self._calls[block.id] = call
        self._open.add(block.id)
        payload = _command(block.id, call, "start")
        if call.tool != "Bash":
            payload["arguments"] = cut_arguments(arguments)
        self._tell("exec.command", payload, "start", block.id, summary=call.command)

    def _user(self, line: Line, message: Message, moment: Moment) -> None:
        for index, block in enumerate(message.blocks):
            if block.type == "tool_result":
                self._tool_result(line, block)
            elif block.type == "text" and type(block.text) is str:
                self._user_text(line, block.text, moment, index)

    def _user_text(self, line: Line, text: str, moment: Moment, index: int) -> None:
        if text.startswith(_INTERRUPTED):
            payload = {"to_status": "interrupted"}
            self._tell("mission.status_change", payload, "interrupt", moment.key, summary=text, actor="user")
            self._now_last(line, _STOPPED)
            return
        if line.is_meta is True or line.is_compact_summary is True or line.is_sidechain is True:
            return
        if _NOT_SAID.match(text) or not text.strip():
            return
        self._learn(title=one_line(text))
        self._text("message.user", "user", text, moment, index)
        self._now_last(line, _BUSY)

    def _tool_result(self, line: Line, block: Block) -> None:
        call = self._calls.get(block.tool_use_id) if type(block.tool_use_id) is str else None
        if call is None or block.tool_use_id not in self._open:
            return
        self._open.discard(block.tool_use_id)
        failed = block.is_error is True
        text = result_text(block.content) if failed else ""
        refused = text.startswith(_REFUSED)
        self._now_last(line, _STOPPED if refused else _BUSY)
        if refused:
            self._refusal(block.tool_use_id, call)
            return
        payload = _command(block.tool_use_id, call, "end")
        payload["exit_code"] = _exit_code(call.tool, text) if failed else 0
        payload["error"] = one_line(text) if failed else None
        severity = "warn" if failed else "info"
        self._tell("exec.command", payload, "end", block.tool_use_id, summary=call.command, severity=severity)

    def _refusal(self, call_id: str, call: _Call) -> None:
        payload = _command(call_id, call, None) | {"decision": "deny", "credential_id": call.tool}
        about = {"summary": f"{call.tool} was refused", "actor": "user", "severity": "warn"}
        self._tell("keeper.decision", payload, call_id, **about)

    def _system(self, line: Line, moment: Moment) -> None:
        if line.subtype == "api_error":
            payload = {
                "error": json.decoded_or_none(line.error) or None,
                "attempt": _count(line.retry_attempt),
                "max_attempts": _count(line.max_retries),
                "retry_in_ms": line.retry_in_ms if type(line.retry_in_ms) in (int, float) else None,
            }
            self._tell("run.api_retry", payload, moment.key, actor="system", severity="warn")
        elif line.subtype in ("compact_boundary", "microcompact_boundary"):
            metadata = cut_arguments(json.decoded_or_none(line.compact_metadata))
            payload = {"kind": line.subtype, "metadata": metadata}
            self._tell("run.compaction", payload, moment.key, actor="system")

    def _text(self, entry_type: str, actor: str, text: str, moment: Moment, index: int) -> None:
        payload = {"text": cut(text, TEXT_LIMIT)}
        self._tell(entry_type, payload, moment.key, str(index), summary=text, actor=actor)

    def _tell(self, entry_type: str, payload: dict[str, Any], *key: str | bytes, **about: str) -> None:
        """One entry, once: lines may be repeated, and what they tell is told already."""
        entry_id = self._mission.entry_id(entry_type, *key)
        if entry_id in self._told:
            return
        self._told.add(entry_id)
        self._entries.append(self._mission.written(entry_id, self._stamp(), entry_type, payload, **about))

    def _tell_created(self) -> None:
        facts = self._facts
        if facts == self._created or not ("title" in facts or "model" in facts):
            return
        self._created = facts.copy()
        payload = {
            "title": facts.get("title"),
            "agent": "claude-code",
            "model": facts.get("model"),
            "version": facts.get("version"),
            "labels": {name: facts[name] for name in ("cwd", "git_branch") if name in facts},
        }
        entry_id = self._mission.entry_id("created")
        summary = facts.get("title", "")
        written = self._mission.written(
            entry_id, self._began, "mission.created", payload, summary=summary, actor="system"
        )
        self._entries.append(written)

    def _learn(self, **facts: Any) -> None:
        """The first text of each fact is kept."""
        for name, value in facts.items():
            if name not in self._facts and type(value) is str and value:
                self._facts[name] = cut(value, TEXT_LIMIT)

    def _now_last(self, line: Line, state: str) -> None:
        if line.is_sidechain is not True:
            self._last = state

    def _now_is(self, moment: Moment) -> None:
        if moment.ts != self._now:
            self._now, self._ties = moment.ts, 0
        if self._latest is None or moment.instant >= self._latest.instant:
            self._latest = moment

    def _stamp(self) -> str:
        """The line's time; entries of one millisecond are a nanosecond apart, which keeps their order."""
        ties, self._ties = self._ties, self._ties + 1
        if not ties or len(self._now) != len("2026-01-01T00:00:00.000Z"):
            return self._now
        return f"{self._now[:-1]}{ties % 1_000_000:06d}Z"


def _call_of(tool: str, arguments: Any) -> _Call:
    command = arguments.get("command") if tool == "Bash" and isinstance(arguments, dict) else None
    return _Call(tool, cut(command, TEXT_LIMIT) if isinstance(command, str) and command else tool)


def _command(call_id: str, call: _Call, phase: str | None) -> dict[str, Any]:
    tool = "Bash" if call.tool == "Bash" else None
    return {"command": call.command, "tool": tool, "phase": phase, "call_id": call_id}


def _exit_code(tool: str, text: str) -> int:
    found = _EXIT_CODE.match(text) if tool == "Bash" else None
    return (int(found.group(1)) if found else 1) or 1


def _text(value: Any) -> str | None:
    return value if type(value) is str and value else None


def _count(value: Any) -> int | None:
    return value if type(value) is int else None
