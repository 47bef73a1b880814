"""The rules against what people said of recorded missions: guards, root causes, and missions that went well.

The recordings are not part of the program. They lie in a folder as their publishers named them: `agentrx`,
`who_and_when` and `tau_bench`; what is not there is not measured. Labels are held against the findings and
are never shown to a rule.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters import Record, recognise
from quartermaster.core.failure_modes import find_failure_modes
from quartermaster.core.journal import read_entry
from quartermaster.core.resampling import Rate
from quartermaster.core.root_cause import RULES, Rule, root_cause
from quartermaster.core.transcript import EventKind, Transcript, transcript_of
from quartermaster.errors import UsageError
from quartermaster.recording import HEAD_BYTES
from quartermaster.selftest.figures import Bar, Figure, counted
from quartermaster.selftest.work import Extent, Sources, Work, together

PART: Final = "labels"
LOOPS: Final = ("exact_tool_loop", "periodic_tool_loop", "error_retry_loop", "repeated_call")
GUARDS: Final = ("guardrail_run", "access_wall", "stopped_by_a_limit")
_GUARDED: Final = "Guardrails Triggered"
_TALK: Final = (EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE, EventKind.DELEGATION)
_MINUTE: Final = 60 * 10**9
"""A recording of Who&When has no clock; its adapter gives each message a minute, two before the first."""
_NEAR: Final = 3


class Figures(NamedTuple):
    """Counts of a measurement: found and right, found and wrong, missed, right to be silent."""

    right: int
    wrong: int
    missed: int
    silent: int = 0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed)

    @property
    def f1(self) -> float:
        return 2 * self.right / (2 * self.right + self.wrong + self.missed)

    @property
    def kappa(self) -> float:
        total = sum(self)
        found, true = (self.right + self.wrong) / total, (self.right + self.missed) / total
        chance = found * true + (1 - found) * (1 - true)
        return ((self.right + self.silent) / total - chance) / (1 - chance)

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.3f}, recall {self.recall:.3f}, F1 {self.f1:.3f} "
            f"(right {self.right}, wrong {self.wrong}, missed {self.missed}, silent {self.silent})"
        )


class Labelled(NamedTuple):
    """A recording and what people said went wrong in it; their steps count messages from one."""

    transcript: Transcript
    failures: list[dict[str, Any]]

    def message(self, position: int) -> int:
        """The number of the message that an event was told in."""
        events = self.transcript.events[: position + 1]
        return sum(event.kind in _TALK or event.entry_type == "run.note" for event in events)


class Guards(NamedTuple):
    """Trace level, and how many labelled steps lie within one of a finding."""

    traces: Figures
    near: int
    labelled: int


class Judged(NamedTuple):
    """A mission with the step and the agent that a person called decisive; `length` is in messages."""

    transcript: Transcript
    step: int
    agent: str
    length: int
    agents: int


class Causes(NamedTuple):
    """Of so many judged missions: the decisive step found, its agent, and a step within three of it."""

    step: Rate
    agent: Rate
    near: Rate


def figures(work: Work, extent: Extent, sources: Sources) -> Iterator[Figure]:
    folder = sources.recordings
    parts = {"agentrx": _guards, "who_and_when": _causes, "tau_bench": _successes}
    there = [measured for name, measured in parts.items() if folder is not None and (folder / name).is_dir()]
    if not there or folder is None:
        raise UsageError(
            f"there are no labelled recordings in {folder}: it must hold a folder {', '.join(parts)}"
        )
    for measured in there:
        yield from measured(work, folder)


def _guards(work: Work, folder: Path) -> Iterator[Figure]:
    (found,) = work.spread(guards, [(folder,)])
    traces = found.traces
    yield Figure(
        part=PART,
        what="AgentRx: a guard or a limit met, F1 over traces",
        value=traces.f1,
        unit="share",
        bar=Bar(least=0.80),
        of=sum(traces),
    )
    near = Rate(found.near, found.labelled)
    yield counted(PART, "AgentRx: labelled steps within one of a finding", near, Bar(least=0.85))


def _causes(work: Work, folder: Path) -> Iterator[Figure]:
    (found,) = work.spread(causes, [(folder,)])
    yield counted(PART, "Who&When: decisive step named", found.step, Bar(least=0.26))
    yield counted(PART, "Who&When: its agent named", found.agent, Bar(least=0.55))
    yield counted(PART, f"Who&When: a step within {_NEAR} of it named", found.near)


def _successes(work: Work, folder: Path) -> Iterator[Figure]:
    recordings = sorted((folder / "tau_bench").glob("retail*.json"))
    alarmed = together(work.spread(alarms_on_successes, [(path,) for path in recordings]))
    what = "findings of loops on successful tau-bench retail missions"
    yield counted(PART, what, alarmed, Bar(most=0.02))


def transcripts(path: Path) -> list[Transcript]:
    """The missions of a recording in the order in which they begin there."""
    data = path.read_bytes()
    adapter = recognise(data[:HEAD_BYTES], whole=len(data) <= HEAD_BYTES)
    if adapter is None or adapter.line_based:
        return []
    missions: dict[str, list[bytes]] = {}
    for record in adapter.read_document(data):
        if isinstance(record, Record):
            missions.setdefault(read_entry(record.raw).mission_id or "", []).append(record.raw)
    return [transcript_of(raws, mission_id=mission) for mission, raws in missions.items()]


def labelled(folder: Path) -> Iterator[Labelled]:
    """The recordings of AgentRx with the labels of people; labels without a recording are left out."""
    for path in sorted((folder / "agentrx").glob("magentic_one_ground_truth*.json")):
        for label in json.loads(path.read_bytes()):
            recording = folder / "agentrx" / "magentic_one" / f"{label['trajectory_id']}.json"
            if recording.is_file():
                (transcript,) = transcripts(recording)
                yield Labelled(transcript, label["failures"])


def guards(folder: Path, *, limits: bool = False) -> Guards:
    """Blocks, walls and stops against the label "Guardrails Triggered".

    With `limits` every stop counts, also by rounds, time or a crash; without only those by a guard.
    """
    right = wrong = missed = silent = near = steps = 0
    for one in labelled(folder):
        found = [
            finding
            for finding in find_failure_modes(one.transcript, names=GUARDS)
            if limits or finding.evidence.get("cause", "content filter") == "content filter"
        ]
        said = [f["step_number"] for f in one.failures if f["failure_category"] == _GUARDED]
        right += bool(found and said)
        wrong += bool(found and not said)
        missed += bool(said and not found)
        silent += not found and not said
        places = {one.message(step) for finding in found for step in finding.steps}
        steps += len(said)
        near += sum(any(abs(step - place) <= 1 for place in places) for step in said)
    return Guards(Figures(right, wrong, missed, silent), near, steps)


def judged(folder: Path) -> tuple[Judged, ...]:
    """The recordings of Who&When by half and number."""

    def order(path: Path) -> tuple[str, int]:
        return path.stem[:4], int(re.findall(r"\d+", path.stem)[-1])

    return tuple(map(_judged, sorted((folder / "who_and_when").glob("*.json"), key=order)))


def _judged(path: Path) -> Judged:
    document = json.loads(path.read_bytes())
    (transcript,) = transcripts(path)
    unlabelled = msgspec.structs.replace(transcript, labels={})
    history = document["history"]
    speakers = {re.sub(r" \(.*", "", one.get("name") or one["role"]) for one in history}
    step, agent = int(document["mistake_step"]), document["mistake_agent"].lower()
    return Judged(unlabelled, step, agent, len(history), len(speakers - {"human", "user"}))


def causes(folder: Path) -> Causes:
    """What the rules as they stand name as the decisive step and its agent."""
    return causes_of(RULES, judged(folder))


def causes_of(rules: tuple[Rule, ...], missions: Sequence[Judged]) -> Causes:
    """Over all missions; one without an answer is a wrong one. The clock counts messages."""
    step = agent = near = 0
    for one in missions:
        cause = root_cause(one.transcript, rules=rules)
        if cause.position is None:
            continue
        at = one.transcript.events[cause.position].instant // _MINUTE - 2
        step += at == one.step
        near += abs(at - one.step) <= _NEAR
        agent += (cause.agent or "").lower() == one.agent
    of = len(missions)
    return Causes(Rate(step, of), Rate(agent, of), Rate(near, of))


def alarms_on_successes(path: Path) -> Rate:
    """How many of the missions of a recording that succeeded have a finding of a loop."""
    succeeded = [mission for mission in transcripts(path) if mission.outcome == "succeeded"]
    alarmed = sum(bool(find_failure_modes(mission, names=LOOPS)) for mission in succeeded)
    return Rate(alarmed, len(succeeded))
