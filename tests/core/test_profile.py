"""Behaviour profiles."""

import math

import pytest
from scipy.spatial.distance import jensenshannon
from transcripts import call, model

from quartermaster.core.profile import END, START, Edge, conformance, distance, profile_of, top_edges


def profile(*missions: str):
    return profile_of(*([model(), *map(call, tools)] for tools in missions))


def test_a_profile_counts_which_tool_follows_which():
    assert profile("aab").edges == {
        Edge(START, "a"): 1, Edge("a", "a"): 1, Edge("a", "b"): 1, Edge("b", END): 1,
    }  # fmt: skip
    assert profile("").edges == {Edge(START, END): 1}


def test_equal_profiles_are_at_no_distance_and_unlike_ones_at_one():
    assert distance(profile("ab"), profile("ab", "ab")) == 0
    assert distance(profile("ab"), profile("cd")) == 1
    assert distance(profile(), profile("a")) is None


def test_the_distance_is_that_of_jensen_and_shannon_in_bits():
    one, other = profile("aabca"), profile("abcc", "b")
    edges = sorted(one.edges.keys() | other.edges.keys())
    oracle = jensenshannon([one.edges[e] for e in edges], [other.edges[e] for e in edges], base=2)
    assert distance(one, other) == pytest.approx(oracle, abs=1e-12)
    assert distance(one, other) == distance(other, one)


def test_conformance_takes_three_baselines():
    known = [profile("ab"), profile("abb"), profile("a")]
    assert conformance(profile("abc"), known) == pytest.approx(0.5)
    assert conformance(profile("abc"), known[:2]) is None


def test_the_edges_that_make_the_distance_are_listed_largest_first():
    found = top_edges(profile("abab"), profile("aaaaaab"))
    assert found[0].edge == Edge("a", "a")
    assert math.fsum(one.share for one in top_edges(profile("ab"), profile("cd"), 99)) == pytest.approx(1)
    assert top_edges(profile("ab"), profile("ab")) == ()
