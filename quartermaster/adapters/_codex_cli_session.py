"""One Codex CLI session as it is read line by line: what each line adds to the mission's entries."""

import re
from typing import Any, Final, NamedTuple

from quartermaster.adapters import _json as json
from quartermaster.adapters._codex_cli_lines import (
    Item,
    Line,
    SessionMeta,
    Usage,
    Verdict,
    delegation_of,
    failed_by,
    goal_of,
    item_of,
    model_of,
    parent_of,
    patched_files,
    texts_of,
    usages_of,
    verdict_of,
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
from quartermaster.adapters._lines import text_or_none
from quartermaster.adapters._session_log import SessionLog, shell_arguments

_FAILED: Final = re.compile(
    r"\w{1,40} (?:verification )?failed\b|failed to parse\b"
    r"|unsupported (?:custom tool )?call\b|execution error\b"
)
"""How results begin that have no exit code and yet are failures."""
_REFUSED: Final = re.compile(r"(?:exec command |patch )?rejected by user")
_INTERRUPTED: Final = "aborted by user"
_SHELLS: Final = ("bash", "sh", "zsh", "/bin/bash", "/bin/sh", "/bin/zsh", "/usr/bin/bash", "/usr/bin/zsh")
_COUNTERS: Final = Usage.__struct_fields__
_LINE_NAMES: Final = ("cmd", "command")
_AGENT: Final = "codex-cli"

_COMPLETE, _ABORTED, _ERROR, _BUSY = "complete", "aborted", "error", "busy"
_OUTCOMES: Final = {_COMPLETE: "succeeded", _ABORTED: "aborted", _ERROR: "failed"}


class _Call(NamedTuple):
    tool: str
    command: str
    is_shell: bool
    process: str | None


class Session:
    """What is known of one session so far; `read` returns the entries that a line adds."""

    def __init__(self, session_id: str, meta: SessionMeta, began: str) -> None:
        parent = parent_of(meta)
        facts = {"agent": _AGENT, "parent_mission_id": parent if parent != session_id else None}
        self._log = SessionLog(Mission("codex_cli", session_id), began, facts)
        self._speaker = text_or_none(meta.agent_nickname)
        self._provider = text_or_none(meta.model_provider)
        git = json.decoded_or_none(meta.git)
        git = git if isinstance(git, dict) else {}
        self._log.learn(
            version=meta.cli_version,
            cwd=meta.cwd,
            git_branch=git.get("branch"),
            commit=git.get("commit_hash"),
        )
        self._model: str | None = None
        self._usage: Usage | None = None
        self._answer_began: str | None = None
        self._calls: dict[str, _Call] = {}
        self._open: set[str] = set()
        self._running: dict[str, str] = {}
        self._answered: dict[str, str] = {}
        self._failed: dict[str, bool] = {}
        self._last = ""

    def read(self, line: Line, text: bytes, ts: str, instant: int) -> list[bytes]:
        self._log.now_is(ts, instant)
        if line.type == "turn_context":
            self._answer_began = None
            self._model = text_or_none(model_of(line)) or self._model
            self._log.learn(model=self._model)
        elif line.type == "compacted":
            self._log.tell("run.compaction", {"kind": "compacted"}, text, actor="system")
        elif line.type in ("response_item", "event_msg") and (item := item_of(line)):
            if line.type == "response_item":
                self._read_item(item, line, text)
            else:
                self._read_event(item, line, text)
        return self._log.taken(_OUTCOMES.get(self._last))

    def outcome(self) -> bytes | None:
        """How the session stands."""
        return self._log.outcome(_OUTCOMES.get(self._last))

    def _read_item(self, item: Item, line: Line, text: bytes) -> None:
        match item.type:
            case "message":
                self._message(item, text)
            case "reasoning":
                self._answering()
            case "function_call" | "custom_tool_call" | "local_shell_call":
                self._answering()
                self._call(item)
            case "function_call_output" | "custom_tool_call_output" | "local_shell_call_output":
                self._result(item)
            case "web_search_call" | "tool_search_call":
                self._search(item, text)
            case "agent_message":
                self._delegation(line, text)

    def _read_event(self, item: Item, line: Line, text: bytes) -> None:
        match item.type:
            case "user_message":
                self._user_message(item, text)
            case "token_count":
                self._token_count(item, text)
            case "task_started" | "turn_started":
                self._answer_began = None
                self._last = _BUSY
            case "task_complete" | "turn_complete":
                self._last = _ERROR if json.decoded_or_none(item.error) else _COMPLETE
            case "turn_aborted":
                self._turn_aborted(item, text)
            case "error" | "stream_error":
                self._error(item, text)
            case "exec_command_end" | "patch_apply_end" | "mcp_tool_call_end" | "dynamic_tool_call_response":
                self._remember_verdict(item)
            case "collab_agent_spawn_end" | "collab_agent_interaction_end":
                self._delegation(line, text)
            case "thread_goal_updated":
                self._log.learn(goal=goal_of(line))

    def _delegation(self, line: Line, text: bytes) -> None:
        """What one agent asks of another; what comes back is a message of the other's own."""
        told = delegation_of(line)
        if told is None:
            return
        payload = {
            "agent": told.sender or self._speaker or _AGENT,
            "to": told.to,
            "agent_id": told.agent_id,
            "text": cut(told.text, TEXT_LIMIT) if told.text else None,
        }
        self._log.tell("run.sub_agent", payload, text, summary=f"to {told.to}: {told.text or ''}")

    def _message(self, item: Item, text: bytes) -> None:
        if item.role != "assistant":
            return
        self._answering()
        said = "\n".join(texts_of(item.content))
        if said:
            self._log.tell_text("message.assistant", "agent", said, text, agent=self._speaker)

    def _user_message(self, item: Item, text: bytes) -> None:
        self._answer_began = None
        self._last = _BUSY
        if type(item.message) is str and item.message.strip():
            self._log.tell_text("message.user", "user", item.message, text)

    def _answering(self) -> None:
        """The first sign of an answer is the time of its model call, which is told when its tokens are."""
        if self._answer_began is None:
            self._answer_began = self._log.stamp()

    def _token_count(self, item: Item, text: bytes) -> None:
        """One model call for each change of what was used so far: the same sum is told again and again."""
        usages = usages_of(item)
        if usages is None or usages[0] == self._usage:
            return
        used = _difference(self._usage, *usages)
        self._usage = usages[0]
        if used is None:
            return
        ts, self._answer_began = self._answer_began or self._log.stamp(), None
        self._log.tell_model_call(ts, self._payload_of(used), text)

    def _payload_of(self, used: Usage) -> dict[str, Any]:
        return {
            "provider": self._provider,
            "model": self._model,
            "input_tokens": max(
                0, used.input_tokens - used.cached_input_tokens - used.cache_write_input_tokens
            ),
            "cached_input_tokens": used.cached_input_tokens,
            "cache_creation_tokens": used.cache_write_input_tokens or None,
            "output_tokens": used.output_tokens,
            "reasoning_tokens": used.reasoning_output_tokens,
        }

    def _call(self, item: Item) -> None:
        if not text_or_none(item.call_id) or not text_or_none(item.name) or item.call_id in self._calls:
            return
        arguments = _arguments(item)
        call = _call_of(item.name, arguments)
        self._calls[item.call_id] = call
        self._open.add(item.call_id)
        payload = _command(item.call_id, call, "start") | _kept_arguments(call, arguments)
        self._log.tell("exec.command", payload, "start", item.call_id, summary=call.command)

    def _result(self, item: Item) -> None:
        call = self._calls.get(item.call_id) if type(item.call_id) is str else None
        if call is None or item.call_id not in self._open:
            return
        verdict = verdict_of(item.output)
        if _REFUSED.match(verdict.text):
            self._refusal(item.call_id, call, verdict)
        elif verdict.text.startswith(_INTERRUPTED):
            self._open.discard(item.call_id)
        elif verdict.running and call.is_shell:
            self._running[verdict.running] = item.call_id
            self._answered[item.call_id] = cut(verdict.output, TEXT_LIMIT)
        elif call.process and verdict.exit_code is not None:
            self._process_ended(item.call_id, call, verdict)
        else:
            self._end(item.call_id, call, verdict)

    def _process_ended(self, call_id: str, call: _Call, verdict: Verdict) -> None:
        """The exit code belongs to the command that was left running, not to the call that waited for it."""
        started = self._running.pop(call.process or "", None)
        if started is None or started not in self._open:
            self._end(call_id, call, verdict)
            return
        output = self._answered.pop(started, "") + verdict.output
        self._end(started, self._calls[started], verdict._replace(elapsed_ms=None, output=output))
        self._end(call_id, call, verdict._replace(exit_code=0))

    def _end(self, call_id: str, call: _Call, verdict: Verdict) -> None:
        self._open.discard(call_id)
        exit_code = verdict.exit_code
        if exit_code is None:
            failed = self._failed.get(call_id) or _FAILED.match(verdict.text)
            exit_code = int(bool(failed))
        payload = _command(call_id, call, "end") | kept_output(verdict.output)
        payload["exit_code"] = exit_code
        payload["duration_ms"] = verdict.elapsed_ms
        payload["error"] = one_line(verdict.output) or one_line(verdict.text) if exit_code else None
        severity = "warn" if exit_code else "info"
        self._log.tell("exec.command", payload, "end", call_id, summary=call.command, severity=severity)

    def _refusal(self, call_id: str, call: _Call, verdict: Verdict) -> None:
        self._open.discard(call_id)
        payload = _command(call_id, call, None) | kept_output(verdict.output)
        payload |= {"decision": "deny", "credential_id": call.tool}
        about = {"summary": f"{call.tool} was refused", "actor": "user", "severity": "warn"}
        self._log.tell("keeper.decision", payload, call_id, **about)

    def _remember_verdict(self, item: Item) -> None:
        failed = failed_by(item)
        if failed is not None and type(item.call_id) is str:
            self._failed[item.call_id] = failed

    def _search(self, item: Item, text: bytes) -> None:
        """Searches are part of the model's answer: they come without a result, so they are no tool calls."""
        self._answering()
        about = json.decoded_or_none(item.action) or json.decoded_or_none(item.arguments)
        kind = str(item.type).removesuffix("_call")
        payload = {"kind": kind, "status": text_or_none(item.status), "arguments": cut_arguments(about)}
        self._log.tell("run.search", payload, text, summary=kind)

    def _turn_aborted(self, item: Item, text: bytes) -> None:
        reason = text_or_none(item.reason) or "interrupted"
        self._log.tell("mission.status_change", {"to_status": reason}, text, summary=reason, actor="user")
        self._last = _ABORTED

    def _error(self, item: Item, text: bytes) -> None:
        said = item.message if type(item.message) is str else ""
        retried = item.type == "stream_error"
        entry_type = "run.api_retry" if retried else "run.api_error"
        severity = "warn" if retried else "error"
        payload = {"error": cut(said, TEXT_LIMIT)}
        self._log.tell(entry_type, payload, text, summary=said, actor="system", severity=severity)
        self._last = self._last if retried else _ERROR


def _difference(before: Usage | None, total: Usage, last: Usage | None) -> Usage | None:
    """What a model call used: how much the sums grew.

    Where they shrank, or began with what another file tells, it is the last call's own usage.
    """
    if before is None:
        used = last or total
    else:
        grown = [getattr(total, name) - getattr(before, name) for name in _COUNTERS]
        used = Usage(*grown) if min(grown) >= 0 else (last or total)
    return used if used.input_tokens or used.output_tokens else None


def _arguments(item: Item) -> Any:
    """Arguments are JSON in a text; a patch is a text of its own, and older shell calls are objects."""
    value = next(
        (value for raw in (item.arguments, item.input, item.action) if (value := json.decoded_or_none(raw))),
        None,
    )
    if not isinstance(value, str):
        return value
    told = json.decoded_or_none(value.encode("utf-8", "replace"))
    return told if isinstance(told, dict) else {"input": value}


def _kept_arguments(call: _Call, arguments: Any) -> dict[str, Any]:
    """The arguments for the entry. Of a patch, which is one long text, also the files that it is for."""
    if call.is_shell and isinstance(arguments, dict):
        return shell_arguments(_line_of(arguments) or "", arguments, *_LINE_NAMES)
    told = kept_arguments(arguments)
    patch = arguments.get("input") if call.tool == "apply_patch" and isinstance(arguments, dict) else None
    if isinstance(patch, str):
        told["arguments"] = {**told["arguments"], "paths": patched_files(patch)}
    return told


def _line_of(arguments: dict[str, Any]) -> str | None:
    """The command line among the arguments of a shell."""
    command = arguments.get("cmd", arguments.get("command"))
    return _joined(command) if isinstance(command, list) else text_or_none(command)


def _call_of(tool: str, arguments: Any) -> _Call:
    arguments = arguments if isinstance(arguments, dict) else {}
    line = _line_of(arguments)
    process = arguments.get("session_id") if tool == "write_stdin" else None
    return _Call(
        tool,
        cut(line, TEXT_LIMIT) if line else tool,
        bool(line),
        str(process) if type(process) in (int, str) else None,
    )


def _joined(command: list[Any]) -> str:
    """What a shell was asked to run, or the words of a command that runs without one."""
    words = [word for word in command if isinstance(word, str)]
    if len(words) == 3 and words[0] in _SHELLS and words[1] in ("-c", "-lc"):
        return words[2]
    return " ".join(words)


def _command(call_id: str, call: _Call, phase: str | None) -> dict[str, Any]:
    tool = call.tool if call.is_shell else None
    return {"command": call.command, "tool": tool, "phase": phase, "call_id": call_id}
