"""A mission told in order, as the adapters of whole documents tell it."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters import _json as json
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    arguments_beside,
    cut,
    kept_arguments,
    kept_output,
    one_line,
)
from quartermaster.core.journal import format_instant, parse_instant
from quartermaster.errors import Rejected

_SECOND: Final = 10**9
MINUTE: Final = 60 * _SECOND
"""How far steps of a recording without a clock are put apart, from 1970 on."""

_USUAL_TIME: Final = re.compile(r"(?:19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[+-]\d\d:\d\d)?")
"""Times with an offset or without a zone, which come by the thousand, as the standard library reads them."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_MAY_BE_JSON: Final = re.compile(r"\s*(?:[\[{\"\d-]|true|false|null)")
_SHELLS: Final = frozenset({"bash", "shell", "execute_bash", "terminal", "run"})


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of one model call; they do not overlap. `cost` is None where none was recorded."""

    fresh: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    cost: float | None = None


class _Call(NamedTuple):
    id: str
    command: str
    tool: str | None

    def told(self, phase: str) -> dict[str, Any]:
        return {"command": self.command, "tool": self.tool, "phase": phase, "call_id": self.id}


class Story:
    """The entries of one mission in the order of telling, which is the order of their times."""

    def __init__(self, mission: Mission) -> None:
        self._mission = mission
        self._digest = blake2b(mission.entry_id().encode(), digest_size=8)
        self.entries: list[bytes] = []
        self._instant = 0
        self._ties = 0
        self._second: int | None = None
        self._written_second = ""
        self._told: dict[tuple[str, ...], int] = {}
        self._open: dict[str, list[_Call]] = {}
        self._last_said = ""

    def at(self, instant: int) -> None:
        """The time of what is told from here on; time does not go back."""
        if instant > self._instant:
            self._instant, self._ties = instant, 0

    def tell(
        self,
        entry_type: str,
        payload: dict[str, Any],
        *key: str,
        summary: str = "",
        actor: str = "agent",
        severity: str = "info",
        known_as: str | None = None,
    ) -> None:
        """One entry; several of one type and key are told apart by their order.

        `known_as` is the type that the id follows from, where more of a recording may change the type.
        """
        kind = known_as or entry_type
        entry_id = self._entry_id((kind, *key, *self._again(kind, *key)))
        self.entries.append(
            self._mission.written(
                entry_id, self._stamp(), entry_type, payload, summary=summary, actor=actor, severity=severity
            )
        )

    def created(self, payload: dict[str, Any]) -> None:
        """What is known of the mission beside its events."""
        self.tell("mission.created", payload, summary=payload.get("title") or "", actor="system")

    def said(self, by_user: bool, text: Any, key: str, *, agent: str | None = None, **more: Any) -> None:
        """What a user or an agent said; blank texts say nothing. `agent` is the speaker among several."""
        if not isinstance(text, str) or not text.strip():
            return
        entry_type, actor = ("message.user", "user") if by_user else ("message.assistant", "agent")
        if not by_user:
            self._last_said = text
        payload = {"text": cut(text, TEXT_LIMIT), "agent": agent, **more}
        self.tell(entry_type, payload, key, summary=text, actor=actor)

    def concluded(self, text: Any, key: str = "final", *, agent: str | None = None) -> None:
        """The agent's final answer, where it stands beside the conversation and was not said there."""
        if isinstance(text, str) and text.strip() != self._last_said.strip():
            self.said(False, text, key, agent=agent)

    def model_call(
        self,
        key: str,
        model: Any = None,
        usage: Usage | None = None,
        *,
        entry_type: str = "llm.call",
        **more: Any,
    ) -> None:
        """One logical call of a model, or under another type what only repeats one."""
        used = usage or Usage()
        name = model if isinstance(model, str) and model else None
        payload = {
            "model": name,
            "input_tokens": used.fresh,
            "output_tokens": used.output,
            "cached_input_tokens": used.cache_read,
            "cache_creation_tokens": used.cache_write,
            "reasoning_tokens": used.reasoning,
            "cost_usd": used.cost,
            **more,
        }
        self.tell(entry_type, payload, key, summary=name or "model call", known_as="llm.call")

    def begin(
        self, recorded_id: str, tool: str, arguments: Any = None, *, agent: str | None = None, **more: Any
    ) -> None:
        """The start of a command; the command line of a shell is its name and no argument beside.

        `agent` is who calls, among several; `more` goes into the entry as it is.
        """
        line = _command_line(tool, arguments)
        call_id = "~".join((recorded_id, *self._again("call", recorded_id)))
        call = _Call(call_id, cut(line, TEXT_LIMIT) if line else tool, tool if line else None)
        self._open.setdefault(recorded_id, []).append(call)
        kept = arguments_beside(line, arguments) if line else kept_arguments(arguments)
        payload = call.told("start") | kept | {"agent": agent, **more}
        self.tell("exec.command", payload, "start", call.id, summary=call.command)

    def end(
        self,
        recorded_id: str,
        *,
        exit_code: int | None = None,
        error: str | None = None,
        output: str | None = None,
        duration_ms: int | None = None,
    ) -> bool:
        """The end of the oldest open command of this id; False where there is none.

        `error` is None for a success; a failure without words has an empty one. `output` is what the
        tool answered, of failures too.
        """
        waiting = self._open.get(recorded_id)
        if waiting is None:
            return False
        call = waiting.pop(0)
        if not waiting:
            del self._open[recorded_id]
        failed = exit_code != 0 if exit_code is not None else error is not None
        code = exit_code if exit_code is not None or not failed else 1
        payload = call.told("end") | {"exit_code": code, "duration_ms": duration_ms, **kept_output(output)}
        payload["error"] = one_line(error) or "failed" if failed and error is not None else None
        severity = "warn" if failed else "info"
        self.tell("exec.command", payload, "end", call.id, summary=call.command, severity=severity)
        return True

    def is_open(self, recorded_id: str) -> bool:
        """Whether a command of this id waits for its end."""
        return recorded_id in self._open

    def only_one_is_open(self) -> bool:
        """Whether just one command waits for its end."""
        return len(self._open) == 1 and len(next(iter(self._open.values()))) == 1

    def tool_of(self, recorded_id: str) -> str | None:
        """The tool of the command of this id that waits for its end."""
        waiting = self._open.get(recorded_id)
        return (waiting[0].tool or waiting[0].command) if waiting else None

    def oldest_open(self) -> str | None:
        """The recorded id of the command that has waited longest for its end."""
        return next(iter(self._open), None)

    def goal(self, status: str, text: Any = None) -> None:
        """The agent's own word on where the mission stands."""
        details = cut(text, TEXT_LIMIT) if isinstance(text, str) and text else None
        self.tell("mission.status_change", {"to_status": status, "details": details}, summary=status)

    def outcome(self, outcome: str, origin: str, reward: float | None = None) -> None:
        """A verdict, and who says so."""
        payload = {"outcome": outcome, "reward": reward, "origin": origin}
        self.tell("mission.outcome", payload, origin, summary=f"{outcome} ({origin})", actor="system")

    def _entry_id(self, key: tuple[str, ...]) -> str:
        """Follows from the mission and the key, as `Mission.entry_id` has it, at a third of the cost."""
        digest = self._digest.copy()
        digest.update("\0".join(key).encode("utf-8", "surrogatepass"))
        return "j_" + digest.hexdigest()

    def _stamp(self) -> str:
        """The present time; entries of one time are a nanosecond apart. A second is written out once."""
        second, fraction = divmod(self._instant + self._ties, _SECOND)
        self._ties += 1
        if second != self._second:
            self._second, self._written_second = second, format_instant(second * _SECOND)[:-1]
        return (
            f"{self._written_second}.{fraction:09d}".rstrip("0") + "Z"
            if fraction
            else self._written_second + "Z"
        )

    def _again(self, *key: str) -> tuple[str, ...]:
        """Nothing for the first of its kind, its number for a later one."""
        count = self._told[key] = self._told.get(key, 0) + 1
        return () if count == 1 else (str(count),)


def count_of(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    return value if type(value) is int and 0 <= value < 2**53 else None


def cost_of(value: Any) -> float | None:
    """Dollars that were recorded; None for what is no number, and for the zero that means unknown."""
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if 0 < value < 1e9 else None


def fresh_of(inclusive: Any, *cached: int | None) -> int | None:
    """Input that no cache was asked for, of a counter that includes what the cache gave."""
    total = count_of(inclusive)
    return None if total is None else max(total - sum(part or 0 for part in cached), 0)


def local_instant(text: Any) -> int | None:
    """Nanoseconds of an ISO time; one without a zone is taken as UTC. None for anything else."""
    if not isinstance(text, str):
        return None
    if _USUAL_TIME.fullmatch(text):
        try:
            return _since_epoch(datetime.fromisoformat(text))
        except ValueError:
            pass
    for candidate in (text, text + "Z"):
        try:
            return parse_instant(candidate)
        except Rejected:
            continue
    return None


def _since_epoch(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND * 1_000


def arguments_of(value: Any) -> Any:
    """Arguments of a call, which many write as JSON in a text; what is no JSON stays a text."""
    if not isinstance(value, str) or not _MAY_BE_JSON.match(value):
        return value
    decoded = json.decoded_or_none(value.encode("utf-8", "replace"))
    return value if decoded is None else decoded


def text_of(content: Any) -> str:
    """The text of a message's content: a text, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def title_of(text: Any) -> str | None:
    """The beginning of what was asked, as one line."""
    return (one_line(text) or None) if isinstance(text, str) else None


def _command_line(tool: str, arguments: Any) -> str | None:
    if tool not in _SHELLS:
        return None
    command = arguments.get("command") if isinstance(arguments, dict) else None
    return command if isinstance(command, str) and command else None
