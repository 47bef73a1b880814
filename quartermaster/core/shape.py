"""The shape of a mission: its layered signatures whatever the order of parallel siblings, and its profile.

The signatures of core.assessment follow the journal to the letter: two calls that one model turn started
side by side make another signature when they end up the other way round. Here such siblings stand in an
order of their own (by name, arguments, outcome), so that missions of one shape are found by one digest.
Where nothing ran side by side, both are equal.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

import msgspec

from quartermaster.core.assessment import (
    Layers,
    Name,
    OpenCommands,
    Row,
    Signatures,
    Texts,
    program,
    text_of,
)
from quartermaster.core.profile import END, START
from quartermaster.core.trajectory import (
    COMMAND,
    COMMAND_END,
    COMMAND_START,
    COST_INCURRED,
    KEEPER_DECISION,
)

_COMMANDS: Final = frozenset({COMMAND, COMMAND_START, COMMAND_END})
_WITH_OUTCOME: Final = _COMMANDS | {KEEPER_DECISION}
_MILLISECOND: Final = 10**6


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two missions alike. `edges` counts which program or tool follows which: eight bytes for
    each pair of names in rising order, then eight for each count."""

    steps: int
    layers: Layers
    edges: bytes


class _Step(msgspec.Struct, gc=False):
    kind: int
    tool: Any
    argument: Any
    success: bool | None
    began: int
    ended: int


def shape_of(rows: Iterable[Row], texts: Texts) -> Shape:
    """The shape of a mission by its rows in order."""
    steps = _steps(rows)
    signatures = Signatures(texts, 0)
    names: list[Name] = []
    arguments: list[bytes] = []
    outcomes: list[int] = []
    for index, step in enumerate(_in_canonical_order(steps, signatures)):
        names.append(signatures.names[step.kind][step.tool])
        if step.argument is not None:
            arguments.append(b"%d:" % index + signatures.arguments[step.argument])
        if step.success is not None and step.kind in _WITH_OUTCOME:
            outcomes.append(2 * index + bool(step.success))
    signatures.add(names, arguments, outcomes)
    return Shape(steps=len(steps), layers=signatures.layers(), edges=_packed(_edges(steps, texts)))


def _steps(rows: Iterable[Row]) -> list[_Step]:
    steps: list[_Step] = []
    commands = OpenCommands()
    for row in rows:
        instant, kind, tool, success = row[:4]
        duration, pairing, argument = row[11], row[12], row[14]
        if kind == COST_INCURRED:
            continue
        if kind == COMMAND_START:
            commands.open(pairing, len(steps))
        elif kind == COMMAND_END:
            began = commands.close(pairing, len(steps))
            if began != len(steps):
                steps[began].success, steps[began].ended = success, instant
                continue
        ended = instant + (duration or 0) * _MILLISECOND
        steps.append(_Step(kind, tool, argument, success, instant, ended))
    return steps


def _in_canonical_order(steps: Sequence[_Step], signatures: Signatures) -> Iterator[_Step]:
    for group in _side_by_side(steps):
        yield from sorted(group, key=lambda step: _rank(step, signatures)) if len(group) > 1 else group


def _side_by_side(steps: Sequence[_Step]) -> Iterator[list[_Step]]:
    """Calls whose times overlap stand together; whatever is no call, such as the next turn of the model,
    ends a group."""
    group: list[_Step] = []
    ends = 0
    for step in steps:
        if group and (step.kind not in _COMMANDS or step.began >= ends):
            yield group
            group, ends = [], 0
        group.append(step)
        ends = max(ends, step.ended) if step.kind in _COMMANDS else step.began
    if group:
        yield group


def _rank(step: _Step, signatures: Signatures) -> tuple[bytes, bytes, int]:
    argument = b"" if step.argument is None else signatures.arguments[step.argument]
    outcome = -1 if step.success is None else int(step.success)
    return signatures.names[step.kind][step.tool].levels, argument, outcome


def _edges(steps: Sequence[_Step], texts: Texts) -> Counter[int]:
    names = (program(text_of(texts, step.tool)) for step in steps if step.kind in _COMMANDS)
    return Counter(_edge(before, after) for before, after in pairwise((START, *names, END)))


def _edge(before: str, after: str) -> int:
    framed = f"{len(before)}:{before}{after}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(framed, digest_size=8).digest(), "big")


def _packed(edges: Counter[int]) -> bytes:
    ordered = sorted(edges.items())
    return array("Q", [edge for edge, _ in ordered] + [count for _, count in ordered]).tobytes()


CALLLESS: Final = _packed(_edges((), {}))
"""The edges of a mission without calls. All of these are equal, and so say nothing of who is like whom."""


def distances(shape: bytes, others: Sequence[bytes]) -> list[float]:
    """Jensen-Shannon distances (base 2) of packed edges to those of others, exact, all at once."""
    import numpy  # noqa: PLC0415 - only who looks for similar missions loads it

    if not others:
        return []
    edges, counts = numpy.split(numpy.frombuffer(shape, dtype=numpy.uint64), 2)
    mine = counts / counts.sum()
    lengths = numpy.array([len(other) // 16 for other in others])
    split = [numpy.split(numpy.frombuffer(other, dtype=numpy.uint64), 2) for other in others]
    their_edges = numpy.concatenate([one[0] for one in split])
    owner = numpy.repeat(numpy.arange(len(others)), lengths)
    their_counts = numpy.concatenate([one[1] for one in split]).astype(float)
    theirs = their_counts / numpy.bincount(owner, their_counts, len(others))[owner]
    place = numpy.minimum(numpy.searchsorted(edges, their_edges), len(edges) - 1)
    shared = edges[place] == their_edges
    p, q = mine[place[shared]], theirs[shared]
    middle = (p + q) / 2
    bits = (p * numpy.log2(p / middle) + q * numpy.log2(q / middle)) / 2 - (p + q) / 2
    squares = 1 + numpy.bincount(owner[shared], bits, len(others))
    return [math.sqrt(min(max(square, 0.0), 1.0)) if square > 1e-12 else 0.0 for square in squares.tolist()]
