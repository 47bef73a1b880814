"""Puts failures into a mission whose place is then known: what detectors are measured with.

Pure and seeded: the same transcript, numbers and seed give the same mission on every machine.
"""

from hashlib import blake2b
from typing import Any

import msgspec

from quartermaster.core.transcript import Event, EventKind, Transcript

SECOND = 10**9


class Injected(msgspec.Struct, frozen=True, kw_only=True):
    """A mission with a failure in it; `positions` are those of the injected tool calls."""

    transcript: Transcript
    positions: tuple[int, ...]


class Draws:
    """Numbers drawn from a seed, the same everywhere."""

    def __init__(self, *seed: Any) -> None:
        self._seed = "\0".join(map(str, seed))
        self._drawn = 0

    def below(self, limit: int) -> int:
        """A whole number from zero to `limit`, without it."""
        self._drawn += 1
        framed = f"{self._seed}\0{self._drawn}".encode()
        return int.from_bytes(blake2b(framed, digest_size=8).digest(), "big") % limit

    def hexadecimal(self, digits: int) -> str:
        return "".join("0123456789abcdef"[self.below(16)] for _ in range(digits))


def make_mission(steps: int, seed: int, *, mission_id: str = "made") -> Transcript:
    """A mission of an agent that gets on: it reads, searches, edits and tests, and every call is another
    one or finds another answer. A test after an edit may be the same command with another result."""
    draws = Draws("mission", steps, seed)
    events = [_event(0, EventKind.USER_MESSAGE, "message.user", text="make the failing tests pass")]
    while len(events) < 2 * steps:
        turn = len(events)
        events.append(_event(turn, EventKind.MODEL_CALL, "llm.call", name="made-model", agent="agent"))
        events.append(_working_call(turn + 1, draws))
    events.append(
        _event(len(events), EventKind.AGENT_MESSAGE, "message.assistant", text="All tests pass now.")
    )
    return _numbered(Transcript(mission_id=mission_id, events=()), events, "made")


def inject_loop(
    transcript: Transcript, period: int, repeats: int, seed: int, *, failing: bool = False
) -> Injected:
    """`repeats` rounds of the same `period` calls after a drawn step of the mission.

    Every call holds a request id, an instant and a temporary path that differ from round to round, as
    real calls do; every round gives the same answers, or fails in the same way.
    """
    draws = Draws("loop", period, repeats, seed)
    ends = [event.position + 1 for event in transcript.events if event.kind is EventKind.TOOL_CALL] or [0]
    at = ends[draws.below(len(ends))]
    made: list[Event] = []
    name = draws.hexadecimal(6)
    for _ in range(repeats):
        for turn in range(period):
            made.append(_event(0, EventKind.MODEL_CALL, "llm.call", name="made-model", agent="agent"))
            made.append(_looping_call(f"{name}_{turn}", draws, failing))
    events = [*transcript.events[:at], *made, *transcript.events[at:]]
    positions = tuple(at + index for index in range(1, len(made), 2))
    return Injected(transcript=_numbered(transcript, events, f"loop_{name}"), positions=positions)


def inject_progress(transcript: Transcript, period: int, repeats: int, seed: int) -> Injected:
    """What looks like a loop and is none: the same calls over and over, and each round answers otherwise,
    as pages of a list or a job that is waited for do."""
    looped = inject_loop(transcript, period, repeats, seed)
    events = list(looped.transcript.events)
    for index, position in enumerate(looped.positions):
        answer = f"item {index + 1} of {len(looped.positions)} is done"
        events[position] = msgspec.structs.replace(events[position], output=answer)
    return msgspec.structs.replace(
        looped, transcript=msgspec.structs.replace(looped.transcript, events=tuple(events))
    )


def _working_call(position: int, draws: Draws) -> Event:
    path = f"src/module_{draws.below(10_000)}.py"
    line = draws.below(5_000)
    failed = draws.below(10) == 0
    match draws.below(4):
        case 0:
            return _call(position, "read_file", {"path": path, "line": line}, f"{line}: def part_{line}():")
        case 1:
            word = f"name_{draws.below(10_000)}"
            return _call(position, "search", {"query": word}, f"{path}:{line}: {word}", failed=failed)
        case 2:
            return _call(position, "edit_file", {"path": path, "text": f"return {line}"}, "written")
        case _:
            told = f"{draws.below(60)} failed, {line} passed"
            return _call(position, "shell", "pytest -q", told, failed=failed)


def _looping_call(name: str, draws: Draws, failing: bool) -> Event:
    arguments = {
        "query": name,
        "request": f"req_{draws.hexadecimal(12)}",
        "since": f"2026-01-{1 + draws.below(28):02d}T{draws.below(24):02d}:00:00Z",
        "into": f"/tmp/{draws.hexadecimal(8)}/out.txt",  # noqa: S108 - words of a recording
    }
    answer = f"Error: {name} timed out" if failing else f"no result for {name}"
    return _call(0, f"lookup_{name}", arguments, answer, failed=failing)


def _call(position: int, tool: str, arguments: Any, output: str, *, failed: bool = False) -> Event:
    return _event(
        position,
        EventKind.TOOL_CALL,
        "exec.command",
        name=tool,
        agent="agent",
        command=arguments if isinstance(arguments, str) else None,
        arguments=None if isinstance(arguments, str) else arguments,
        succeeded=not failed,
        error=output if failed else None,
        output=output,
        duration_ms=500,
    )


def _event(position: int, kind: EventKind, entry_type: str, **told: Any) -> Event:
    facts = {"name": entry_type, "agent": None} | told
    if kind is EventKind.MODEL_CALL:
        facts |= {"succeeded": True, "tokens": 1_200, "input_tokens": 1_000, "output_tokens": 200}
        facts |= {"cost": 5 * 10**9}
    return Event(position=position, entry_id="", instant=0, kind=kind, entry_type=entry_type, **facts)


def _numbered(transcript: Transcript, events: list[Event], name: str) -> Transcript:
    """The events with positions, ids, steps and seconds of their order; ids that are known stay."""
    steps = 0
    numbered = []
    for position, event in enumerate(events):
        is_step = event.kind in (EventKind.MODEL_CALL, EventKind.TOOL_CALL) or event.step is not None
        instant = position * SECOND
        numbered.append(
            msgspec.structs.replace(
                event,
                position=position,
                entry_id=event.entry_id or f"{name}_{position}",
                instant=instant,
                ended_at=None if event.duration_ms is None else instant + event.duration_ms * 1_000_000,
                step=steps if is_step else None,
            )
        )
        steps += is_step
    return msgspec.structs.replace(transcript, events=tuple(numbered))
