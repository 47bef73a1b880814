"""What all detectors of failure modes look at: one mission, its keys, and what is known around it.

Everything that reads text is made once, when the first detector asks for it, and kept for the others.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, Final, TypeVar

import msgspec

from quartermaster.core.step_keys import VOLATILE, Patterns, StepKeys, error_class
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import BUDGETS, Event, EventKind, Transcript

Made = TypeVar("Made")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What is known besides the recording. All of it is optional; a rule that needs more says so.

    Budgets and costs are picodollars, instants nanoseconds. `context_window` gives the tokens that a model
    can take. `earlier_costs` are those of earlier runs of the same task. `tools` overrides what the
    recording declares; `read_only_tools` change nothing in the world. `tool_schemas` are JSON schemas by
    tool, `agent_tools` the tools that each agent may use, `required_tools` those that must have run.
    `now` is given while the mission is running. `volatile` are patterns of what differs without meaning.
    """

    cost_budget: int | None = None
    step_budget: int | None = None
    seconds_budget: float | None = None
    context_window: Callable[[str], int | None] | None = None
    earlier_costs: tuple[int, ...] = ()
    tools: tuple[str, ...] | None = None
    read_only_tools: frozenset[str] = frozenset()
    tool_schemas: Mapping[str, Any] = {}
    agent_tools: Mapping[str, tuple[str, ...]] = {}
    required_tools: tuple[str, ...] = ()
    now: int | None = None
    volatile: Patterns = VOLATILE


class Waste(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent on events that brought nothing. `cost` is picodollars.

    None is unknown: a model call among them says nothing of it, or the recording has no clock.
    """

    steps: int = 0
    tokens: int | None = None
    cost: int | None = None
    seconds: float | None = None


NO_WASTE: Final = Waste()

_READING: Final = re.compile(
    r"(?:^|[^a-z])(?:get|list|read|search|find|fetch|query|lookup|look|show|view|describe|check|count|calculate|"
    r"grep|glob|ls|cat|head|tail|stat|pwd|wc|think|browse|open|scroll|visit|web_?search|web_?fetch|"
    r"status|diff|log|which|tree|rg|sed -n|echo)(?:$|[^a-z])"
)
_READING_PROGRAMS: Final = frozenset(
    re.findall(
        r"\S+",
        "awk basename cat cd cut date df diff dirname du echo env egrep fgrep file find grep head jq less ls "
        "nl printenv ps pwd readlink realpath rg sort stat tail test tree true type uniq wc which whoami",
    )
)
_WRITING_SHELL: Final = re.compile(
    r"(?<![0-9&<>-])>(?!&|\s*/dev/null)|\bsed\b.*\s-i|\btee\b|\bxargs\b|-delete|-exec|[`]|\$\("
)
_SEPARATORS: Final = re.compile(r"\s*(?:&&|\|\|?|;|\n)\s*")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Evidence:
    """A mission as the detectors see it. Positions are indices of `events`."""

    def __init__(self, transcript: Transcript, context: Context) -> None:
        self.transcript = transcript
        self.context = _with_declarations(context, transcript)
        self.events: tuple[Event, ...] = transcript.events
        self.keys = StepKeys(context.volatile)
        self._writes: dict[tuple[str, str | None], bool] = {}
        self._positions: dict[tuple[EventKind, ...], list[int]] = {}
        self._made: dict[Callable[[Evidence], Any], Any] = {}

    def once(self, make: Callable[["Evidence"], Made]) -> Made:
        """What `make` gives for this mission; it is asked once, however many detectors need it."""
        if make not in self._made:
            self._made[make] = make(self)
        made: Made = self._made[make]
        return made

    def positions(self, *kinds: EventKind) -> list[int]:
        """Positions of the events of these kinds, in order; nobody may change the list."""
        found = self._positions.get(kinds)
        if found is None:
            lists = [self._by_kind[kind] for kind in kinds if kind in self._by_kind]
            found = lists[0] if len(lists) == 1 else sorted(chain.from_iterable(lists))
            self._positions[kinds] = found
        return found

    @cached_property
    def _by_kind(self) -> dict[EventKind, list[int]]:
        found: dict[EventKind, list[int]] = {}
        for position, event in enumerate(self.events):
            found.setdefault(event.kind, []).append(position)
        return found

    @cached_property
    def calls(self) -> list[int]:
        """Positions of tool calls."""
        return self.positions(EventKind.TOOL_CALL)

    @cached_property
    def steps(self) -> list[int]:
        """Positions of what is a step of the contract trajectory or a message."""
        spoken = self.positions(EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE, EventKind.DELEGATION)
        counted = [position for position, event in enumerate(self.events) if event.step is not None]
        return sorted({*counted, *spoken}) if spoken else counted

    @cached_property
    def step_keys(self) -> list[int]:
        """The step key of every event."""
        return self.keys.steps(self.events)

    @cached_property
    def outcome_keys(self) -> list[int | None]:
        """The outcome key of every tool call; None elsewhere and where no outcome was recorded."""
        keys: list[int | None] = [None] * len(self.events)
        for position in self.calls:
            event = self.events[position]
            if _is_answered(event):
                keys[position] = self.keys.outcome(event)
        return keys

    @cached_property
    def texts(self) -> list[str]:
        """What was said at every event, volatile parts masked and white space collapsed; "" for nothing."""
        return [self.keys.mask(event.text) if event.text else "" for event in self.events]

    @cached_property
    def error_classes(self) -> list[str | None]:
        """The class of error of every failed call; None elsewhere."""
        return [
            error_class(event.error or event.output) if event.succeeded is False else None
            for event in self.events
        ]

    @cached_property
    def declared_tools(self) -> frozenset[str] | None:
        """The names of the tools at hand; None where nobody declared them."""
        tools = self.context.tools if self.context.tools is not None else self.transcript.tools
        return None if tools is None else frozenset(tools)

    @cached_property
    def called_tools(self) -> frozenset[str]:
        """The names of the tools that were called."""
        return frozenset(self.events[position].name for position in self.calls)

    def may_write(self, event: Event) -> bool:
        """Whether a call may change the world: every call that is not known to read only."""
        key = (event.name, event.command)
        known = self._writes.get(key)
        if known is None:
            known = self._writes[key] = self._tell_writing(event)
        return known

    def _tell_writing(self, event: Event) -> bool:
        if event.name in self.context.read_only_tools:
            return False
        if event.command is not None:
            return not reads_only(event.command)
        return _READING.search(_CAMEL.sub("_", event.name).lower()) is None

    def waste(self, positions: Iterable[int]) -> Waste:
        """What the events at these positions cost, in their order; seconds from the first to the last end."""
        wasted = positions if isinstance(positions, range | list | tuple) else list(positions)
        if not wasted:
            return NO_WASTE
        first, last = wasted[0], wasted[-1]
        if isinstance(wasted, range) and wasted.step == 1:
            steps, tokens, cost = (
                sums[last + 1] - sums[first] for sums in (self._step_sums, self._token_sums, self.cost_sums)
            )
            unknown_tokens = self._unknown_tokens[last + 1] - self._unknown_tokens[first]
            unknown_cost = self._unknown_cost[last + 1] - self._unknown_cost[first]
        else:
            events = [self.events[position] for position in wasted]
            steps = sum(event.step is not None for event in events)
            tokens = sum(event.tokens or 0 for event in events)
            cost = sum(event.cost or 0 for event in events)
            unknown_tokens = sum(_lacks(event, event.tokens) for event in events)
            unknown_cost = sum(_lacks(event, event.cost) for event in events)
        calls_models = bool(self.positions(EventKind.MODEL_CALL))
        return Waste(
            steps=steps,
            tokens=tokens if calls_models and not unknown_tokens else None,
            cost=cost if calls_models and not unknown_cost else None,
            seconds=self.seconds(first, last),
        )

    def seconds(self, first: int, last: int) -> float | None:
        """From the start of one event to the end of another; None for a recording without a clock."""
        if not self.transcript.timed:
            return None
        ended = self.events[last].ended_at or self.events[last].instant
        return max(0, ended - self.events[first].instant) / 1e9

    @cached_property
    def _step_sums(self) -> list[int]:
        return _sums([event.step is not None for event in self.events])

    @cached_property
    def _token_sums(self) -> list[int]:
        return _sums([event.tokens or 0 for event in self.events])

    @cached_property
    def cost_sums(self) -> list[int]:
        return _sums([event.cost or 0 for event in self.events])

    @cached_property
    def _unknown_tokens(self) -> list[int]:
        return _sums([_lacks(event, event.tokens) for event in self.events])

    @cached_property
    def _unknown_cost(self) -> list[int]:
        return _sums([_lacks(event, event.cost) for event in self.events])


def _with_declarations(context: Context, transcript: Transcript) -> Context:
    """What the recording declares stands where nothing else is known."""
    cost, steps, seconds = (transcript.budgets.get(name) for name in BUDGETS)
    return msgspec.structs.replace(
        context,
        cost_budget=context.cost_budget or (None if cost is None else round(cost * PICODOLLARS)),
        step_budget=context.step_budget or (None if steps is None else int(steps)),
        seconds_budget=context.seconds_budget or seconds,
        tool_schemas=context.tool_schemas or transcript.tool_schemas,
        agent_tools=context.agent_tools or transcript.agent_tools,
        required_tools=context.required_tools or transcript.required_tools,
    )


def reads_only(command: str) -> bool:
    """Whether every program of a command line is one that is known to read only."""
    if _WRITING_SHELL.search(command):
        return False
    parts = [part.split() for part in _SEPARATORS.split(command.strip()) if part.strip()]
    return bool(parts) and all(_program_reads(words) for words in parts)


def _program_reads(words: list[str]) -> bool:
    program = words[0].rpartition("/")[2]
    if program == "git":
        return len(words) > 1 and words[1] in {"status", "log", "diff", "show", "blame", "ls-files", "grep"}
    return program in _READING_PROGRAMS or (program == "sed" and "-n" in words)


def _is_answered(event: Event) -> bool:
    return event.succeeded is not None or event.output is not None or event.refused


def _lacks(event: Event, value: int | None) -> bool:
    return event.kind is EventKind.MODEL_CALL and value is None


def _sums(values: Iterable[int]) -> list[int]:
    return [0, *accumulate(values)]
