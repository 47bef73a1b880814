"""What holds for every detector, and how good they are where labels lie beside the project."""

import time

import measure_failure_modes as measure
import msgspec
import pytest
import told
from happenings import call, mission

from quartermaster.core.failure_modes import DETECTORS, Evidence, Severity, detector, find_failure_modes
from quartermaster.core.injection import inject_loop, make_mission

needs_traces = pytest.mark.skipif(not measure.AGENTRX.is_dir(), reason=told.NO_TRACES)


def test_a_detector_is_known_by_the_name_of_its_function_and_has_an_id_of_its_own():
    assert all(name == one.name == one.look.__name__ for name, one in DETECTORS.items())
    assert len({one.id for one in DETECTORS.values()}) == len(DETECTORS)


def test_a_detector_cannot_be_registered_twice():
    look = next(iter(DETECTORS.values())).look
    with pytest.raises(ValueError, match="registered twice"):
        detector(id="D99", severity=Severity.INFO)(look)
    assert "D99" not in {one.id for one in DETECTORS.values()}


def test_an_empty_mission_has_no_failure_modes():
    assert find_failure_modes(mission()) == ()


def test_a_finding_keeps_the_first_fifty_steps_and_says_how_many_there_are():
    (loop,) = find_failure_modes(mission(*[call(query="x")] * 80), names=("exact_tool_loop",))
    assert (len(loop.steps), len(loop.entry_ids), loop.count, loop.last) == (50, 50, 80, 79)


def test_findings_can_be_written_as_json_and_are_the_same_each_time():
    looped = inject_loop(make_mission(60, 1), 2, 5, 1).transcript
    written = msgspec.json.encode(find_failure_modes(looped))
    assert written == msgspec.json.encode(find_failure_modes(looped))


def test_what_several_detectors_need_is_made_once():
    made = []
    evidence = Evidence(mission(), measure.NOTHING_KNOWN)
    assert [evidence.once(made.append) for _ in range(3)] == [None] * 3
    assert len(made) == 1


def test_all_detectors_grow_with_the_mission_and_not_faster():
    def seconds(steps: int) -> float:
        looped = inject_loop(make_mission(steps, 1), 8, 20, 1).transcript
        started = time.process_time()
        find_failure_modes(looped)
        return time.process_time() - started

    assert seconds(8_000) < 12 * max(seconds(2_000), 0.02)


def test_injected_loops_are_found_and_progress_is_not():
    figures = measure.injected_loops(measure.made_missions(12))
    assert figures.precision >= 0.95
    assert figures.recall >= 0.90


@needs_traces
def test_missions_of_a_shop_that_succeeded_hold_no_loops():
    succeeded = measure.tau_missions("retail*.json", "succeeded")
    alarms, missions = measure.alarms_on(succeeded, measure.LOOPS)
    assert missions > 30
    assert alarms <= 0.02 * missions
    figures = measure.injected_loops(succeeded)
    assert figures.precision >= 0.95
    assert figures.recall >= 0.90


@needs_traces
def test_guards_are_found_where_people_found_them():
    guards = measure.guards(told.TRACES)
    assert guards.traces.f1 >= 0.80
    assert guards.near >= 0.85 * guards.labelled


@needs_traces
def test_repeated_instructions_are_found_where_people_saw_no_progress():
    assert measure.persistence().f1 >= 0.72
