"""OpenHands trajectories: one list of events, one mission.

A model call is a response id, however many events repeat it. Times have no zone and are taken as UTC
(`clock: "local"`). One event alone, as sessions keep them in a folder, does not say whose it is.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import element_names, is_cut, members_by_name, read_list, records_of
from quartermaster.adapters._entries import Mission
from quartermaster.adapters._openhands import Event, Events, decode_event
from quartermaster.adapters._story import Story, text_of, title_of
from quartermaster.core.journal import minted_id

_EVENT: Final = frozenset({b"id", b"timestamp", b"source"})
_KINDS: Final = frozenset({b"action", b"observation"})
_ALONE: Final = "one event does not say which session it belongs to; export the session as one trajectory"


class OpenHands:
    """Trajectory files, and the single events of a session's folder, which are told apart and refused."""

    name = "openhands"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A list of events with a source and an action or observation, or one such event."""
        for names in element_names(head, json.start_of(head)):
            if b"source" in names and names & _KINDS:
                return True
        members = members_by_name(head).keys()
        return members >= _EVENT and bool(members & _KINDS)

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the run; a malformed event costs that event."""
        start = json.start_of(document)
        if document[start : start + 1] == b"{":
            yield RejectedLine(start, len(document) - start, _ALONE)
            return
        events, rejected = read_list(document, decode_event)
        known = bool(events) and (isinstance(events[0].timestamp, str) or not is_cut(document, rejected))
        yield from records_of(
            document, _entries_of(events) if known else [], rejected, "the trajectory has no events"
        )


def _entries_of(read: list[Event]) -> list[bytes]:
    story = Story(Mission("openhands", "oh_" + _identity(read)))
    events = Events(story, read)
    story.at(events.began())
    system = events.system()
    story.created(
        {
            "title": title_of(events.asked()),
            "agent": "openhands",
            "model": events.model(),
            "version": _text(system.get("openhands_version")),
            "tools": events.tools(),
            "labels": {"agent_class": system["agent_class"]} if _text(system.get("agent_class")) else None,
            "clock": events.clock,
        }
    )
    events.tell()
    return story.entries


def _identity(events: list[Event]) -> str:
    """Follows from the first event where it has a time, so that a run that goes on stays one mission."""
    first = events[0]
    if isinstance(first.timestamp, str):
        return minted_id("openhands", first.timestamp, str(first.id), text_of(first.message))[2:]
    said = [text_of(event.content) + str(event.action) + str(event.command) for event in events]
    return minted_id("openhands", *said)[2:]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


ADAPTER: Final[DocumentAdapter] = OpenHands()
