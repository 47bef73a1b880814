"""mini-swe-agent runs: a list of messages, since version 1 wrapped with what is known of the run.

Each reply of the model holds one command; the message after it is what the command gave, with its exit
code. Where messages have no times they are dated one minute apart from 1970 on (`clock: "ordinal"`).
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._chat import (
    Message,
    begins_as_message_list,
    content_id,
    decode_message,
    is_message_list,
    speaks_mini,
    usage_of,
)
from quartermaster.adapters._documents import is_cut, members_by_name, read_list, read_object, records_of
from quartermaster.adapters._entries import Mission, finish_reason_of
from quartermaster.adapters._story import MINUTE, Story, cost_of, text_of, title_of
from quartermaster.core.journal import minted_id

_COMMAND: Final = re.compile(r"```(?:mswea_bash_command|bash|sh)\s*\n(.*?)\n?```", re.DOTALL)
_EXIT_CODE: Final = re.compile(
    r"\s*(?:<exception>.{0,2000}?</exception>\s*)?<returncode>(-?\d{1,9})<", re.DOTALL
)
_TIMED_OUT: Final = re.compile(r"\s*The last command .{0,2000}timed out", re.DOTALL)
_FINISHES: Final = re.compile(r"COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT|MINI_SWE_AGENT_FINAL_OUTPUT")
_ASKED: Final = re.compile(r"(?:solve this (?:issue|task)|<pr_description>|Your task):?\s*(.+)")
_OUTCOMES: Final = {
    "Submitted": "succeeded",
    "LimitsExceeded": "limit_reached",
    "TimeExceeded": "timed_out",
    "UserInterruption": "aborted",
    "KeyboardInterrupt": "aborted",
}
_NANOSECONDS: Final = 10**9
_LATEST: Final = 2**33


class _Document(msgspec.Struct, gc=False):
    messages: list[Message] = []
    info: Any = None
    instance_id: Any = None


_decoder = msgspec.json.Decoder(_Document)


class MiniSweAgent:
    """Files named `.traj.json`, wrapped or bare."""

    name = "mini_swe_agent"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Messages with the marks of the agent, or an info block that tells its version beside messages."""
        if begins_as_message_list(head):
            return speaks_mini(head)
        members = members_by_name(head)
        if b"info" not in members or b"messages" not in members:
            return False
        told = {member.name for member in json.members(head, members[b"info"])}
        return is_message_list(head, members[b"messages"]) and bool({b"mini_version", b"model_stats"} & told)

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the run; a malformed message costs that message."""
        start = json.start_of(document)
        if document[start : start + 1] == b"[":
            messages, rejected = read_list(document, decode_message)
            read = _Document(messages)
        else:
            found, rejected = read_object(document, _decoder, {"messages": decode_message})
            read = found or _Document()
        known = _first_time(read.messages) is not None or not is_cut(document, rejected)
        entries = _Run(read).entries() if known else []
        return records_of(document, entries, rejected, "the run has no replies of a model")


class _Run:
    """The entries of one run."""

    def __init__(self, document: _Document) -> None:
        self._messages = [one for one in document.messages if isinstance(one.role, str)]
        self._info = _object(document.info)
        self._task = document.instance_id
        self._first = _first_time(self._messages)
        self._story = Story(Mission("mini_swe_agent", self._mission_id()))
        self._calls = [one for one in self._messages if one.role == "assistant"]
        self._model = _object(_object(self._info.get("config")).get("model")).get("model_name")
        self._total = self._cost_of_the_run()

    def entries(self) -> list[bytes]:
        if not self._calls:
            return []
        story = self._story
        story.at(MINUTE if self._first is None else self._first)
        story.created(self._facts())
        for index, message in enumerate(self._messages):
            story.at((index + 2) * MINUTE if self._first is None else _time_of(message) or 0)
            self._tell(index, message)
        self._tell_end()
        return story.entries

    def _cost_of_the_run(self) -> float | None:
        """The sum that the run recorded; None where its calls tell their own."""
        if any(cost_of(_object(one.extra).get("cost")) for one in self._calls):
            return None
        return cost_of(_object(self._info.get("model_stats")).get("instance_cost"))

    def _mission_id(self) -> str:
        timed = next((one for one in self._messages if _time_of(one) is not None), None)
        if timed is None:
            return "mini_" + content_id("mini_swe_agent", self._messages)
        return "mini_" + minted_id("mini_swe_agent", str(_time_of(timed)), text_of(timed.content))[2:]

    def _facts(self) -> dict[str, Any]:
        asked = next((text_of(one.content) for one in self._messages if one.role == "user"), "")
        found = _ASKED.search(asked)
        status = self._info.get("exit_status")
        task = self._task if isinstance(self._task, str) and self._task else None
        version = self._info.get("mini_version")
        return {
            "title": title_of(found[1] if found else asked),
            "task": f"mini_swe_agent/{task}" if task else None,
            "agent": "mini-swe-agent",
            "model": self._model if isinstance(self._model, str) else None,
            "version": version if isinstance(version, str) else None,
            "labels": {"exit_status": status} if isinstance(status, str) and status else None,
            "clock": "ordinal" if self._first is None else None,
        }

    def _tell(self, index: int, message: Message) -> None:
        story, key, text = self._story, str(index), text_of(message.content)
        if message.role == "assistant":
            self._tell_call(key, message)
            story.said(False, text, key)
            for number, command in enumerate(_commands_of(message, text)):
                story.begin(f"{key}.{number}", "bash", {"command": command})
            return
        waiting = story.oldest_open()
        if waiting is not None and message.role in ("user", "tool"):
            self._tell_result(waiting, message, text)
        elif message.role == "user":
            story.said(True, text, key)

    def _tell_call(self, key: str, message: Message) -> None:
        extra = _object(message.extra)
        response = _object(extra.get("response"))
        model = response.get("model")
        if not isinstance(model, str):
            model = self._model
        cost = cost_of(extra.get("cost"))
        choices = response.get("choices")
        choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
        more: dict[str, Any] = {"finish_reason": finish_reason_of(choice.get("finish_reason"))}
        if cost is not None or self._total is None:
            self._story.model_call(key, model, usage_of(response.get("usage"), cost), **more)
        elif message is self._calls[-1]:
            usage = usage_of(response.get("usage"), self._total)
            self._story.model_call(key, model, usage, counts="the whole run", **more)
        else:
            usage = usage_of(response.get("usage"), 0.0)
            self._story.model_call(key, model, usage, counted_by="the last call of the run", **more)

    def _tell_result(self, waiting: str, message: Message, text: str) -> None:
        extra = _object(message.extra)
        code = extra.get("returncode")
        if type(code) is not int:
            found = _EXIT_CODE.match(text)
            code = int(found[1]) if found else None
        failed = code != 0 if code is not None else _TIMED_OUT.match(text) is not None
        output = _without_code(text)
        self._story.end(waiting, exit_code=code, error=output or "failed" if failed else None, output=output)

    def _tell_end(self) -> None:
        """The info block says how the run ended; a bare list ends well where its last command submits."""
        status = self._info.get("exit_status")
        if not isinstance(status, str) or not status:
            if self._info or not any(_FINISHES.search(one) for one in _last_commands(self._messages)):
                return
            status = "Submitted"
        self._story.goal("completed" if status == "Submitted" else "failed", self._info.get("submission"))
        self._story.outcome(_OUTCOMES.get(status, "failed"), "agent")


def _commands_of(message: Message, text: str) -> list[str]:
    actions = _object(message.extra).get("actions")
    if isinstance(actions, list):
        told = [one.get("command") if isinstance(one, dict) else one for one in actions]
        return [one for one in told if isinstance(one, str) and one]
    found = [one.strip() for one in _COMMAND.findall(text)]
    return found if len(found) == 1 and found[0] else []


def _last_commands(messages: list[Message]) -> list[str]:
    """The commands of the last reply, where something came after it."""
    replies = [one for one in messages if one.role == "assistant"]
    if not replies or messages[-1] is replies[-1]:
        return []
    return _commands_of(replies[-1], text_of(replies[-1].content))


def _without_code(text: str) -> str:
    found = _EXIT_CODE.match(text)
    rest = text[found.end() - 1 :].removeprefix("</returncode>") if found else text
    return rest.replace("<output>", "").replace("</output>", "").strip()


def _first_time(messages: list[Message]) -> int | None:
    return next((time for one in messages if (time := _time_of(one)) is not None), None)


def _time_of(message: Message) -> int | None:
    time = _object(message.extra).get("timestamp")
    if (type(time) is float or type(time) is int) and 0 < time < _LATEST:
        return int(time * _NANOSECONDS)
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


ADAPTER: Final[DocumentAdapter] = MiniSweAgent()
