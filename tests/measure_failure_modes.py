"""How good the detectors of failure modes are: on injected loops, and against labels of people.

`python tests/measure_failure_modes.py` prints the figures. The labels are held against the findings and
used for nothing else.
"""

import time
from collections import Counter
from collections.abc import Iterable

import told

from quartermaster.core.failure_modes import DETECTORS, Context, Evidence, find_failure_modes
from quartermaster.core.injection import inject_loop, inject_progress, make_mission
from quartermaster.core.transcript import Transcript
from quartermaster.selftest.labels import LOOPS, Figures, guards, labelled, transcripts

NOTHING_KNOWN = Context()
PERIODS, REPEATS = range(1, 9), range(3, 21)
AGENTRX = told.TRACES / "agentrx"


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


def persistence() -> Figures:
    """Near duplicates against three labelled failures of one agent and kind, a stand-in for persistence."""
    right = wrong = missed = silent = 0
    for one in labelled(told.TRACES):
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
        found = guards(told.TRACES, limits=limits)
        print(
            "guards" + (" and every limit" if limits else ""),
            found.traces,
            f"kappa {found.traces.kappa:.2f},",
        )
        print(f"  labelled steps within one of a finding: {found.near} of {found.labelled}")
    figures = persistence()
    print("near duplicates against persistence:", figures, f"kappa {figures.kappa:.2f}")


if __name__ == "__main__":
    main()
