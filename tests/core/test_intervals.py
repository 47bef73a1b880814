"""Intervals cover what they promise and agree with SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quartermaster.core.intervals import bca_bootstrap, newcombe_paired, paired_t, two_sample_bootstrap

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


def mean(means):
    return means[..., 0]


def test_a_paired_interval_is_scipys():
    differences = [0.3, -1.2, 2.2, 0.9, 0.1, 4.0]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    interval = paired_t(differences, 0.9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert paired_t([1.0]) is None


@given(NUMBERS)
def test_intervals_are_finite_and_in_order(differences):
    interval = paired_t(differences)
    assert math.isfinite(interval.low) and interval.low <= interval.high
    for bounds in bca_bootstrap([differences], mean, (0.9, 0.95), seed=1, draws=99):
        assert math.isfinite(bounds.low) and bounds.low <= bounds.high


def test_the_bootstrap_interval_is_scipys_within_monte_carlo_error():
    rng = np.random.default_rng(5)
    values = rng.exponential(2.0, size=30)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=200_000, batch=5_000, method="BCa", rng=np.random.default_rng(6)
    ).confidence_interval
    (interval,) = bca_bootstrap([list(values)], mean, (0.95,), seed=7)
    error = 3 * values.std() / math.sqrt(len(values)) * 0.03  # an end's error with 9,999 draws
    assert interval.low == pytest.approx(expected.low, abs=error)
    assert interval.high == pytest.approx(expected.high, abs=error)


def test_the_bootstrap_of_two_arms_is_scipys_within_monte_carlo_error():
    rng = np.random.default_rng(15)
    baseline, candidate = rng.exponential(1.0, size=25), rng.exponential(1.5, size=40)
    expected = stats.bootstrap(
        (baseline, candidate),
        lambda one, other, axis: np.mean(other, axis=axis) - np.mean(one, axis=axis),
        n_resamples=100_000,
        batch=5_000,
        method="BCa",
        rng=np.random.default_rng(16),
    ).confidence_interval
    (interval,) = two_sample_bootstrap(
        list(baseline), list(candidate), lambda means: means[..., 1] - means[..., 0], (0.95,), seed=17
    )
    spread = math.sqrt(baseline.var() / 25 + candidate.var() / 40)
    assert interval.low == pytest.approx(expected.low, abs=3 * spread * 0.03)
    assert interval.high == pytest.approx(expected.high, abs=3 * spread * 0.03)


def test_the_same_seed_draws_the_same_interval():
    values = [[1.0, 4.0, 2.0, 8.0, 5.0, 7.0]]
    assert bca_bootstrap(values, mean, (0.95,), 3) == bca_bootstrap(values, mean, (0.95,), 3)
    assert bca_bootstrap(values, mean, (0.95,), 3) != bca_bootstrap(values, mean, (0.95,), 4)


def test_a_ratio_over_nothing_has_no_interval():
    columns = [[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]]
    assert bca_bootstrap(columns, lambda means: np.log(means[..., 1] / means[..., 0]), (0.95,), 1) is None


def test_the_paired_interval_of_rates_narrows_when_the_same_tasks_succeed():
    agreeing = newcombe_paired(40, 10, 5, 45)
    independent = newcombe_paired(22, 28, 23, 27)
    assert agreeing.low < 0.05 < agreeing.high
    assert agreeing.high - agreeing.low < independent.high - independent.low
    assert newcombe_paired(0, 0, 0, 0) is None


def test_the_paired_interval_of_rates_covers_the_truth():
    rng = np.random.default_rng(9)
    tables = rng.multinomial(8, (0.4, 0.2, 0.1, 0.3), size=2_000)
    intervals = [newcombe_paired(*map(int, table)) for table in tables]
    covered = np.mean([interval.low <= 0.1 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 1


@given(*(st.integers(0, 60),) * 4)
def test_the_paired_interval_of_rates_holds_the_difference(both, first, second, neither):
    interval = newcombe_paired(both, first, second, neither)
    if interval is not None:
        difference = (first - second) / (both + first + second + neither)
        assert -1 <= interval.low <= difference + 1e-9
        assert difference - 1e-9 <= interval.high <= 1
