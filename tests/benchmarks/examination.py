"""Processor time of examining one large mission: `python tests/benchmarks/examination.py [STEPS]`.

A mission of that many steps (100,000 unless told otherwise) is written into a database of its own, then read
in words, then measured by all metrics and looked through by all detectors, three times over.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from quartermaster.core.claims import claims_of
from quartermaster.core.failure_modes import Context, find_in
from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.journal import format_instant
from quartermaster.core.mission_metrics import measure
from quartermaster.core.root_cause import root_cause
from quartermaster.store import access, journal, missions
from quartermaster.store.database import Database
from quartermaster.store.transcript import read_transcript

STEPS = 100_000
_BEGAN = 1_767_225_600 * 10**9
_CHUNK = 5_000


def entries(steps: int) -> Iterator[bytes]:
    """A model call and a tool call in turn, of forty calls on as many files, one in eleven of which fails."""
    chance = random.Random(4)
    for step in range(steps):
        key = chance.randrange(40)
        entry = {
            "id": f"j_{step:016x}",
            "mission_id": "large",
            "ts": format_instant(_BEGAN + step * 10**9),
            "actor_type": "agent",
            "actor_id": "worker",
        }
        if step % 2:
            payload = {
                "tool": f"tool-{key % 8}",
                "arguments": {"path": f"file-{key}.py", "line": key % 5},
                "exit_code": int(key % 11 == 0),
                "output": f"result {step % 977} of file-{key}.py\n" * 3,
                "duration_ms": 40,
            }
            yield msgspec.json.encode({**entry, "entry_type": "exec.command", "payload": payload})
        else:
            payload = {
                "model": "model",
                "input_tokens": 900 + step % 100,
                "output_tokens": 100,
                "cost_usd": 0.001,
                "duration_ms": 500,
            }
            yield msgspec.json.encode({**entry, "entry_type": "llm.call", "payload": payload})


def write(database: Database, steps: int) -> int:
    """The workspace that the mission now lies in."""
    workspace = database.write_blocking(lambda c: access.create_workspace(c, "bench", now=_BEGAN)).key
    raws = list(entries(steps))
    for begin in range(0, len(raws), _CHUNK):
        chunk = raws[begin : begin + _CHUNK]
        database.write_blocking(lambda c: journal.append(c, workspace, chunk, now=_BEGAN))  # noqa: B023
    return workspace


def main() -> None:
    """Write once, read and examine three times."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    with (
        tempfile.TemporaryDirectory() as folder,
        Database(Path(folder) / "quartermaster.db") as database,
    ):
        workspace = write(database, steps)
        for _ in range(3):
            began = time.process_time()
            transcript = database.read_blocking(
                lambda c: read_transcript(c, missions.find_mission(c, workspace, "large")), 600
            )
            read = time.process_time()
            evidence = Evidence(transcript, Context())
            findings = find_in(evidence)
            found = time.process_time()
            measured = measure(evidence, findings)
            counted = time.process_time()
            claims_of(transcript)
            root_cause(transcript)
            ended = time.process_time()
            print(
                f"{steps:,} steps: read {read - began:.2f} s, detectors {found - read:.2f} s"
                f" ({len(findings)} findings), metrics {counted - found:.2f} s ({len(measured)}),"
                f" claims and root cause {ended - counted:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
