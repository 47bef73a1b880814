"""What was acknowledged survives a power cut; and the harness that says so can tell when it is not true."""

import pytest

pytest.importorskip("apsw", reason="apsw is needed to cut the power under SQLite")

from faults import power


def test_nothing_that_was_acknowledged_is_lost_by_a_power_cut():
    figures = power.run(rounds=300, seed=7)
    assert figures["acknowledged"] > 1000
    assert (figures["rounds_with_losses"], figures["examples"]) == (0, [])


def test_a_writer_that_does_not_wait_for_the_disk_is_seen_to_lose_something():
    assert power.run(rounds=30, seed=7, synchronous="normal")["rounds_with_losses"] > 0
