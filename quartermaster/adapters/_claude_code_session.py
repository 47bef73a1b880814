"""One Claude Code session as it is read line by line: what each line adds to the mission's entries."""

import re
from typing import Any, Final, NamedTuple

from quartermaster.adapters import _json as json
from quartermaster.adapters._claude_code_lines import (
    Block,
    Line,
    Message,
    Report,
    Usage,
    decode_result,
    result_text,
)
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    cut,
    cut_arguments,
    kept_arguments,
    kept_output,
    one_line,
)
from quartermaster.adapters._lines import count_or_none, text_or_none
from quartermaster.adapters._session_log import SessionLog, shell_arguments

_SYNTHETIC: Final = "<synthetic>"
_INTERRUPTED: Final = "[Request interrupted by user"
_REFUSED: Final = re.compile(
    r"The user doesn't want to (?:proceed with this tool use|take this action)"
    r"|Permission to use .{1,200}? has been denied"
    r"|Claude requested permissions to .{1,400}?, but you haven't granted it"
)
_NOT_SAID: Final = re.compile(
    r"<(?:command-name|local-command-\w+|bash-(?:input|stdout|stderr)|ide_\w+|system-reminder|task-notification)\b"
)
"""How texts begin that the program put into the user's mouth."""
_EXIT_CODE: Final = re.compile(r"Exit code (-?\d{1,9})")

_TEXT, _BUSY, _API_ERROR, _STOPPED = "text", "busy", "api error", "stopped"
_SUB_AGENT_ENDS: Final = {"completed": _TEXT, "failed": _API_ERROR, "error": _API_ERROR, "killed": _STOPPED}
_SENDING_OUT: Final = ("Task", "Agent")
_AGENT: Final = "claude-code"
_ASIDE: Final = "sub-agent"
"""The speaker where a sub-agent without a name speaks within the session."""
_OUTCOMES: Final = {_TEXT: "succeeded", _API_ERROR: "failed", _STOPPED: "aborted"}


class _Call(NamedTuple):
    tool: str
    command: str
    sent_out: str | None = None
    """The kind of sub-agent that the call sends out."""


class _ModelCall(NamedTuple):
    ts: str
    model: str | None
    usage: Usage | None
    stop_reason: str | None


class Moment(NamedTuple):
    """Where a line's entries belong: its time, and a key that only this line has."""

    ts: str
    instant: int
    key: str | bytes


class SubAgentResult(NamedTuple):
    """What a session was told when a sub-agent had ended."""

    agent_id: str
    status: str | None


class Session:
    """What is known of one session, or one sub-agent, so far; `read` returns the entries that a line adds."""

    def __init__(self, mission_id: str, began: str, parent: str | None = None) -> None:
        self._mission = Mission("claude_code", mission_id)
        facts = {"agent": _AGENT, "parent_mission_id": parent}
        self._log = SessionLog(self._mission, began, facts)
        self._is_sub_agent = parent is not None
        self._model_calls: dict[str, _ModelCall] = {}
        self._calls: dict[str, _Call] = {}
        self._open: set[str] = set()
        self._last = ""
        self.ended_sub_agent: SubAgentResult | None = None

    def read(self, line: Line, message: Message | None, moment: Moment) -> list[bytes]:
        self.ended_sub_agent = None
        self._log.now_is(moment.ts, moment.instant)
        self._log.learn(version=line.version, cwd=line.cwd, git_branch=line.git_branch)
        if line.type == "system":
            self._system(line, moment)
        elif message and line.type == "assistant":
            self._assistant(line, message, moment)
        elif message:
            self._user(line, message, moment)
        return self._log.taken(self._outcome())

    def ended(self, result: SubAgentResult) -> None:
        """The session that sent this sub-agent out was told how it ended."""
        self._last = _SUB_AGENT_ENDS.get(result.status or "", self._last)
        if self._last == _TEXT:
            self._open.clear()

    def outcome(self) -> bytes | None:
        """How the session stands."""
        return self._log.outcome(self._outcome())

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
                agent = _ASIDE if self._is_aside(line) else None
                key = (moment.key, str(index))
                self._log.tell_text("message.assistant", "agent", block.text, *key, agent=agent)
            self._now_last(line, _TEXT if block.type == "text" else _BUSY)

    def _api_error(self, line: Line, message: Message, moment: Moment) -> None:
        text = next((block.text for block in message.blocks if type(block.text) is str), "")
        payload = {"error": json.decoded_or_none(line.error), "text": cut(text, TEXT_LIMIT)}
        self._log.tell("run.api_error", payload, moment.key, summary=text, actor="system", severity="error")
        self._now_last(line, _API_ERROR)

    def _model_call(self, message: Message, moment: Moment) -> None:
        self._log.learn(model=message.model)
        key = message.id if type(message.id) is str and message.id else moment.key
        known = self._model_calls.get(str(key))
        call = known or _ModelCall(self._log.stamp(), text_or_none(message.model), None, None)
        call = call._replace(
            usage=message.usage or call.usage,
            stop_reason=text_or_none(message.stop_reason) or call.stop_reason,
        )
        if call == known:
            return
        self._model_calls[str(key)] = call
        self._log.tell_model_call(call.ts, _usage_of(call), key)

    def _tool_use(self, block: Block, moment: Moment) -> None:
        if not text_or_none(block.id) or not text_or_none(block.name) or block.id in self._calls:
            return
        arguments = json.decoded_or_none(block.input)
        call = _call_of(block.name, arguments)
        self._calls[block.id] = call
        self._open.add(block.id)
        payload = _command(block.id, call, "start") | _kept_arguments(call, arguments)
        self._log.tell("exec.command", payload, "start", block.id, summary=call.command)

    def _user(self, line: Line, message: Message, moment: Moment) -> None:
        for index, block in enumerate(message.blocks):
            if block.type == "tool_result":
                self._tool_result(line, block)
            elif block.type == "text" and type(block.text) is str:
                self._user_text(line, block.text, moment, index)

    def _user_text(self, line: Line, text: str, moment: Moment, index: int) -> None:
        if text.startswith(_INTERRUPTED):
            payload = {"to_status": "interrupted"}
            self._log.tell(
                "mission.status_change", payload, "interrupt", moment.key, summary=text, actor="user"
            )
            self._now_last(line, _STOPPED)
            return
        if line.is_meta is True or line.is_compact_summary is True or self._is_aside(line):
            return
        if _NOT_SAID.match(text) or not text.strip():
            return
        self._log.tell_text("message.user", "user", text, moment.key, str(index))
        self._now_last(line, _BUSY)

    def _tool_result(self, line: Line, block: Block) -> None:
        call = self._calls.get(block.tool_use_id) if type(block.tool_use_id) is str else None
        if call is None or block.tool_use_id not in self._open:
            return
        self._open.discard(block.tool_use_id)
        failed = block.is_error is True
        text = result_text(block.content)
        if failed and text.startswith(_INTERRUPTED):
            self._now_last(line, _STOPPED)
            return
        refused = failed and _REFUSED.match(text) is not None
        self._now_last(line, _STOPPED if refused else _BUSY)
        if refused:
            self._refusal(block.tool_use_id, call, text)
            return
        report = decode_result(line.tool_use_result)
        payload = _command(block.tool_use_id, call, "end") | kept_output(text)
        payload["exit_code"] = _exit_code(call.tool, text) if failed else 0
        payload["error"] = one_line(text) if failed else None
        payload["duration_ms"] = _duration_of(report)
        severity = "warn" if failed else "info"
        self._log.tell(
            "exec.command", payload, "end", block.tool_use_id, summary=call.command, severity=severity
        )
        if call.tool in _SENDING_OUT:
            self._sub_agent_result(report, block.tool_use_id, call)

    def _sub_agent_result(self, result: Report | None, call_id: str, call: _Call) -> None:
        """What a sub-agent reports. Its tokens are those of its last model call: no sum of what it used."""
        if result is None or not text_or_none(result.agent_id):
            return
        payload = {
            "agent": _AGENT,
            "to": call.sent_out or result.agent_id,
            "agent_id": result.agent_id,
            "call_id": call_id,
            "status": text_or_none(result.status),
            "duration_ms": count_or_none(result.total_duration_ms),
            "last_context_tokens": count_or_none(result.total_tokens),
            "tool_calls": count_or_none(result.total_tool_use_count),
        }
        self._log.tell("run.sub_agent", payload, call_id, summary=f"sub-agent {result.agent_id}")
        self.ended_sub_agent = SubAgentResult(result.agent_id, text_or_none(result.status))

    def _refusal(self, call_id: str, call: _Call, text: str) -> None:
        payload = _command(call_id, call, None) | kept_output(text)
        payload |= {"decision": "deny", "credential_id": call.tool}
        about = {"summary": f"{call.tool} was refused", "actor": "user", "severity": "warn"}
        self._log.tell("keeper.decision", payload, call_id, **about)

    def _system(self, line: Line, moment: Moment) -> None:
        if line.subtype == "api_error":
            payload = {
                "error": json.decoded_or_none(line.error) or None,
                "attempt": count_or_none(line.retry_attempt),
                "max_attempts": count_or_none(line.max_retries),
                "retry_in_ms": line.retry_in_ms if type(line.retry_in_ms) in (int, float) else None,
            }
            self._log.tell("run.api_retry", payload, moment.key, actor="system", severity="warn")
        elif line.subtype in ("compact_boundary", "microcompact_boundary"):
            metadata = cut_arguments(json.decoded_or_none(line.compact_metadata))
            payload = {"kind": line.subtype, "metadata": metadata}
            self._log.tell("run.compaction", payload, moment.key, actor="system")

    def _now_last(self, line: Line, state: str) -> None:
        if not self._is_aside(line):
            self._last = state

    def _is_aside(self, line: Line) -> bool:
        """Whether the line is of a sub-agent that has no mission of its own, as older versions wrote them."""
        return line.is_sidechain is True and not self._is_sub_agent


def _usage_of(call: _ModelCall) -> dict[str, Any]:
    usage = call.usage or Usage()
    written = usage.cache_creation
    for_an_hour = written.get("ephemeral_1h_input_tokens") if isinstance(written, dict) else None
    return {
        "provider": "anthropic",
        "model": call.model,
        "input_tokens": count_or_none(usage.input_tokens),
        "output_tokens": count_or_none(usage.output_tokens),
        "cached_input_tokens": count_or_none(usage.cache_read_input_tokens),
        "cache_creation_tokens": count_or_none(usage.cache_creation_input_tokens),
        "cache_creation_1h_tokens": count_or_none(for_an_hour) or None,
        "service_tier": text_or_none(usage.service_tier),
        "finish_reason": call.stop_reason,
    }


def _call_of(tool: str, arguments: Any) -> _Call:
    given = arguments if isinstance(arguments, dict) else {}
    if tool in _SENDING_OUT:
        return _Call(tool, tool, text_or_none(given.get("subagent_type")))
    line = text_or_none(given.get("command")) if tool == "Bash" else None
    return _Call(tool, cut(line, TEXT_LIMIT) if line else tool)


def _kept_arguments(call: _Call, arguments: Any) -> dict[str, Any]:
    if call.tool != "Bash" or not isinstance(arguments, dict):
        return kept_arguments(arguments)
    return shell_arguments(text_or_none(arguments.get("command")) or "", arguments, "command")


def _duration_of(report: Report | None) -> int | None:
    """Milliseconds that a tool took, which few tools note."""
    if report is None:
        return None
    noted = report.duration_ms if report.total_duration_ms is None else report.total_duration_ms
    return round(noted) if type(noted) in (int, float) and 0 <= noted < 2**53 else None


def _command(call_id: str, call: _Call, phase: str | None) -> dict[str, Any]:
    tool = "Bash" if call.tool == "Bash" else None
    return {"command": call.command, "tool": tool, "phase": phase, "call_id": call_id}


def _exit_code(tool: str, text: str) -> int:
    found = _EXIT_CODE.match(text) if tool == "Bash" else None
    return (int(found.group(1)) if found else 1) or 1
