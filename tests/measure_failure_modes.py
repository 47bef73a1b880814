"""How good the detectors of failure modes are: on injected loops, and against labels of people.

`python tests/measure_failure_modes.py` prints the figures. The labels are held against the findings and
used for nothing else.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import told

from quartermaster.adapters import Record, recognise
from quartermaster.core.failure_modes import DETECTORS, Context, Evidence, find_failure_modes
from quartermaster.core.injection import inject_loop, inject_progress, make_mission
from quartermaster.core.journal import read_entry
from quartermaster.core.transcript import EventKind, Transcript, transcript_of
from quartermaster.recording import HEAD_BYTES

NOTHING_KNOWN = Context()
LOOPS = ("exact_tool_loop", "periodic_tool_loop", "error_retry_loop", "repeated_call")
GUARDS = ("guardrail_run", "access_wall", "stopped_by_a_limit")
PERIODS, REPEATS = range(1, 9), range(3, 21)
AGENTRX = told.TRACES / "agentrx"
MAGENTIC_ONE = AGENTRX / "magentic_one"


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


def transcripts(path: Path) -> list[Transcript]:
    """The missions of a recording in the order in which they begin there."""
    data = path.read_bytes()
    adapter = recognise(data[:HEAD_BYTES], whole=len(data) <= HEAD_BYTES)
    assert adapter is not None and not adapter.line_based
    missions: dict[str, list[bytes]] = {}
    for record in adapter.read_document(data):
        if isinstance(record, Record):
            missions.setdefault(read_entry(record.raw).mission_id or "", []).append(record.raw)
    return [transcript_of(raws, mission_id=mission) for mission, raws in missions.items()]


def injected_loops(missions: Iterable[Transcript], *, seeds: int = 1) -> Figures:
    """Every period and number of repeats, succeeding and failing, in missions that are clean otherwise.

    Wrong is a finding that touches no injected call, in the looping mission or in one whose calls come
    again and answer anew.
    """
    right = wrong = missed = silent = 0
    clean = [mission for mission in missions if not find_failure_modes(mission, names=LOOPS)]
    for number, (period, repeats, seed) in enumerate(
        (period, repeats, seed) for period in PERIODS for repeats in REPEATS for seed in range(seeds)
    ):
        mission = clean[number % len(clean)]
        for failing in (False, True):
            looped = inject_loop(mission, period, repeats, seed, failing=failing)
            found = find_failure_modes(looped.transcript, names=LOOPS)
            touching = [one for one in found if set(one.steps) & set(looped.positions)]
            wrong += len(found) - len(touching)
            if any(one.name != "repeated_call" for one in touching):
                right += 1
            else:
                missed += 1
        progress = inject_progress(mission, period, repeats, seed)
        alarms = find_failure_modes(progress.transcript, names=LOOPS)
        wrong += len(alarms)
        silent += not alarms
    return Figures(right, wrong, missed, silent)


def made_missions(count: int) -> list[Transcript]:
    return [make_mission(80, seed) for seed in range(count)]


def alarms_on(missions: Iterable[Transcript], names: tuple[str, ...]) -> tuple[int, int]:
    """How many of the missions have a finding, and how many there are."""
    found = [bool(find_failure_modes(mission, names=names)) for mission in missions]
    return sum(found), len(found)


def tau_missions(pattern: str, outcome: str) -> list[Transcript]:
    return [
        mission
        for path in sorted((told.TRACES / "tau_bench").glob(pattern))
        for mission in transcripts(path)
        if mission.outcome == outcome
    ]


class Labelled(NamedTuple):
    """A recording and what people said went wrong in it; their steps count messages from one."""

    transcript: Transcript
    failures: list[dict[str, Any]]

    def message(self, position: int) -> int:
        """The number of the message that an event was told in."""
        talk = (EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE, EventKind.DELEGATION)
        events = self.transcript.events[: position + 1]
        return sum(event.kind in talk or event.entry_type == "run.note" for event in events)


def labelled() -> Iterator[Labelled]:
    labels = json.loads((AGENTRX / "magentic_one_ground_truth__20.json").read_bytes())
    for label in labels:
        (transcript,) = transcripts(MAGENTIC_ONE / f"{label['trajectory_id']}.json")
        yield Labelled(transcript, label["failures"])


class Guards(NamedTuple):
    """Trace level, and how many labelled steps lie within one of a finding."""

    traces: Figures
    near: int
    labelled: int


def guardrails(*, limits: bool) -> Guards:
    """Blocks, walls and stops against the label "Guardrails Triggered".

    With `limits` every stop counts, also by rounds, time or a crash; without only those by a guard.
    """
    right = wrong = missed = silent = near = steps = 0
    for one in labelled():
        found = [
            finding
            for finding in find_failure_modes(one.transcript, names=GUARDS)
            if limits or finding.evidence.get("cause", "content filter") == "content filter"
        ]
        said = [f["step_number"] for f in one.failures if f["failure_category"] == "Guardrails Triggered"]
        right += bool(found and said)
        wrong += bool(found and not said)
        missed += bool(said and not found)
        silent += not found and not said
        places = {one.message(step) for finding in found for step in finding.steps}
        steps += len(said)
        near += sum(any(abs(step - place) <= 1 for place in places) for step in said)
    return Guards(Figures(right, wrong, missed, silent), near, steps)


def persistence() -> Figures:
    """Near duplicates against three labelled failures of one agent and kind, a stand-in for persistence."""
    right = wrong = missed = silent = 0
    for one in labelled():
        found = find_failure_modes(one.transcript, names=("near_duplicate_instruction",))
        kinds = Counter((f["failed_agent"].lower(), f["failure_category"]) for f in one.failures)
        persists = max(kinds.values(), default=0) >= 3
        right += bool(found) and persists
        wrong += bool(found) and not persists
        missed += not found and persists
        silent += not found and not persists
    return Figures(right, wrong, missed, silent)


def seconds_over(mission: Transcript) -> dict[str, float]:
    """Processor seconds of each detector by its id, and of what they share as "keys"."""
    evidence = Evidence(mission, NOTHING_KNOWN)
    started = time.process_time()
    shared = (evidence.step_keys, evidence.outcome_keys, evidence.texts, evidence.error_classes)
    seconds = {"keys": time.process_time() - started} if shared else {}
    for one in sorted(DETECTORS.values(), key=lambda one: one.id):
        started = time.process_time()
        list(one.find(evidence))
        seconds[one.id] = time.process_time() - started
    return seconds


def main() -> None:
    print("injected loops in made missions:", injected_loops(made_missions(50)))
    seconds = seconds_over(make_mission(50_000, 1))
    print(f"all detectors over 100,000 made steps: {sum(seconds.values()):.2f} s of processor time:")
    print("  " + ", ".join(f"{name} {one:.2f}" for name, one in seconds.items()))
    if not told.TRACES.is_dir():
        print(told.NO_TRACES)
        return
    succeeded = tau_missions("retail*.json", "succeeded")
    print("injected loops in tau-bench retail missions:", injected_loops(succeeded))
    print("findings of loops on successful tau-bench retail missions:", alarms_on(succeeded, LOOPS))
    print("findings of loops on failed ones:", alarms_on(tau_missions("retail*.json", "failed"), LOOPS))
    for limits in (False, True):
        guards = guardrails(limits=limits)
        print(
            "guards" + (" and every limit" if limits else ""),
            guards.traces,
            f"kappa {guards.traces.kappa:.2f},",
        )
        print(f"  labelled steps within one of a finding: {guards.near} of {guards.labelled}")
    figures = persistence()
    print("near duplicates against persistence:", figures, f"kappa {figures.kappa:.2f}")


if __name__ == "__main__":
    main()
