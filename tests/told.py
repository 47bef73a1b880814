"""What an adapter tells of a document, counted as a replay would count it."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from quartermaster.adapters import DocumentAdapter, RejectedLine
from quartermaster.core.journal import JournalEntry, read_entry
from quartermaster.core.trajectory import COMMAND, COMMAND_END, COMMAND_START, MODEL_CALL, Step, step_of

PROJECT = Path(__file__).resolve().parents[1]
SAMPLES = PROJECT / "data" / "samples"
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", PROJECT.parent / "shared" / "traces"))
NO_TRACES = "no development traces beside the project; set QUARTERMASTER_TRACES"


class Counts(NamedTuple):
    """What a recording holds: missions, model calls, tool calls, failed ones of these, and tokens."""

    missions: int
    model_calls: int
    tool_calls: int
    failed: int
    tokens: int


class Told:
    """The records and the rejected ranges of one document."""

    def __init__(self, adapter: DocumentAdapter, document: bytes | object) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        outputs = list(adapter.read_document(data))
        self.rejected = [output for output in outputs if isinstance(output, RejectedLine)]
        self.raw = [json.loads(one.raw) for one in outputs if not isinstance(one, RejectedLine)]
        entries = [read_entry(one.raw) for one in outputs if not isinstance(one, RejectedLine)]
        self.entries: list[JournalEntry] = entries
        self.ids = [entry.id for entry in entries]
        self.missions = list(dict.fromkeys(entry.mission_id for entry in entries))
        self.steps: list[Step] = [step for entry in entries if (step := step_of(entry))]

    def payloads(self, entry_type: str) -> list[dict[str, Any]]:
        return [entry.get("payload", {}) for entry in self.raw if entry["entry_type"] == entry_type]

    def of_kind(self, *kinds: int) -> list[Step]:
        return [step for step in self.steps if step.kind in kinds]

    @property
    def counts(self) -> Counts:
        ended = self.of_kind(COMMAND, COMMAND_END)
        return Counts(
            len(self.missions),
            len(self.of_kind(MODEL_CALL)),
            len(self.of_kind(COMMAND, COMMAND_START)),
            sum(step.success is False for step in ended),
            sum(step.tokens or 0 for step in self.of_kind(MODEL_CALL)),
        )

    @property
    def cost(self) -> float | None:
        costs = [step.cost for step in self.of_kind(MODEL_CALL) if step.cost is not None]
        return round(sum(costs) / 10**12, 12) if costs else None

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(payload["outcome"], payload["origin"]) for payload in self.payloads("mission.outcome")]

    @property
    def tools(self) -> list[tuple[str, bool | None]]:
        """Each ended command with whether it succeeded."""
        return [(step.tool, step.success) for step in self.of_kind(COMMAND, COMMAND_END)]
