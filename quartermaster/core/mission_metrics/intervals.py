"""Spans of time: how long they are together, and the longest chain of those that follow each other."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

Span = tuple[int, int]
"""The instants at which something began and ended."""


def union(spans: Iterable[Span]) -> int:
    """Length of what is covered by at least one span; a span that ends before it begins covers nothing."""
    covered = 0
    reached: int | None = None
    for start, end in sorted(spans):
        begin = start if reached is None else max(start, reached)
        if end > begin:
            covered += end - begin
            reached = end
    return covered


def longest_chain(spans: Sequence[tuple[int, int, int]]) -> int:
    """Greatest sum of weights over spans (start, end, weight) of which none overlaps another."""
    ordered = sorted(spans, key=itemgetter(1))
    ends = [end for _, end, _ in ordered]
    best = [0]
    for index, (start, _, weight) in enumerate(ordered):
        before = min(bisect_right(ends, start), index)
        best.append(max(best[-1], best[before] + weight))
    return best[-1]
