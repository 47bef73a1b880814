"""What the tests of several formats ask of a recording: its entries, steps and figures."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from quartermaster.adapters import Adapter, Record, RejectedLine
from quartermaster.core.journal import JournalEntry, read_entry
from quartermaster.core.trajectory import COMMAND, COMMAND_END, COMMAND_START, MODEL_CALL, Step, step_of

PROJECT = Path(__file__).resolve().parents[2]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", PROJECT.parent / "shared" / "traces"))

needs_traces = pytest.mark.skipif(
    not TRACES.is_dir(), reason="no development traces beside the project; set QUARTERMASTER_TRACES"
)


class Figures(NamedTuple):
    """What a recording comes to: tokens are None where no model call says its own."""

    missions: int
    model_calls: int
    tool_calls: int
    failed: int
    tokens: int | None


def recording(format_name: str, name: str) -> bytes:
    """The one development trace of the format whose name begins so."""
    (path,) = (TRACES / format_name).glob(f"{name}*")
    return path.read_bytes()


def read(adapter: Adapter, data: bytes) -> tuple[list[Record], list[RejectedLine]]:
    if not adapter.line_based:
        outputs = list(adapter.read_document(data))
    else:
        reader = adapter.line_reader()
        outputs, offset = [], 0
        for line in data.split(b"\n"):
            outputs.extend(reader.read_line(line, offset))
            offset += len(line) + 1
        outputs.extend(reader.finish())
    records = [output for output in outputs if isinstance(output, Record)]
    return records, [output for output in outputs if isinstance(output, RejectedLine)]


def entries_of(adapter: Adapter, data: bytes) -> list[JournalEntry]:
    """The entries as a store keeps them: the last one told under an id is the one that counts."""
    return list({(entry := read_entry(record.raw)).id: entry for record in read(adapter, data)[0]}.values())


def steps_of(adapter: Adapter, data: bytes, *kinds: int) -> list[Step]:
    steps = (step_of(entry) for entry in entries_of(adapter, data))
    return [step for step in steps if step and step.kind in kinds]


def payloads(adapter: Adapter, data: bytes, entry_type: str) -> list[dict[str, Any]]:
    told = {}
    for record in read(adapter, data)[0]:
        entry = json.loads(record.raw)
        if entry["entry_type"] == entry_type:
            told[entry["id"]] = entry.get("payload", {})
    return list(told.values())


def outcome_of(adapter: Adapter, data: bytes) -> str | None:
    return next((payload.get("outcome") for payload in payloads(adapter, data, "mission.outcome")), None)


def figures(adapter: Adapter, data: bytes) -> Figures:
    calls = steps_of(adapter, data, MODEL_CALL)
    tokens = [step.tokens for step in calls if step.tokens is not None]
    return Figures(
        missions=len({entry.mission_id for entry in entries_of(adapter, data)}),
        model_calls=len(calls),
        tool_calls=len(steps_of(adapter, data, COMMAND, COMMAND_START)),
        failed=len([step for step in steps_of(adapter, data, COMMAND, COMMAND_END) if step.success is False]),
        tokens=sum(tokens) if tokens else None,
    )


def assert_calls_pair_up(adapter: Adapter, data: bytes) -> None:
    """Every call ends at most once, after its start and under its name."""
    started = steps_of(adapter, data, COMMAND_START)
    starts = {step.pairing: step for step in started}
    ends = steps_of(adapter, data, COMMAND_END)
    assert len(starts) == len(started)
    assert max(Counter(step.pairing for step in ends).values(), default=1) == 1
    assert all(starts[step.pairing].instant < step.instant for step in ends)
    assert all(starts[step.pairing].tool == step.tool for step in ends)


def lines(values: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)
