"""How an agent goes about its work: which tool it uses after which, whatever the arguments.

A behaviour profile counts the directly-follows pairs of tool names, from a start to an end. Two profiles
are as far apart as the Jensen-Shannon distance of their shares (base 2): 0 for equal ones, 1 for two that
share no pair.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from quartermaster.core.transcript import Event, EventKind

START: Final = "START"
END: Final = "END"
LEAST_BASELINES: Final = 3
"""Missions that a share of known transitions takes: fewer do not show what is usual."""


class Edge(NamedTuple):
    """One tool directly after another; START and END stand for no tool."""

    before: str
    after: str


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a distance one pair of tools makes, with its share on both sides."""

    edge: Edge
    baseline: float
    candidate: float
    share: float


class BehaviourProfile(msgspec.Struct, frozen=True):
    """Directly-follows counts of one mission, or of several together."""

    edges: Counter[Edge]

    @property
    def total(self) -> int:
        return self.edges.total()


def profile_of(*missions: Iterable[Event]) -> BehaviourProfile:
    """The profile of the tool calls of missions; one without calls goes from START to END."""
    edges: Counter[Edge] = Counter()
    for events in missions:
        tools = (event.name for event in events if event.kind is EventKind.TOOL_CALL)
        edges.update(Edge(*pair) for pair in pairwise((START, *tools, END)))
    return BehaviourProfile(edges)


def together(profiles: Iterable[BehaviourProfile]) -> BehaviourProfile:
    """The profile of several missions."""
    edges: Counter[Edge] = Counter()
    for one in profiles:
        edges.update(one.edges)
    return BehaviourProfile(edges)


def distance(baseline: BehaviourProfile, candidate: BehaviourProfile) -> float | None:
    """From 0 to 1; None where a side has no mission."""
    if not baseline.total or not candidate.total:
        return None
    return math.sqrt(max(0.0, min(1.0, math.fsum(_divergences(baseline, candidate).values()))))


def top_edges(
    baseline: BehaviourProfile, candidate: BehaviourProfile, most: int = 5
) -> tuple[Contribution, ...]:
    """The pairs that make most of the distance, the largest first; `share` is of the squared distance."""
    divergences = _divergences(baseline, candidate) if baseline.total and candidate.total else {}
    whole = math.fsum(divergences.values())
    ranked = sorted((-part, edge) for edge, part in divergences.items() if part > 0)
    return tuple(
        Contribution(
            edge=edge,
            baseline=baseline.edges[edge] / baseline.total,
            candidate=candidate.edges[edge] / candidate.total,
            share=-part / whole,
        )
        for part, edge in ranked[:most]
    )


def conformance(candidate: BehaviourProfile, baselines: Sequence[BehaviourProfile]) -> float | None:
    """Share of the candidate's transitions that a baseline has too; None with fewer than three of these."""
    if len(baselines) < LEAST_BASELINES or not candidate.total:
        return None
    known = set().union(*(baseline.edges for baseline in baselines))
    return sum(count for edge, count in candidate.edges.items() if edge in known) / candidate.total


def _divergences(baseline: BehaviourProfile, candidate: BehaviourProfile) -> dict[Edge, float]:
    """Bits that each edge adds to the Jensen-Shannon divergence."""
    return {
        edge: _bits(baseline.edges[edge] / baseline.total, candidate.edges[edge] / candidate.total)
        for edge in sorted(baseline.edges.keys() | candidate.edges.keys())
    }


def _bits(one: float, other: float) -> float:
    if one == other:
        return 0.0
    middle = (one + other) / 2
    return sum(share * math.log2(share / middle) for share in (one, other) if share) / 2
