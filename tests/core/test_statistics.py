"""The statistics agree with SciPy and statsmodels to 1e-9, and never say NaN or infinity."""

import gc
import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats import contingency_tables, multitest, proportion

from quartermaster.core import statistics as own
from quartermaster.core.distributions import (
    beta_quantile,
    binomial_upper_tail,
    incomplete_beta,
    student_t_cdf,
    student_t_quantile,
)
from quartermaster.core.sequential import log_e_value, watch

COUNTS = st.integers(0, 400)


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_is_no_garbage() -> Iterator[None]:
    """statsmodels looks through everything that there is, in each call."""
    gc.freeze()
    yield
    gc.unfreeze()


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("a", [0.5, 1, 3, 40, 5_000])
@pytest.mark.parametrize("b", [0.5, 2, 30, 9_000])
@pytest.mark.parametrize("x", [0.001, 0.3, 0.5, 0.97])
def test_the_incomplete_beta_function_is_scipys(a, b, x):
    assert incomplete_beta(a, b, x) == close(special.betainc(a, b, x))


@pytest.mark.parametrize("degrees", [1, 2, 5, 9, 49, 199, 5_000])
@pytest.mark.parametrize("probability", [0.0005, 0.05, 0.5, 0.9, 0.95, 0.975, 0.9999])
def test_student_t_is_scipys(degrees, probability):
    quantile = student_t_quantile(probability, degrees)
    assert quantile == close(stats.t.ppf(probability, degrees))
    assert student_t_cdf(quantile, degrees) == close(probability)


@given(st.integers(0, 600), st.integers(0, 600), st.floats(0.01, 0.99))
def test_binomial_tails_are_scipys(successes, failures, probability):
    trials = successes + failures
    expected = stats.binom.sf(successes - 1, trials, probability)
    assert binomial_upper_tail(successes, trials, probability) == close(expected)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.975])
def test_beta_quantiles_are_scipys(probability):
    assert beta_quantile(probability, 4, 17) == close(special.betaincinv(4, 17, probability))


@given(COUNTS, COUNTS)
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(worse, better):
    if worse + better:
        expected = stats.binomtest(worse, worse + better, 0.5, alternative="greater").pvalue
        assert own.mcnemar_exact(worse, better) == close(expected)
        half = stats.binom.pmf(worse, worse + better, 0.5) / 2
        assert own.mcnemar_mid_p(worse, better) == close(expected - half)


def test_two_sided_mcnemar_of_statsmodels_is_twice_the_smaller_tail():
    table = [[10, 9], [3, 8]]
    expected = contingency_tables.mcnemar(table, exact=True).pvalue
    assert 2 * own.mcnemar_exact(9, 3) == close(expected)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_fisher_is_scipys(events, others, base_events, base_others):
    expected = stats.fisher_exact([[events, others], [base_events, base_others]], "greater").pvalue
    assert own.fisher_exact(events, others, base_events, base_others) == close(expected)
    population = events + others + base_events + base_others
    if population:
        here = stats.hypergeom.pmf(events, population, events + base_events, events + others)
        mid = own.fisher_mid_p(events, others, base_events, base_others)
        assert mid == pytest.approx(expected - here / 2, rel=1e-8, abs=1e-10)


@given(COUNTS, COUNTS, st.floats(0.05, 0.95))
def test_the_conditional_test_counts_half_of_what_was_seen(count, other, share):
    if count + other:
        seen = stats.binom.pmf(count, count + other, share)
        expected = stats.binom.sf(count, count + other, share) + seen / 2
        assert own.binomial_mid_p(count, other, share) == close(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_and_benjamini_hochberg_are_those_of_statsmodels(p_values):
    assert own.holm(p_values) == close(tuple(multitest.multipletests(p_values, method="holm")[1]))
    hochberg = multitest.multipletests(p_values, method="fdr_bh")[1]
    assert own.benjamini_hochberg(p_values) == close(tuple(hochberg))
    assert own.benjamini_hochberg(p_values) == close(tuple(stats.false_discovery_control(p_values)))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9).filter(any))
def test_small_signed_rank_tests_count_every_sign(differences):
    ranks = stats.rankdata(np.abs(differences))
    used = [rank for rank, difference in zip(ranks, differences, strict=True) if difference]
    seen = sum(rank for rank, difference in zip(ranks, differences, strict=True) if difference > 0)
    sums = [
        sum(rank for rank, above in zip(used, signs, strict=True) if above)
        for signs in product((0, 1), repeat=len(used))
    ]
    assert own.wilcoxon_pratt(differences) == close(np.mean([total >= seen for total in sums]))


@given(st.lists(st.integers(-9, 12), min_size=51, max_size=90).filter(any))
def test_large_signed_rank_tests_are_scipys(differences):
    expected = stats.wilcoxon(
        differences, zero_method="pratt", alternative="greater", method="asymptotic", correction=False
    )
    assert own.wilcoxon_pratt(differences) == close(expected.pvalue)


def test_pass_rates_of_tau_bench_tasks():
    tasks = [(4, 4), (2, 4), (0, 4), (1, 1)]
    assert own.pass_hat_k(tasks, 2) == close((1 + 1 / 6 + 0) / 3)
    assert own.pass_at_k(tasks, 2) == close((1 + (1 - 1 / 6) + 0) / 3)
    assert own.pass_hat_k(tasks, 5) is None
    assert own.flake_rate(tasks) == close(1 / 3)
    assert own.flake_rate([(1, 1)]) is None


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt")  # SciPy's own interval, not ours
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=30))
def test_the_median_slope_is_scipys(points):
    xs, ys = zip(*points, strict=True)
    slope = own.theil_sen_slope(xs, ys)
    if len(set(xs)) < 2:
        assert slope is None
    else:
        assert slope == close(stats.theilslopes(ys, xs).slope)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_evidence_is_the_mixture_over_chances_above_one_half(worse, better):
    from scipy.integrate import quad

    density = lambda chance: (2 * chance) ** worse * (2 * (1 - chance)) ** better  # noqa: E731
    peak = max(0.5, worse / max(1, worse + better))
    expected = 2 * quad(density, 0.5, 1, points=[peak], limit=200, epsabs=0, epsrel=1e-12)[0]
    assert log_e_value(worse, better) == pytest.approx(math.log(expected), rel=1e-9, abs=1e-9)


def test_looking_after_every_task_rarely_alarms_on_an_unchanged_agent():
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(400):
        steps = rng.choice([-1, 0, 0, 0, 1], size=200)
        worse, better = np.cumsum(steps > 0), np.cumsum(steps < 0)
        looks = {(int(x), int(y)) for x, y in zip(worse, better, strict=True)}
        alarms += any(watch(x, y).state == "alarm" for x, y in looks)
    assert alarms / 400 <= 0.05
    assert watch(20, 3).state == "alarm"
    assert watch(0, 0).log_evidence == pytest.approx(0, abs=1e-12)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_p_value_is_a_chance(events, others, base_events, base_others):
    p_values = (
        own.mcnemar_mid_p(events, others),
        own.mcnemar_exact(events, others),
        own.fisher_mid_p(events, others, base_events, base_others),
        own.binomial_mid_p(events, others, 0.5),
    )
    assert all(0 <= p <= 1 for p in p_values)


def test_wilson_and_exact_intervals_are_those_of_statsmodels():
    from quartermaster.core.intervals import clopper_pearson, wilson

    for successes, trials in product((0, 1, 7, 30), (30, 31, 400)):
        low, high = proportion.proportion_confint(successes, trials, method="wilson")
        interval = wilson(successes, trials)
        assert (interval.low, interval.high) == close((max(0, low), min(1, high)))
        low, high = proportion.proportion_confint(successes, trials, method="beta")
        interval = clopper_pearson(successes, trials)
        assert (interval.low, interval.high) == close((np.nan_to_num(low), 1.0 if np.isnan(high) else high))
    assert wilson(0, 0) is None
    assert clopper_pearson(0, 0) is None
