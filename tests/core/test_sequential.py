"""A batch that is looked at after every mission: alarms when it should, seldom when it should not."""

import random

import pytest

from quartermaster.core.sequential import Batch, log_e_value, watch


def test_the_evidence_for_and_against():
    assert log_e_value(0, 0) == pytest.approx(0, abs=1e-12)
    assert watch(8, 0).state == "alarm"
    assert watch(5, 5).state == watch(0, 20).state == "watching"


def test_runs_of_a_task_are_paired_in_the_order_in_which_they_come():
    batch = Batch([("a", True), ("a", False), ("b", True)])
    first = batch.add("a", False)
    assert (first.baseline_succeeded, first.watch.worse, batch.missing) == (True, 1, 2)
    second = batch.add("a", True)
    assert (second.baseline_succeeded, second.watch.worse, second.watch.better) == (False, 1, 1)


def test_a_run_without_a_counterpart_changes_nothing():
    batch = Batch([("a", True)])
    assert batch.add("c", False) is None
    assert batch.add("a", True).watch.worse == 0
    assert batch.add("a", False) is None
    assert (batch.missing, batch.watch.worse) == (0, 0)


def alarms_in(batches: int, seed: int, drop: float) -> float:
    rng = random.Random(seed)
    alarms = 0
    for _ in range(batches):
        easy = [rng.random() for _ in range(100)]
        batch = Batch([(str(task), rng.random() < ease) for task, ease in enumerate(easy)])
        states = {
            batch.add(str(task), rng.random() < ease * (1 - drop)).watch.state
            for task, ease in enumerate(easy)
        }
        alarms += "alarm" in states
    return alarms / batches


def test_of_unchanged_batches_at_most_five_of_a_hundred_ever_raise_an_alarm():
    assert alarms_in(120, seed=3, drop=0.0) <= 0.05


def test_a_batch_that_loses_most_of_its_successes_raises_one():
    assert alarms_in(20, seed=4, drop=0.7) >= 0.95
