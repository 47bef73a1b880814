"""Events of OpenHands, in whatever container: what each adds to its mission."""

import re
from typing import Any, Final

import msgspec

from quartermaster.adapters._chat import usage_of
from quartermaster.adapters._documents import or_none
from quartermaster.adapters._entries import TEXT_LIMIT, cut, declared_tools, finish_reason_of
from quartermaster.adapters._story import MINUTE, Story, cost_of, local_instant, text_of

_COMMANDS: Final = frozenset(
    {
        "run",
        "run_ipython",
        "read",
        "edit",
        "write",
        "browse",
        "browse_interactive",
        "delegate",
        "call_tool_mcp",
        "mcp",
    }
)
_REPLIES: Final = _COMMANDS | {"message", "finish", "think", "reject"}
"""Actions that a model decided on."""
_ARGUMENTS: Final = ("path", "code", "url", "name", "arguments", "agent", "inputs", "browser_actions")
_STILL_RUNNING: Final = -1
_FAILED: Final = re.compile(
    r"\s*(?:ERROR\b|Error\b|\[Your proposed edit has introduced|\[No exact match found"
    r"|Traceback \(most recent|-{20,}\s*\w+ +Traceback \(most recent)"
)
_STATES: Final = {"finished": "completed", "error": "failed", "stopped": "stopped", "rejected": "failed"}
_PRECISION: Final = 12


class _Response(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    usage: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct, gc=False):
    finish_reason: Any = None


class _Metadata(msgspec.Struct, gc=False):
    function_name: Any = None
    model_response: _Response | None = None


class _Spent(msgspec.Struct, gc=False):
    accumulated_cost: Any = None


class Event(msgspec.Struct, gc=False):
    """An action or an observation. Old files write what belongs to `args` beside it, and no ids or times."""

    id: Any = None
    timestamp: Any = None
    source: Any = None
    action: Any = None
    observation: Any = None
    message: Any = None
    content: Any = None
    cause: Any = None
    success: Any = None
    args: Any = None
    extras: Any = None
    tool_call_metadata: _Metadata | None = None
    llm_metrics: _Spent | None = None
    command: Any = None
    code: Any = None
    path: Any = None
    thought: Any = None
    exit_code: Any = None


decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_choices: Final = msgspec.json.Decoder(list[_Choice]).decode


class Events:
    """Tells events in their order; `costs` are those of the model calls where the container lists them."""

    def __init__(self, story: Story, events: list[Event], *, costs: list[Any] | None = None) -> None:
        self._story = story
        self._events = events
        self._timed = any(local_instant(event.timestamp) is not None for event in events)
        self._told: set[str] = set()
        self._spent = 0.0
        self._ended = False
        self._delegates: list[str] = []
        self._has_delegates = any(event.action == "delegate" for event in events)
        calls = sum(self._is_unnamed_reply(index) for index in range(len(events)))
        self._costs = costs if costs is not None and len(costs) == calls else []
        self._unnamed = 0

    @property
    def clock(self) -> str:
        """What kind of times the events have: that of a clock without a zone, or only an order."""
        return "local" if self._timed else "ordinal"

    def began(self) -> int:
        """When the first event was."""
        times = (local_instant(event.timestamp) for event in self._events)
        return next((time for time in times if time is not None), MINUTE)

    def asked(self) -> str:
        """What a user first asked for."""
        return next((_said(event) for index, event in enumerate(self._events) if self._is_asking(index)), "")

    def system(self) -> dict[str, Any]:
        """The arguments of the system event, which name the agent and its version."""
        found = (_object(event.args) for event in self._events if event.action == "system")
        return next(found, {})

    def tools(self) -> list[str] | None:
        """The tools that the agent was given, and the actions by which their calls are told here."""
        declared = declared_tools(self.system().get("tools"))
        if declared is None:
            return None
        called = {
            event.action: None
            for event in self._events
            if isinstance(event.action, str)
            and event.action in _COMMANDS
            and event.tool_call_metadata
            and event.tool_call_metadata.function_name in declared
        }
        return declared_tools(declared, list(called))

    def _agent(self) -> str | None:
        """Who acts, in a run that hands parts of its task on."""
        if self._delegates:
            return self._delegates[-1]
        return (_text(self.system().get("agent_class")) or "openhands") if self._has_delegates else None

    def model(self) -> str | None:
        """The model of the first call that names one."""
        responses = (
            event.tool_call_metadata.model_response for event in self._events if event.tool_call_metadata
        )
        models = (response.model for response in responses if response)
        return next((model for model in models if isinstance(model, str) and model), None)

    def tell(self) -> None:
        for index, event in enumerate(self._events):
            self._story.at((index + 2) * MINUTE if not self._timed else local_instant(event.timestamp) or 0)
            key = str(event.id) if type(event.id) is int else f"n{index}"
            if isinstance(event.action, str) and event.action:
                self._tell_action(key, index, event)
            elif isinstance(event.observation, str) and event.observation:
                self._tell_observation(key, event)

    def _is_asking(self, index: int) -> bool:
        event = self._events[index]
        return event.action == "message" and (event.source == "user" or (event.source is None and index == 0))

    def _is_unnamed_reply(self, index: int) -> bool:
        """A reply whose model response is not recorded with it."""
        event = self._events[index]
        named = event.tool_call_metadata is not None and event.tool_call_metadata.model_response is not None
        decided = event.source == "agent" or event.source is None
        replied = isinstance(event.action, str) and event.action in _REPLIES
        return not named and decided and replied and not self._is_asking(index)

    def _tell_action(self, key: str, index: int, event: Event) -> None:
        args = _object(event.args)
        self._tell_model_call(key, index, event)
        if self._is_asking(index):
            self._story.said(True, _said(event), key)
        elif event.action == "message":
            self._story.said(False, _said(event), key, agent=self._agent())
        elif event.action in _REPLIES:
            self._story.said(False, args.get("thought") or event.thought, key, agent=self._agent())
        if event.action == "finish":
            self._finish(args, event)
        elif event.action in _COMMANDS:
            self._begin(key, event, args)

    def _tell_model_call(self, key: str, index: int, event: Event) -> None:
        response = event.tool_call_metadata.model_response if event.tool_call_metadata else None
        if response is None:
            if self._is_unnamed_reply(index):
                cost = self._costs[self._unnamed] if self._costs else None
                self._unnamed += 1
                usage = usage_of(None, cost_of(cost))
                self._story.model_call(key, None, usage, agent=self._agent())
            return
        response_key = response.id if isinstance(response.id, str) and response.id else key
        cost = self._spent_since(event)
        if response_key not in self._told:
            self._told.add(response_key)
            choices = or_none(_decode_choices, response.choices)
            more: dict[str, Any] = {
                "finish_reason": finish_reason_of(choices[0].finish_reason) if choices else None
            }
            usage = usage_of(response.usage, cost)
            self._story.model_call(response_key, response.model, usage, agent=self._agent(), **more)

    def _spent_since(self, event: Event) -> float | None:
        """The growth of the cost so far: what this call cost, where prices are known."""
        spent = cost_of(event.llm_metrics.accumulated_cost) if event.llm_metrics else None
        if spent is None or spent <= self._spent:
            return None
        grown, self._spent = spent - self._spent, spent
        return round(grown, _PRECISION)

    def _begin(self, key: str, event: Event, args: dict[str, Any]) -> None:
        flat = {"command": event.command, "code": event.code, "path": event.path}
        given = args or {name: value for name, value in flat.items() if value is not None}
        agent = self._agent()
        if event.action == "run":
            self._story.begin(key, "run", {"command": given.get("command")}, agent=agent)
            return
        told = {name: given[name] for name in _ARGUMENTS if given.get(name) is not None}
        self._story.begin(key, str(event.action), told or None, agent=agent)
        if event.action == "delegate":
            self._delegate(key, _text(given.get("agent")) or "delegate", agent, given.get("inputs"))

    def _delegate(self, key: str, to: str, agent: str | None, inputs: Any) -> None:
        """From here on until the delegate has answered it is the delegate who acts."""
        told = _object(inputs).get("task")
        text = cut(told, TEXT_LIMIT) if isinstance(told, str) else None
        self._story.tell("run.sub_agent", {"agent": agent, "to": to, "text": text}, key, summary=to)
        self._delegates.append(to)

    def _tell_observation(self, key: str, event: Event) -> None:
        if event.observation == "agent_state_changed":
            self._tell_state(_object(event.extras).get("agent_state"))
            return
        cause = str(event.cause) if type(event.cause) is int else None
        if cause is None and event.source is None:
            cause = self._story.oldest_open()
        text = text_of(event.content)
        if event.observation == "delegate" and self._delegates:
            self._delegates.pop()
        if event.observation == "user_rejected" and cause is not None:
            told = {"decision": "deny", "credential_id": self._story.tool_of(cause), "call_id": cause}
            self._story.tell("keeper.decision", told, cause, summary=text, actor="user", severity="warn")
            return
        if cause is not None and self._story.is_open(cause):
            self._end(cause, event, text)
        elif event.observation == "error":
            told = {"error": cut(text, TEXT_LIMIT)}
            self._story.tell("run.error", told, key, summary=text, actor="system", severity="warn")

    def _end(self, cause: str, event: Event, text: str) -> None:
        """An exit code wins over the flag, the flag over words. A command that still runs has no end yet."""
        extras = _object(event.extras)
        codes = (_object(extras.get("metadata")).get("exit_code"), extras.get("exit_code"), event.exit_code)
        code = next((code for code in codes if type(code) is int), None)
        if code == _STILL_RUNNING:
            return
        if code is not None:
            failed = code != 0
        elif event.observation == "error":
            failed = True
        elif type(event.success) is bool:
            failed = not event.success
        else:
            failed = _FAILED.match(text) is not None
        self._story.end(cause, exit_code=code, error=text if failed else None, output=text)

    def _tell_state(self, state: Any) -> None:
        status = _STATES.get(state) if isinstance(state, str) else None
        if status is None or self._ended:
            return
        self._ended = True
        self._story.goal(status)
        outcome = {"completed": "succeeded", "stopped": "aborted"}.get(status, "failed")
        self._story.outcome(outcome, "agent")

    def _finish(self, args: dict[str, Any], event: Event) -> None:
        """The agent's own word; files without `task_completed` know no other end than a finished one."""
        done = args.get("task_completed")
        completed = done is None or done is True or (isinstance(done, str) and done.lower() == "true")
        self._ended = True
        answer = args.get("final_thought") or _said(event)
        self._story.concluded(answer, agent=self._agent())
        self._story.goal("completed" if completed else "failed", answer)
        self._story.outcome("succeeded" if completed else "failed", "agent")


def _said(event: Event) -> str:
    content = _object(event.args).get("content")
    for text in (content, event.content, event.message, event.thought):
        if isinstance(text, str) and text:
            return text
    return ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
