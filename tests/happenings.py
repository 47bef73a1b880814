"""Missions in words, made event by event for tests: each function here is one thing that happens."""

from typing import Any

import msgspec

from quartermaster.core.transcript import Event, EventKind, Transcript

SECOND = 10**9
_MAKES_A_STEP = {kind for kind in EventKind if kind not in (EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE)}


def mission(*events: Event, apart: int = SECOND, **facts: Any) -> Transcript:
    """The events in their order, `apart` nanoseconds from one another unless they have an instant."""
    numbered, steps = [], 0
    for position, event in enumerate(events):
        is_step = event.kind in _MAKES_A_STEP - {EventKind.NOTE}
        numbered.append(
            msgspec.structs.replace(
                event,
                position=position,
                entry_id=f"e{position}",
                instant=event.instant or (position + 1) * apart,
                step=steps if is_step else None,
            )
        )
        steps += is_step
    return Transcript(mission_id="m", events=tuple(numbered), **facts)


def happens(kind: EventKind, name: str = "", **told: Any) -> Event:
    facts = {"instant": 0, "entry_type": name or kind.name.lower(), "agent": "agent"} | told
    return Event(position=0, entry_id="", kind=kind, name=name, **facts)


def call(
    tool: str = "search", *, output: str | None = "found", failed: bool = False, **arguments: Any
) -> Event:
    """A tool call with its answer."""
    return happens(
        EventKind.TOOL_CALL,
        tool,
        arguments=arguments,
        succeeded=not failed,
        output=output,
        error=output if failed else None,
    )


def model(**told: Any) -> Event:
    return happens(EventKind.MODEL_CALL, "some-model", **told)


def says(text: str, agent: str = "agent") -> Event:
    return happens(EventKind.AGENT_MESSAGE, text=text, agent=agent)


def asks(text: str) -> Event:
    return happens(EventKind.USER_MESSAGE, text=text, agent=None)


def delegates(agent: str, to: str, text: str = "please look into it") -> Event:
    return happens(EventKind.DELEGATION, agent=agent, to=to, text=text)
