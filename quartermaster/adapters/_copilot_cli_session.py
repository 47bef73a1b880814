"""One Copilot CLI session as it is read event by event: what each adds to the mission's entries."""

from typing import Any, Final, NamedTuple

from quartermaster.adapters import _json as json
from quartermaster.adapters._copilot_cli_lines import (
    Data,
    Event,
    Start,
    Usage,
    data_of,
    exit_code_of,
    text_in,
    usages_of,
)
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, kept_arguments, kept_output, one_line
from quartermaster.adapters._lines import count_or_none, text_or_none
from quartermaster.adapters._session_log import SessionLog, shell_arguments

_AGENT: Final = "copilot-cli"
_SHELLS: Final = ("bash", "powershell", "shell")
_BUSY, _SHUT_DOWN, _BROKEN, _ABORTED = "busy", "shut down", "broken", "aborted"
_OUTCOMES: Final = {_SHUT_DOWN: "succeeded", _BROKEN: "failed", _ABORTED: "aborted"}


class _Call(NamedTuple):
    tool: str
    command: str
    is_shell: bool


class _ModelCall(NamedTuple):
    key: str | bytes
    ts: str
    output_tokens: int | None


class Session:
    """What is known of one session so far; `read` returns the entries that an event adds."""

    def __init__(self, session_id: str, start: Start, began: str) -> None:
        self._log = SessionLog(
            Mission("copilot_cli", session_id),
            began,
            {"agent": _AGENT},
            label_names=("cwd", "git_branch", "repository"),
        )
        context = json.decoded_or_none(start.context)
        context = context if isinstance(context, dict) else {}
        self._log.learn(
            version=start.copilot_version,
            cwd=context.get("cwd"),
            git_branch=context.get("branch"),
            commit=context.get("headCommit"),
            repository=context.get("repository"),
        )
        self._model_calls: dict[str, dict[str | bytes, _ModelCall]] = {}
        self._calls: dict[str, _Call] = {}
        self._open: set[str] = set()
        self._sub_agents: dict[str, str] = {}
        self._last = ""

    def read(self, event: Event, key: str | bytes, ts: str, instant: int) -> list[bytes]:
        self._log.now_is(ts, instant)
        data = data_of(event)
        if data is not None:
            self._read(event.type, data, key)
        return self._log.taken(_OUTCOMES.get(self._last))

    def outcome(self) -> bytes | None:
        """How the session stands."""
        return self._log.outcome(_OUTCOMES.get(self._last))

    def _read(self, kind: Any, data: Data, key: str | bytes) -> None:
        match kind:
            case "user.message":
                self._user_message(data, key)
            case "assistant.turn_start" | "session.resume":
                self._last = _BUSY
            case "assistant.message":
                self._assistant_message(data, key)
            case "tool.execution_start":
                self._tool_start(data)
            case "tool.execution_complete":
                self._tool_complete(data)
            case "subagent.started":
                self._sub_agent(data, key)
            case "permission.completed":
                self._permission(data, key)
            case "session.compaction_complete" | "session.truncation":
                self._log.tell("run.compaction", {"kind": kind}, key, actor="system")
            case "session.error":
                self._error(data, key)
            case "abort":
                self._abort(data, key)
            case "session.shutdown":
                self._shutdown(data)

    def _user_message(self, data: Data, key: str | bytes) -> None:
        self._last = _BUSY
        if type(data.content) is str and data.content.strip():
            self._log.tell_text("message.user", "user", data.content, key)

    def _assistant_message(self, data: Data, key: str | bytes) -> None:
        model = text_or_none(data.model)
        self._log.learn(model=model)
        call_key = text_or_none(data.api_call_id) or text_or_none(data.message_id) or key
        known = self._model_calls.setdefault(model or "", {}).get(call_key)
        output_tokens = count_or_none(data.output_tokens) or None
        call = _ModelCall(call_key, known.ts if known else self._log.stamp(), output_tokens)
        if call != known:
            self._model_calls[model or ""][call_key] = call
            payload = {"model": model, "answer_tokens": output_tokens}
            self._log.tell_model_call(call.ts, payload, call_key)
        if text_or_none(data.content):
            speaker = self._sub_agents.get(text_or_none(data.parent_tool_call_id) or "")
            self._log.tell_text("message.assistant", "agent", data.content, key, agent=speaker)

    def _sub_agent(self, data: Data, key: str | bytes) -> None:
        """A tool call has sent a sub-agent out; what that says names the call."""
        call_id, name = text_or_none(data.tool_call_id), text_or_none(data.agent_name)
        if name is None:
            return
        if call_id is not None:
            self._sub_agents[call_id] = name
        payload = {"agent": _AGENT, "to": name, "call_id": call_id}
        self._log.tell("run.sub_agent", payload, key, summary=f"sub-agent {name}")

    def _tool_start(self, data: Data) -> None:
        call_id, tool = text_or_none(data.tool_call_id), text_or_none(data.tool_name)
        if not call_id or not tool or call_id in self._calls:
            return
        arguments = json.decoded_or_none(data.arguments)
        call = _call_of(tool, arguments)
        self._calls[call_id] = call
        self._open.add(call_id)
        payload = _command(call_id, call, "start") | _kept_arguments(call, arguments)
        self._log.tell("exec.command", payload, "start", call_id, summary=call.command)

    def _tool_complete(self, data: Data) -> None:
        """The exit code that a shell prints wins over the flag, which is true whatever the code."""
        call_id = text_or_none(data.tool_call_id)
        if call_id is None or call_id not in self._open:
            return
        self._open.discard(call_id)
        call = self._calls[call_id]
        text = text_in(data.result, "content")
        exit_code = exit_code_of(text) if "bash" in call.tool or call.is_shell else None
        if exit_code is None:
            exit_code = int(data.success is False)
            text = text_in(data.error, "message") or text
        payload = _command(call_id, call, "end") | kept_output(text)
        payload["exit_code"] = exit_code
        payload["error"] = one_line(text) or None if exit_code else None
        severity = "warn" if exit_code else "info"
        self._log.tell("exec.command", payload, "end", call_id, summary=call.command, severity=severity)

    def _permission(self, data: Data, key: str | bytes) -> None:
        """What was decided on a request; a call that was denied never ends."""
        kind = text_in(data.result, "kind")
        denied = kind.startswith("denied")
        if not denied and not kind.startswith("approved"):
            return
        call_id = text_or_none(data.tool_call_id)
        call = self._calls.get(call_id or "")
        if denied and call_id:
            self._open.discard(call_id)
        payload = {
            "decision": "deny" if denied else "allow",
            "reason": kind,
            "credential_id": call.tool if call else None,
            "command": call.command if call else None,
            "call_id": call_id,
        }
        summary = f"{call.tool if call else 'a tool'} was {'refused' if denied else 'allowed'}"
        severity = "warn" if denied else "info"
        self._log.tell("keeper.decision", payload, key, summary=summary, actor="user", severity=severity)

    def _error(self, data: Data, key: str | bytes) -> None:
        said = data.message if type(data.message) is str else ""
        payload = {"error": cut(said, TEXT_LIMIT)}
        self._log.tell("run.api_error", payload, key, summary=said, actor="system", severity="error")
        self._last = _BROKEN

    def _abort(self, data: Data, key: str | bytes) -> None:
        payload = {"to_status": "interrupted", "reason": text_or_none(data.reason)}
        self._log.tell("mission.status_change", payload, key, summary="interrupted", actor="user")
        self._last = _ABORTED

    def _shutdown(self, data: Data) -> None:
        """A session that was shut down has ended well, unless it had been broken off or broke down."""
        for model, usage in usages_of(data).items():
            self._tell_usage(model, usage)
        self._model_calls.clear()
        if data.shutdown_type == "error":
            self._last = _BROKEN
        elif self._last not in (_ABORTED, _BROKEN):
            self._last = _SHUT_DOWN

    def _tell_usage(self, model: str, usage: Usage) -> None:
        """What was put in goes onto the model's last call: only the sum of the session is ever told.

        Until then the tokens of a call are unknown, for its answer is the smallest part of them.
        """
        calls = list(self._model_calls.get(model, {}).values())
        last = calls.pop() if calls else _ModelCall(f"shutdown {model}", self._log.stamp(), None)
        for call in calls:
            self._log.tell_model_call(
                call.ts, {"model": model, "output_tokens": call.output_tokens or 0}, call.key
            )
        known = sum(call.output_tokens or 0 for call in calls)
        cached = usage.cache_read_tokens + usage.cache_write_tokens
        fresh = usage.input_tokens - cached if cached <= usage.input_tokens else usage.input_tokens
        payload = {
            "model": model,
            "input_tokens": fresh,
            "cached_input_tokens": usage.cache_read_tokens,
            "cache_creation_tokens": usage.cache_write_tokens,
            "output_tokens": max(usage.output_tokens - known, last.output_tokens or 0),
            "reasoning_tokens": usage.reasoning_tokens,
            "usage_of_calls": len(calls) + 1,
        }
        self._log.tell_model_call(last.ts, payload, last.key)


def _call_of(tool: str, arguments: Any) -> _Call:
    command = arguments.get("command") if tool in _SHELLS and isinstance(arguments, dict) else None
    if not isinstance(command, str) or not command:
        return _Call(tool, tool, False)
    return _Call(tool, cut(command, TEXT_LIMIT), True)


def _kept_arguments(call: _Call, arguments: Any) -> dict[str, Any]:
    if not call.is_shell:
        return kept_arguments(arguments)
    return shell_arguments(arguments["command"], arguments, "command")


def _command(call_id: str, call: _Call, phase: str) -> dict[str, Any]:
    tool = call.tool if call.is_shell else None
    return {"command": call.command, "tool": tool, "phase": phase, "call_id": call_id}
