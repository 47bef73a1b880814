"""Whether the agents of two sets go about their work alike: their profiles, put to a permutation test.

Two sets of one agent are never at distance zero: how far chance alone takes them apart is measured by
dealing the missions of each task to the arms anew. A difference is neither good nor bad, so it is a drift at
most and fails no gate.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from quartermaster.core.permutation import deal_missions, seed_of
from quartermaster.core.profile import (
    BehaviourProfile,
    Contribution,
    Edge,
    conformance,
    distance,
    together,
    top_edges,
)
from quartermaster.core.trials import Pair

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

DRAWS: Final = 999
_LEVEL: Final = 0.05
_EDGES_AT_ONCE: Final = 256
_CELLS_AT_ONCE: Final = 4_000_000
_NAMED: Final = 3

BehaviourVerdict = Literal["drift", "inconclusive", "not_comparable"]


class BehaviourComparison(msgspec.Struct, frozen=True, kw_only=True):
    """`distance` is that of the arms' profiles, from 0 to 1; `by_chance` what it is on average when the
    missions of each task are dealt anew, and `p` the share of deals that come as far. `known` is the share
    of the candidate's transitions that some mission of the baseline made too; None with fewer than three of
    these. `changed` are the transitions that make most of the distance."""

    verdict: BehaviourVerdict
    sentence: str
    reason: str | None = None
    missions: tuple[int, int]
    distance: float | None = None
    by_chance: float | None = None
    p: float | None = None
    known: float | None = None
    changed: tuple[Contribution, ...] = ()


def compare_behaviour(
    pairs: Sequence[Pair], obstacle: str | None, version: int
) -> BehaviourComparison | None:
    """None where it is not known of every mission which tools it called; `obstacle` is why no test is worth
    its name."""
    arms = (
        [trial for pair in pairs for trial in pair.baseline],
        [trial for pair in pairs for trial in pair.candidate],
    )
    profiles = [[one.behaviour for one in arm if one.behaviour is not None] for arm in arms]
    missions = len(arms[0]), len(arms[1])
    if not all(missions) or missions != (len(profiles[0]), len(profiles[1])):
        return None
    baseline, candidate = map(together, profiles)
    apart = distance(baseline, candidate)
    assert apart is not None  # every mission goes from START to END
    found = BehaviourComparison(
        verdict="not_comparable",
        sentence="",
        reason=obstacle,
        missions=missions,
        distance=apart,
        known=conformance(candidate, profiles[0]),
        changed=top_edges(baseline, candidate),
    )
    if obstacle is None:
        by_chance, p = _tested(pairs, version)
        verdict: BehaviourVerdict = "drift" if p <= _LEVEL else "inconclusive"
        found = msgspec.structs.replace(found, verdict=verdict, by_chance=by_chance, p=p)
    return msgspec.structs.replace(found, sentence=_sentence(found))


def shown_edge(edge: Edge) -> str:
    """A transition as people read it."""
    return " -> ".join(tool or "a tool without a name" for tool in edge)


def _tested(pairs: Sequence[Pair], version: int) -> tuple[float, float]:
    """The mean distance of arms that chance has dealt, and the chance of one as large as that seen."""
    import numpy as np  # noqa: PLC0415 - a fifth of a second that only a comparison of sets needs

    sizes = [(len(pair.baseline), len(pair.candidate)) for pair in pairs]
    seed = seed_of((pair.task for pair in pairs), "behaviour", version)
    profiles = [
        trial.behaviour for pair in pairs for side in (pair.baseline, pair.candidate) for trial in side
    ]
    dealt = deal_missions(sizes, seed, DRAWS)
    known = [one for one in profiles if one is not None]
    parts = np.array_split(dealt, 1 + dealt.size // _CELLS_AT_ONCE)
    divergences = np.concatenate([_divergences(part.astype(float), known) for part in parts])
    seen, chance = divergences[0], divergences[1:]
    as_far = int((chance >= seen * (1 - 1e-10)).sum())
    return float(np.sqrt(np.clip(chance, 0.0, 1.0)).mean()), (1 + as_far) / (1 + DRAWS)


def _divergences(dealt: "Numbers", profiles: Sequence[BehaviourProfile]) -> "Numbers":
    """Jensen-Shannon divergences in bits, one for each row of `dealt`. Counts are whole numbers below 2^53,
    so their sums are exact in whatever order they are added."""
    import numpy as np  # noqa: PLC0415 - see above

    totals = np.array([one.total for one in profiles], dtype=float)
    in_candidate = dealt @ totals
    in_baseline = totals.sum() - in_candidate
    places = {edge: at for at, edge in enumerate(sorted({edge for one in profiles for edge in one.edges}))}
    cells = sorted(
        (places[edge], row, count) for row, one in enumerate(profiles) for edge, count in one.edges.items()
    )
    columns = np.array([cell[0] for cell in cells])
    rows, counts = (np.array([cell[at] for cell in cells]) for at in (1, 2))
    divergences = np.zeros(len(dealt))
    for first in range(0, len(places), _EDGES_AT_ONCE):
        inside = slice(*np.searchsorted(columns, (first, first + _EDGES_AT_ONCE)))
        block = np.zeros((len(profiles), min(_EDGES_AT_ONCE, len(places) - first)))
        block[rows[inside], columns[inside] - first] = counts[inside]
        candidate = dealt @ block
        baseline = block.sum(axis=0) - candidate
        divergences += _bits(baseline / in_baseline[:, None], candidate / in_candidate[:, None])
    return divergences


def _bits(one: "Numbers", other: "Numbers") -> "Numbers":
    import numpy as np  # noqa: PLC0415 - see above

    middle = (one + other) / 2
    logarithms = [
        np.log2(np.divide(share, middle, out=np.ones_like(share), where=share > 0)) for share in (one, other)
    ]
    bits: Numbers = ((one * logarithms[0] + other * logarithms[1]) / 2).sum(axis=1)
    return bits


def _sentence(found: BehaviourComparison) -> str:
    apart = f"the profiles of what follows what are {found.distance:.2g} apart"
    missions = f"{found.missions[0]} missions against {found.missions[1]}"
    if found.reason is not None:
        return f"Behaviour is not comparable: {found.reason} ({apart}, {missions})."
    chance = f"{apart}, by chance it would be about {found.by_chance:.2g} ({missions}; p {found.p:.2g})"
    if found.verdict == "inconclusive":
        return f"No difference of behaviour was seen: {chance}."
    named = "; ".join(
        f"{shown_edge(one.edge)} {100 * one.baseline:.2g} % -> {100 * one.candidate:.2g} % of transitions"
        for one in found.changed[:_NAMED]
    )
    return f"The agent behaves differently: {chance}. Changed most: {named}."
