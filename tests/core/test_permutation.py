"""Permutation tests are exact where they can be, fair where they draw, and always repeatable."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quartermaster.core.permutation import deal_missions, permute, seed_of, sign_flip, two_samples

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=3)


def test_few_sign_flips_are_counted_out_as_scipy_does():
    differences = [0.5, -0.2, 1.5, 0.7, 0.1, 2.0, -0.4]
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    tails = sign_flip(differences, seed=1)
    assert tails.exact
    assert tails.higher == pytest.approx(expected.pvalue, rel=1e-9)


def test_many_sign_flips_are_drawn_within_three_standard_errors():
    rng = np.random.default_rng(2)
    differences = list(rng.normal(0.15, 1, size=20))
    signs = np.array(list(product((-1, 1), repeat=16)))
    head = signs @ np.array(differences[:16])
    tail = np.array(list(product((-1, 1), repeat=4))) @ np.array(differences[16:])
    truth = np.mean((head[:, None] + tail[None, :]) >= sum(differences) - 1e-9)
    drawn = sign_flip(differences, seed=3)
    assert not drawn.exact
    assert drawn.higher == pytest.approx(truth, abs=3 * sqrt(truth * (1 - truth) / 9_999))


def test_labels_are_shuffled_inside_tasks_only():
    tasks = [([1.0, 2.0], [3.0, 4.0]), ([101.0, 102.0], [103.0, 104.0])]
    assert permute(tasks, seed=1).higher == pytest.approx(1 / 36)


def test_arms_without_tasks_are_shuffled_as_scipy_does():
    baseline, candidate = [1.0, 2.0, 2.5, 3.0], [2.6, 3.5, 4.0, 4.5]
    expected = stats.permutation_test(
        (candidate, baseline),
        lambda x, y: np.mean(x) - np.mean(y),
        n_resamples=np.inf,
        alternative="greater",
    )
    assert two_samples(baseline, candidate, seed=1).higher == pytest.approx(expected.pvalue, rel=1e-9)


def test_many_runs_of_a_task_are_dealt_at_random():
    rng = np.random.default_rng(4)
    baseline, candidate = list(rng.normal(0, 1, 12)), list(rng.normal(0.5, 1, 9))
    expected = stats.permutation_test(
        (candidate, baseline),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        vectorized=True,
        n_resamples=50_000,
        batch=5_000,
        alternative="greater",
        rng=np.random.default_rng(5),
    ).pvalue
    error = 3 * sqrt(expected * (1 - expected) * (1 / 9_999 + 1 / 50_000))
    assert two_samples(baseline, candidate, seed=1).higher == pytest.approx(expected, abs=error)


def test_the_same_data_give_the_same_p_in_any_order_of_naming():
    assert seed_of(["a", "b"], "cost", 1) == seed_of(["b", "a"], "cost", 1)
    assert seed_of(["a", "b"], "cost", 1) != seed_of(["a", "b"], "cost", 2)
    assert seed_of(["ab"], "cost", 1) != seed_of(["a", "b"], "cost", 1)


def test_missions_are_dealt_inside_their_tasks_and_the_first_row_is_the_truth():
    dealt = deal_missions([(2, 2)] * 12, seed=1, draws=999)
    assert dealt.shape == (1_000, 48)
    assert dealt[0].tolist() == [False, False, True, True] * 12
    assert (dealt.reshape(1_000, 12, 4).sum(axis=2) == 2).all()
    assert (dealt == deal_missions([(2, 2)] * 12, seed=1, draws=999)).all()
    writes = np.array([0.0, 0.0, 0.0, 1.0] * 12)
    candidate = dealt @ writes
    p = (candidate >= candidate[0]).sum() / 1_000
    truth = permute([([0.0, 0.0], [0.0, 1.0])] * 12, seed=1).higher
    assert p == pytest.approx(truth, abs=3 * sqrt(truth / 999) + 1 / 1_000)


def test_where_nothing_differs_nothing_can_be_concluded():
    assert permute([([1.0], [1.0])] * 30, seed=1).higher == 1.0
    assert permute([], seed=1).lower == 1.0


@given(st.lists(st.tuples(VALUES, VALUES), max_size=20), st.integers(0, 2**64))
def test_a_permutation_p_is_a_chance_and_its_tails_overlap(tasks, seed):
    tails = permute(tasks, seed, draws=199)
    assert 0 < tails.higher <= 1
    assert 0 < tails.lower <= 1
    assert tails.higher + tails.lower >= 1 - 1e-9
