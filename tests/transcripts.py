"""Transcripts for tests, an event at a time."""

from typing import Any

from quartermaster.core.transcript import Event, EventKind, Transcript

SECOND = 10**9


def call(name: str, arguments: Any = None, *, succeeded: bool | None = True, **more: Any) -> Event:
    """A tool call."""
    return _event(EventKind.TOOL_CALL, name, "exec.command", arguments=arguments, succeeded=succeeded, **more)


def model(name: str = "small", **more: Any) -> Event:
    """A model call."""
    return _event(EventKind.MODEL_CALL, name, "llm.call", succeeded=True, **more)


def said(text: str, **more: Any) -> Event:
    """What the agent said."""
    return _event(EventKind.AGENT_MESSAGE, "message.assistant", "message.assistant", text=text, **more)


def asked(text: str) -> Event:
    """What the user said."""
    return _event(EventKind.USER_MESSAGE, "message.user", "message.user", text=text)


def status(word: str) -> Event:
    """A status word."""
    return _event(EventKind.STATUS, word, "mission.status_change", succeeded=True)


def told(*events: Event, **facts: Any) -> Transcript:
    """A mission of these events, one a second."""
    return Transcript(mission_id=facts.pop("mission_id", "m"), events=in_order(*events), **facts)


def in_order(*events: Event) -> tuple[Event, ...]:
    """The events with their positions, ids and instants."""
    import msgspec

    return tuple(
        msgspec.structs.replace(
            event, position=index, entry_id=f"j_{index:016x}", instant=event.instant or index * SECOND
        )
        for index, event in enumerate(events)
    )


def _event(kind: EventKind, name: str, entry_type: str, **more: Any) -> Event:
    return Event(
        **{"position": 0, "entry_id": "", "instant": 0, **more}, kind=kind, name=name, entry_type=entry_type
    )
