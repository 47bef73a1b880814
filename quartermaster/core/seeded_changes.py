"""Known changes made to a recording on purpose, to measure whether a comparison names them.

Each takes native entries and gives those of the changed mission, with the kind that the change is to be
called and the entry at which both missions part. What is chosen depends on the seed alone. None: the
recording has nothing that could be changed so.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import msgspec

from quartermaster.core.changes import Kind
from quartermaster.core.journal import format_instant, read_entry
from quartermaster.core.transcript import Event, EventKind, transcript_of

REFUSAL: Final = "I'm sorry, but I can't help with that request."
FAILURES: Final = 6
ROUNDS: Final = 5

_MILLISECOND: Final = 10**6
_SAID_IN: Final = ("text", "message", "content", "details", "question")


class Seeded(msgspec.Struct, frozen=True, kw_only=True):
    """A changed mission. `parts_at` is the entry where it parts from the untouched one: of the candidate, or
    of the baseline where steps were taken away."""

    baseline: tuple[bytes, ...]
    candidate: tuple[bytes, ...]
    kind: Kind
    parts_at: str


Seed = Callable[[Sequence[bytes], int], Seeded | None]


def fail_results(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """Six tool results become failures."""
    calls = [event for event in _calls(raws) if event.succeeded and not event.refused]
    if len(calls) < FAILURES:
        return None
    chosen = sorted(_drawn(calls, seed)[:FAILURES], key=lambda event: event.position)
    ends = {event.ended_id or event.entry_id for event in chosen}

    def fail(payload: dict[str, Any]) -> None:
        payload.pop("success", None)
        payload |= {"exit_code": 1, "error": "the tool failed", "output": "Error: the tool failed"}

    return _seeded(raws, "results failed", chosen[0].entry_id, _changed(raws, ends, fail))


def refuse(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """The final answer becomes a refusal."""
    answer = transcript_of(raws).final_answer
    if answer is None:
        return None

    def decline(payload: dict[str, Any]) -> None:
        key = next((key for key in _SAID_IN if payload.get(key)), "text")
        payload[key] = REFUSAL

    return _seeded(raws, "refusal", answer.entry_id, _changed(raws, {answer.entry_id}, decline))


def change_arguments(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """The arguments of every shell command change; of every call where none has a command line."""
    calls = _calls(raws)
    shells = [event for event in calls if event.command is not None] or calls
    if not shells:
        return None

    def change(payload: dict[str, Any]) -> None:
        arguments = payload.get("arguments")
        if isinstance(payload.get("cmd"), list):
            payload["cmd"] = [*payload["cmd"], f"--seeded={seed}"]
        elif shells is not calls or any(event.command for event in shells):
            payload["command"] = f"{payload.get('command') or ''} --seeded={seed}"
        else:
            payload["arguments"] = (arguments if isinstance(arguments, dict) else {}) | {"seeded": seed}

    ids = {one for event in shells for one in (event.entry_id, event.ended_id) if one}
    return _seeded(raws, "arguments", shells[0].entry_id, _changed(raws, ids, change))


def dearer_model(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """Another model answers every call, at ten times the cost where costs are recorded."""
    calls = [event for event in transcript_of(raws).events if event.kind is EventKind.MODEL_CALL]
    if not calls:
        return None

    def change(payload: dict[str, Any]) -> None:
        payload["model"] = f"dearer-{seed}"
        if isinstance(payload.get("cost_usd"), int | float):
            payload["cost_usd"] *= 10

    return _seeded(
        raws, "model", calls[0].entry_id, _changed(raws, {event.entry_id for event in calls}, change)
    )


def insert_retry_loop(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """One call is made five more times, before anything else happens."""
    events = transcript_of(raws).events
    lasts = [
        event
        for event, after in pairwise(events)
        if event.kind is EventKind.TOOL_CALL and not _same_call(event, after)
    ]
    if not lasts:
        return None
    chosen = _drawn(lasts, seed)[0]
    ids = [one for one in (chosen.entry_id, chosen.ended_id) if one]
    entries = _in_order(raws)
    originals = [entry for entry in entries if entry["id"] in ids]
    place = 1 + max(index for index, entry in enumerate(entries) if entry["id"] in ids)
    began = read_entry(msgspec.json.encode(entries[place - 1])).instant
    copies = [
        _copy(original, began + (round_ * len(ids) + index + 1) * _MILLISECOND, seed, round_)
        for round_ in range(ROUNDS)
        for index, original in enumerate(originals)
    ]
    later = [_later(entry, (len(copies) + 1) * _MILLISECOND) for entry in entries[place:]]
    candidate = [*entries[:place], *copies, *later]
    return _seeded(raws, "retry loop", copies[0]["id"], candidate)


def drop_tool(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """A tool is not used any more."""
    calls = _calls(raws)
    if len({event.name for event in calls}) < 2:
        return None
    tool = _drawn(calls, seed)[0].name
    dropped = [event for event in calls if event.name == tool]
    ids = {one for event in dropped for one in (event.entry_id, event.ended_id) if one}
    kept = [entry for entry in _in_order(raws) if entry["id"] not in ids]
    return _seeded(raws, "tool dropped", dropped[0].entry_id, kept)


def continue_session(raws: Sequence[bytes], seed: int) -> Seeded | None:
    """The baseline is the beginning of the session that the candidate is."""
    events = transcript_of(raws).events
    if len(events) < 4:
        return None
    first = _drawn(events[len(events) // 2 : -1], seed)[0].entry_id
    entries = _in_order(raws)
    place = next(index for index, entry in enumerate(entries) if entry["id"] == first)
    begun = [entry for entry in entries[:place] if entry["entry_type"] != "mission.outcome"]
    return Seeded(baseline=_encoded(begun), candidate=_encoded(entries), kind="continuation", parts_at=first)


SEEDS: Final[tuple[Seed, ...]] = (
    fail_results,
    refuse,
    change_arguments,
    dearer_model,
    insert_retry_loop,
    drop_tool,
    continue_session,
)


def _seeded(raws: Sequence[bytes], kind: Kind, parts_at: str, candidate: Iterable[dict[str, Any]]) -> Seeded:
    return Seeded(baseline=tuple(raws), candidate=_encoded(candidate), kind=kind, parts_at=parts_at)


def _drawn(events: Iterable[Event], seed: int) -> list[Event]:
    """The events in an order that looks like chance and is the seed's alone."""
    return sorted(events, key=lambda event: blake2b(f"{seed} {event.entry_id}".encode()).digest())


def _calls(raws: Sequence[bytes]) -> list[Event]:
    return [event for event in transcript_of(raws).events if event.kind is EventKind.TOOL_CALL]


def _in_order(raws: Iterable[bytes]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [msgspec.json.decode(raw) for raw in raws]
    instants = {entry["id"]: read_entry(msgspec.json.encode(entry)).instant for entry in entries}
    return sorted(entries, key=lambda entry: (instants[entry["id"]], entry["id"]))


def _encoded(entries: Iterable[dict[str, Any]]) -> tuple[bytes, ...]:
    return tuple(msgspec.json.encode(entry) for entry in entries)


def _changed(
    raws: Sequence[bytes], ids: set[str], change: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    entries = _in_order(raws)
    for entry in entries:
        if entry["id"] in ids:
            entry["payload"] = dict(entry.get("payload") or {})
            change(entry["payload"])
    return entries


def _same_call(one: Event, other: Event) -> bool:
    return (one.kind, one.name, one.command, one.arguments) == (
        other.kind,
        other.name,
        other.command,
        other.arguments,
    )


def _copy(entry: dict[str, Any], instant: int, seed: int, round_: int) -> dict[str, Any]:
    digest = blake2b(f"{entry['id']} {seed} {round_}".encode(), digest_size=8).hexdigest()
    copy = entry | {"id": f"j_{digest}", "ts": format_instant(instant)}
    payload = dict(entry.get("payload") or {})
    if "call_id" in payload:
        payload["call_id"] = f"{payload['call_id']}-{seed}-{round_}"
    return copy | {"payload": payload}


def _later(entry: dict[str, Any], nanoseconds: int) -> dict[str, Any]:
    instant = read_entry(msgspec.json.encode(entry)).instant
    return entry | {"ts": format_instant(instant + nanoseconds)}
