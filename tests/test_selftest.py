"""The self-test measures the installed rules: the same draws on any number of processes, honest verdicts."""

import json
from pathlib import Path

import pytest
from recorded import TRACES, needs_traces

from quartermaster.core.resampling import Injected, Rate, watched
from quartermaster.selftest import Extent, Sources, alignment, changes, labels, loops, measure, speed
from quartermaster.selftest.figures import Bar, Figure, counted, drawn
from quartermaster.selftest.statistics import alerts
from quartermaster.selftest.work import pieces, together

DATA = Path(__file__).resolve().parents[1] / "data"
SOURCES = Sources(DATA / "tables", DATA / "samples")


def figure(value, bar, error=0.0):
    return Figure(part="stats", what="a rate", value=value, unit="share", bar=bar, error=error)


def test_a_figure_fails_only_beyond_three_errors_of_its_bar():
    most = Bar(most=0.05)
    assert figure(0.05, most).verdict == "pass"
    assert figure(0.07, most, error=0.01).verdict == "within error"
    assert figure(0.081, most, error=0.01).verdict == "fail"
    assert figure(0.06, most).verdict == "fail"
    assert figure(0.92, Bar(0.93, 0.97)).verdict == figure(0.98, Bar(0.93, 0.97)).verdict == "fail"


def test_what_could_not_be_measured_is_no_pass():
    assert figure(None, Bar(most=1.0)).verdict == "fail"
    assert figure(None, None).verdict == "no bar"
    assert counted("stats", "of none", Rate(0, 0)).value is None


def test_none_of_many_draws_has_an_error_too():
    assert drawn("stats", "alarms", Rate(0, 100)).error == pytest.approx(0.0098, abs=1e-4)
    assert counted("stats", "alarms", Rate(0, 100)).error == 0


def test_the_pieces_of_the_work_hold_all_resamples_and_never_share_a_seed():
    extent = Extent(resamples=120, full=False, seed=3)
    assert [count for count, _ in pieces("a", extent)] == [50, 50, 20]
    seeds = {seed for label in "ab" for _, seed in pieces(label, extent)}
    assert len(seeds) == 6
    assert together([Rate(1, 50), Rate(2, 20)]) == Rate(3, 70)


def test_the_tables_hold_the_runs_they_say():
    assert len(SOURCES.table("tau_airline_gpt-4o")) == 200
    successes = [sum(row.success for row in SOURCES.table(f"tau_retail_{name}")) for name in ("tool", "as2")]
    assert successes == [73, 49]


def test_the_number_of_processes_does_not_change_a_figure():
    extent = Extent(resamples=20, full=False, seed=2)
    one, two = (list(measure(["loops"], extent, SOURCES, processes)) for processes in (1, 2))
    assert one == two
    assert all(found.verdict == "pass" for found in one)


def test_watching_an_unchanged_agent_is_quiet_and_sees_a_large_drop():
    rows = SOURCES.table("tau_airline_gpt-4o")
    quiet, _ = watched(rows, tasks=100, resamples=100, seed=5)
    seen, stops = watched(rows, tasks=100, resamples=30, seed=6, injected=Injected(success_drop=0.35))
    assert quiet.share <= 0.05 + 3 * 0.022
    assert seen.share >= 0.9
    assert len(stops) == seen.hits
    assert max(stops) <= 100


def test_a_loop_is_found_and_rounds_that_get_on_are_not():
    precision, recall = loops.look(3, 5, seed=1)
    assert (precision.share, recall) == (1.0, Rate(2, 2))


def test_every_seeded_change_of_a_sample_is_counted():
    quiet, named = changes.look(DATA / "samples" / "native" / "login_fix.ndjson", seed=1)
    assert quiet == Rate(2, 2)
    assert named["insert retry loop"] == Rate(2, 2)
    assert len(named) == 7


def test_series_are_generated_by_seed_and_a_delay_begins_at_the_change():
    assert alerts("cost", 1.3, 3, True, seed=1) == alerts("cost", 1.3, 3, True, seed=1)
    assert all(night is None or night >= 60 for night in alerts("cost", 1.3, 3, True, seed=1))


@pytest.mark.parametrize("case", alignment.CASES)
def test_every_case_of_the_alignment_has_as_many_steps_as_it_says(case: str):
    before, after = alignment.keys_of(case, 400, seed=1)
    assert len(before) == 400
    assert 0.9 * 400 <= len(after) <= 1.1 * 400


def test_seconds_are_measured_on_small_missions_too():
    assert 0 < speed.judge_mission(50, seed=1) < 2
    assert 0 < speed.compare_arms(20, 2, seed=1) < 2


def test_the_command_prints_figures_with_bars_and_says_how_many_resamples(quartermaster):
    done = quartermaster("selftest", "loops", "--resamples", "20", "--workers", "1", "--format", "json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [row["verdict"] for row in rows] == ["pass", "pass"]
    assert rows[0]["bar"] == {"least": 0.95, "most": None}
    assert "20 resamples, seed 1" in done.stderr


def test_a_missing_part_is_a_usage_error(quartermaster):
    assert quartermaster("selftest", "luck").returncode == 2


@needs_traces
def test_labels_of_people_are_measured_where_the_recordings_are():
    sources = Sources(DATA / "tables", DATA / "samples", TRACES)
    found = list(measure(["labels"], Extent(resamples=20, full=False), sources, 2))
    assert len(found) == 6
    assert {one.verdict for one in found} == {"pass", "no bar"}
    assert all(one.part == labels.PART and one.of for one in found)


def test_labels_without_recordings_are_a_usage_error(quartermaster, tmp_path):
    assert quartermaster("selftest", "labels").returncode == 2
    empty = quartermaster("selftest", "labels", "--recordings", str(tmp_path), "--workers", "1")
    assert empty.returncode == 2
    assert "agentrx, who_and_when, tau_bench" in empty.stderr
