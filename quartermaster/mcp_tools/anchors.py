"""Places in a mission that an answer points at and that `expand` opens: `MISSION#step 12`."""

import re
from typing import Final, Literal

import msgspec

from quartermaster.core.transcript import Event
from quartermaster.errors import UsageError

Kind = Literal["step", "event", "entry"]

_NUMBERED: Final = re.compile(r"(.+)#(step|event) ?([0-9]{1,9})", re.DOTALL)
_ENTRY: Final = re.compile(r"(.+)#(entry) ?(\S.*)", re.DOTALL)


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """One place. `number` is that of a step (the first is 1, as reports count) or the position of an event
    (the first is 0, as differences count); `entry_id` is that of an entry."""

    mission: str
    kind: Kind
    number: int = 0
    entry_id: str = ""


def parse_anchor(text: str) -> Anchor:
    """What an anchor means; raises UsageError for anything else."""
    if found := _NUMBERED.fullmatch(text):
        kind: Kind = "step" if found[2] == "step" else "event"
        return Anchor(mission=found[1], kind=kind, number=int(found[3]))
    if found := _ENTRY.fullmatch(text):
        return Anchor(mission=found[1], kind="entry", entry_id=found[3])
    raise UsageError(
        f"{text!r} is no anchor; answers give them: MISSION#step 12, MISSION#event 12, MISSION#entry ID"
    )


def step_anchor(mission_id: str, index: int) -> str:
    """The step of that index, which counts from 0."""
    return f"{mission_id}#step {index + 1}"


def event_anchor(mission_id: str, event: Event) -> str:
    """The step that the event is, or the event where it makes no step."""
    if event.step is not None:
        return step_anchor(mission_id, event.step)
    return f"{mission_id}#event {event.position}"
