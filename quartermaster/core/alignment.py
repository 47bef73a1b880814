"""Two missions laid side by side: which steps are the same, which changed, came or went.

Steps are compared by whole numbers (core.step_keys). What both begin and end with is set aside, loops are
folded, the rest is aligned by edit distance, and stretches that were replaced are refined by what the steps
have in common. Positions count the steps that were given, from 0.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.core.step_keys import StepKeys, canonical_arguments
from quartermaster.core.transcript import Event, EventKind

BlockKind = Literal["equal", "changed", "inserted", "deleted", "replaced"]
Method = Literal["whole", "anchored windows"]
_Move = Literal["pair", "inserted", "deleted"]

WHOLE_LIMIT: Final = 250_000
"""Missions with more steps than this are aligned between steps that both have exactly once."""

_REFINED: Final = 500
_FEW_MATCHES: Final = 20
_LONGEST_PERIOD: Final = 8
_LEAST_REPEATS: Final = 3
_VALUE_LIMIT: Final = 200

# Costs of the refinement, in thousandths: whole numbers add up the same on every machine.
_GAP: Final = 700
_OTHER_ARGUMENTS: Final = 300
_SHARED_ARGUMENTS: Final = 200
_SAME_KIND: Final = 600
_UNLIKE: Final = 1_000
_OTHER_STATUS: Final = 200

_MESSAGES: Final = frozenset({EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE, EventKind.MODEL_CALL})
"""Kinds whose name is no tool: two of one kind are one step told differently."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """Positions from `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


class Block(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stretch of an alignment. In `equal` and `changed` blocks steps stand side by side, one for one.

    `repeats` says that what was inserted or deleted is a loop: the same `period` steps so many times, on
    top of those before it where these are the same again. A `replaced` block has no pairs.
    """

    kind: BlockKind
    baseline: Span
    candidate: Span
    repeats: int | None = None
    period: int | None = None

    @property
    def paired(self) -> bool:
        return self.kind in ("equal", "changed")

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Positions of steps that stand side by side; only for a block that is paired."""
        return zip(
            range(self.baseline.start, self.baseline.end),
            range(self.candidate.start, self.candidate.end),
            strict=True,
        )


class Place(msgspec.Struct, frozen=True, gc=False):
    """A position on both sides; at the end of a side it is the number of its steps."""

    baseline: int
    candidate: int


class Flip(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Steps that stand side by side, of which one succeeded and the other failed."""

    baseline: int
    candidate: int
    failed: bool


class ArgumentChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One argument of a step on both sides, as text that may be cut; None where it was not given."""

    key: str
    baseline: str | None
    candidate: str | None


class Alignment(msgspec.Struct, frozen=True, kw_only=True):
    """Two missions side by side; the blocks cover every step of both, in order.

    `similarity` is the share of steps in a longest common subsequence: 1 for equal missions, the same
    from either side. `unaligned` counts steps without a partner. `first_divergence` is where keys or
    outcomes part first, None where they never do.
    """

    blocks: tuple[Block, ...]
    similarity: float
    unaligned: int
    first_divergence: Place | None
    flips: tuple[Flip, ...]
    method: Method

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Positions that stand side by side, equal or changed."""
        for block in self.blocks:
            if block.paired:
                yield from block.pairs()


def align(
    baseline: Sequence[Event],
    candidate: Sequence[Event],
    *,
    keys: StepKeys | None = None,
    whole_limit: int = WHOLE_LIMIT,
) -> Alignment:
    """The events of two missions side by side; `keys` makes the keys of both."""
    maker = keys or StepKeys()
    before, after = maker.steps(baseline), maker.steps(candidate)
    refine = _Refinement(baseline, candidate, before, after)
    method, blocks = _align(before, after, refine, whole_limit)
    flips = tuple(_flips(blocks, baseline, candidate))
    return Alignment(
        blocks=blocks,
        similarity=similarity(before, after, whole_limit=whole_limit),
        unaligned=sum(len(b.baseline) + len(b.candidate) for b in blocks if not b.paired),
        first_divergence=_first_divergence(blocks, flips),
        flips=flips,
        method=method,
    )


def align_keys(
    baseline: Sequence[int], candidate: Sequence[int], *, whole_limit: int = WHOLE_LIMIT
) -> tuple[Block, ...]:
    """The same for bare keys: steps are equal or not, and nothing is known to refine by."""
    return _align(baseline, candidate, None, whole_limit)[1]


def similarity(baseline: Sequence[int], candidate: Sequence[int], *, whole_limit: int = WHOLE_LIMIT) -> float:
    """Length of a longest common subsequence over the longer side; 1 for two empty ones, 0 for one.

    Above the limit the steps that both have are counted whatever their order: an upper bound.
    """
    if not baseline or not candidate:
        return float(not baseline and not candidate)
    if max(len(baseline), len(candidate)) > whole_limit:
        return (Counter(baseline) & Counter(candidate)).total() / max(len(baseline), len(candidate))
    if _matches(baseline, candidate) <= _FEW_MATCHES * (len(baseline) + len(candidate)):
        return _common_length(baseline, candidate) / max(len(baseline), len(candidate))
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415 - only who aligns loads it

    return float(LCSseq.normalized_similarity(*_numbered(baseline, candidate)))


def _matches(before: Sequence[int], after: Sequence[int]) -> int:
    """How many pairs of equal keys there are."""
    counts = Counter(after)
    return sum(count * counts[key] for key, count in Counter(before).items())


def _common_length(before: Sequence[int], after: Sequence[int]) -> int:
    """Length of a longest common subsequence by its matches (Hunt and Szymanski): quick where they are few,
    which is where a bit-parallel search is slow, because it looks up each of many keys."""
    places: dict[int, list[int]] = {}
    for index in range(len(after) - 1, -1, -1):
        places.setdefault(after[index], []).append(index)
    lows: list[int] = []
    for key in before:
        for place in places.get(key, ()):
            pile = bisect_left(lows, place)
            if pile == len(lows):
                lows.append(place)
            else:
                lows[pile] = place
    return len(lows)


def changed_arguments(baseline: Event, candidate: Event) -> tuple[ArgumentChange, ...]:
    """Which arguments of two calls of one tool differ, by key, as they were told."""
    before, after = arguments_of(baseline), arguments_of(candidate)
    return tuple(
        ArgumentChange(key=key, baseline=_shown(before, key), candidate=_shown(after, key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
    )


_ABSENT: Final = object()


def arguments_of(event: Event) -> dict[str, Any]:
    """The arguments of a call by key; a command line stands under `command`, bare text under `input`."""
    if isinstance(event.arguments, dict):
        told = {str(key): value for key, value in event.arguments.items()}
        return told if event.command is None else {"command": event.command} | told
    if event.command is not None:
        return {"command": event.command}
    text = canonical_arguments(event)
    return {"input": text} if text else {}


def _shown(arguments: dict[str, Any], key: str) -> str | None:
    if key not in arguments:
        return None
    value = arguments[key]
    text = value if isinstance(value, str) else _as_json(value)
    return text if len(text) <= _VALUE_LIMIT else text[: _VALUE_LIMIT - 1] + "…"


def _as_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except (msgspec.EncodeError, RecursionError, UnicodeEncodeError, TypeError):
        return repr(value)


def _flips(blocks: Sequence[Block], baseline: Sequence[Event], candidate: Sequence[Event]) -> Iterator[Flip]:
    for block in blocks:
        if not block.paired:
            continue
        for before, after in block.pairs():
            was, became = baseline[before].succeeded, candidate[after].succeeded
            if was is not became and was is not None and became is not None:
                yield Flip(baseline=before, candidate=after, failed=not became)


def _first_divergence(blocks: Sequence[Block], flips: Sequence[Flip]) -> Place | None:
    parted = next((block for block in blocks if block.kind != "equal"), None)
    places = [Place(flip.baseline, flip.candidate) for flip in flips[:1]]
    if parted is not None:
        places.append(Place(parted.baseline.start, parted.candidate.start))
    return min(places, key=lambda place: (place.baseline, place.candidate), default=None)


class _Piece(NamedTuple):
    """A block in the making: from and to on both sides."""

    kind: BlockKind
    baseline: tuple[int, int]
    candidate: tuple[int, int]


def _align(
    before: Sequence[int], after: Sequence[int], refine: "_Refinement | None", whole_limit: int
) -> tuple[Method, tuple[Block, ...]]:
    head = _common_prefix(before, after)
    tail = _common_suffix(before, after, head)
    left, right = (head, len(before) - tail), (head, len(after) - tail)
    pieces: list[_Piece] = [_Piece("equal", (0, head), (0, head))]
    method: Method = "whole"
    if max(left[1] - left[0], right[1] - right[0]) <= whole_limit:
        pieces += _pieces(before, after, left, right, refine)
    else:
        method = "anchored windows"
        pieces += _anchored(before, after, left, right, refine, whole_limit=whole_limit)
    pieces.append(_Piece("equal", (left[1], len(before)), (right[1], len(after))))
    return method, tuple(_block(piece, before, after) for piece in _merged(pieces))


def _common_prefix(before: Sequence[int], after: Sequence[int]) -> int:
    for index, (one, other) in enumerate(zip(before, after, strict=False)):
        if one != other:
            return index
    return min(len(before), len(after))


def _common_suffix(before: Sequence[int], after: Sequence[int], head: int) -> int:
    most = min(len(before), len(after)) - head
    for length in range(most):
        if before[-1 - length] != after[-1 - length]:
            return length
    return most


def _merged(pieces: Sequence[_Piece]) -> Iterator[_Piece]:
    """Neighbours of one kind as one piece, and nothing empty."""
    last: _Piece | None = None
    for piece in pieces:
        if piece.baseline[0] == piece.baseline[1] and piece.candidate[0] == piece.candidate[1]:
            continue
        if last is not None and last.kind == piece.kind:
            last = _Piece(
                last.kind, (last.baseline[0], piece.baseline[1]), (last.candidate[0], piece.candidate[1])
            )
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _block(piece: _Piece, before: Sequence[int], after: Sequence[int]) -> Block:
    period, repeats = None, None
    if piece.kind == "inserted":
        period, repeats = _repetition(after, *piece.candidate)
    elif piece.kind == "deleted":
        period, repeats = _repetition(before, *piece.baseline)
    return Block(
        kind=piece.kind,
        baseline=Span(*piece.baseline),
        candidate=Span(*piece.candidate),
        repeats=repeats,
        period=period,
    )


def _repetition(keys: Sequence[int], start: int, end: int) -> tuple[int | None, int | None]:
    """Period and number of repeats of a stretch that is a loop; a loop has at least three periods,
    those that stand right before the stretch or right behind it among them."""
    length = end - start
    for period in range(1, min(_LONGEST_PERIOD, length) + 1):
        if length % period or any(keys[at] != keys[at + period] for at in range(start, end - period)):
            continue
        again = keys[start : start + period]
        around = (keys[max(start - period, 0) : start] == again) + (keys[end : end + period] == again)
        if length // period + around >= _LEAST_REPEATS:
            return period, length // period
        return None, None
    return None, None


class _Node(NamedTuple):
    """Steps that are aligned as one: a single step, or what a loop repeats after its first round."""

    key: int
    start: int
    end: int


def _pieces(
    before: Sequence[int],
    after: Sequence[int],
    left: tuple[int, int],
    right: tuple[int, int],
    refine: "_Refinement | None",
) -> Iterator[_Piece]:
    """The pieces of a stretch of either side that begins and ends with different steps."""
    if left[0] == left[1] or right[0] == right[1]:
        yield from _one_sided(left, right)
        return
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415 - only who aligns loads it

    numbers: dict[Any, int] = {}
    nodes_before, nodes_after = _folded(before, *left, numbers), _folded(after, *right, numbers)
    codes = ([node.key for node in nodes_before], [node.key for node in nodes_after])
    for same, i, j, k, m in _stretches(Levenshtein.opcodes(*codes)):
        if same:
            yield from _equal_nodes(nodes_before[i:j], nodes_after[k:m])
            continue
        span_before = _covered(nodes_before, i, j, left[1])
        span_after = _covered(nodes_after, k, m, right[1])
        if i < j and k < m:
            yield from _replaced(span_before, span_after, refine)
        else:
            yield from _one_sided(span_before, span_after)


def _stretches(opcodes: Iterable[Any]) -> Iterator[tuple[bool, int, int, int, int]]:
    """What is the same and what is not in turn: where a stretch lies does not say which of its steps came,
    went or changed, because many ways cost the same."""
    for same, group in groupby(opcodes, key=lambda opcode: opcode.tag == "equal"):
        stretch = list(group)
        first, last = stretch[0], stretch[-1]
        yield same, first.src_start, last.src_end, first.dest_start, last.dest_end


def _covered(nodes: Sequence[_Node], first: int, last: int, end: int) -> tuple[int, int]:
    if first == last:
        start = nodes[first].start if first < len(nodes) else end
        return start, start
    return nodes[first].start, nodes[last - 1].end


def _one_sided(before: tuple[int, int], after: tuple[int, int]) -> Iterator[_Piece]:
    if before[0] < before[1]:
        yield _Piece("deleted", before, (after[0], after[0]))
    if after[0] < after[1]:
        yield _Piece("inserted", (before[1], before[1]), after)


def _equal_nodes(before: Sequence[_Node], after: Sequence[_Node]) -> Iterator[_Piece]:
    """Steps of one key, or loops of which one may have gone on longer."""
    if before[-1].end - before[0].start == after[-1].end - after[0].start == len(before):
        yield _Piece("equal", (before[0].start, before[-1].end), (after[0].start, after[-1].end))
        return
    for one, other in zip(before, after, strict=True):
        common = min(one.end - one.start, other.end - other.start)
        yield _Piece("equal", (one.start, one.start + common), (other.start, other.start + common))
        yield from _one_sided((one.start + common, one.end), (other.start + common, other.end))


def _replaced(
    before: tuple[int, int], after: tuple[int, int], refine: "_Refinement | None"
) -> Iterator[_Piece]:
    if refine is None or before[1] - before[0] > _REFINED or after[1] - after[0] > _REFINED:
        yield _Piece("replaced", before, after)
        return
    yield from refine.pieces(before, after)


def _folded(keys: Sequence[int], start: int, end: int, numbers: dict[Any, int]) -> list[_Node]:
    """Nodes of a stretch; every key and every loop has its number, the same on both sides."""
    nodes: list[_Node] = []
    position = start
    for first, last, period in _loops(keys, start, end):
        nodes += _singles(keys, position, first + period, numbers)
        loop = ("again", *keys[first : first + period])
        nodes.append(_Node(numbers.setdefault(loop, len(numbers)), first + period, last))
        position = last
    return nodes + _singles(keys, position, end, numbers)


def _singles(keys: Sequence[int], start: int, end: int, numbers: dict[Any, int]) -> list[_Node]:
    return [
        _Node(numbers.setdefault(keys[index], len(numbers)), index, index + 1) for index in range(start, end)
    ]


def _loops(keys: Sequence[int], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """First position, end and period of each stretch of at least three equal periods, shortest first."""
    import numpy  # noqa: PLC0415 - only who aligns loads it

    row = numpy.asarray(keys[start:end], dtype=numpy.int64)
    found: list[tuple[int, int, int]] = []
    for period in range(1, min(_LONGEST_PERIOD, len(row) // _LEAST_REPEATS) + 1):
        same = numpy.concatenate(([False], row[period:] == row[:-period], [False]))
        edges = numpy.flatnonzero(same[1:] != same[:-1])
        for first, last in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
            if last - first >= (_LEAST_REPEATS - 1) * period:
                found.append((first, period, last + period))
    position = 0
    for first, period, last in sorted(found):
        begins = max(first, position)
        rounds = (last - begins) // period
        if rounds >= _LEAST_REPEATS:
            position = begins + rounds * period
            yield start + begins, start + position, period


def _numbered(before: Sequence[int], after: Sequence[int]) -> tuple[list[int], list[int]]:
    """Small numbers for keys: the alignment hashes them faster than digests."""
    numbers: dict[int, int] = {}
    return (
        [numbers.setdefault(key, len(numbers)) for key in before],
        [numbers.setdefault(key, len(numbers)) for key in after],
    )


def _anchored(
    before: Sequence[int],
    after: Sequence[int],
    left: tuple[int, int],
    right: tuple[int, int],
    refine: "_Refinement | None",
    *,
    whole_limit: int,
) -> Iterator[_Piece]:
    """Windows between steps that both sides have exactly once, in the longest order that both agree on."""
    at_before, at_after = left[0], right[0]
    for anchor_before, anchor_after in [*_anchors(before, after, left, right), (left[1], right[1])]:
        window_before, window_after = (at_before, anchor_before), (at_after, anchor_after)
        if max(anchor_before - at_before, anchor_after - at_after) <= whole_limit:
            yield from _pieces(before, after, window_before, window_after, refine)
        else:
            yield from _whole_window(window_before, window_after)
        if anchor_before < left[1]:
            yield _Piece("equal", (anchor_before, anchor_before + 1), (anchor_after, anchor_after + 1))
        at_before, at_after = anchor_before + 1, anchor_after + 1


def _whole_window(before: tuple[int, int], after: tuple[int, int]) -> Iterator[_Piece]:
    if before[0] < before[1] and after[0] < after[1]:
        yield _Piece("replaced", before, after)
    else:
        yield from _one_sided(before, after)


def _anchors(
    before: Sequence[int], after: Sequence[int], left: tuple[int, int], right: tuple[int, int]
) -> list[tuple[int, int]]:
    once = _once(after, right)
    shared = [(place, once[key]) for key, place in _once(before, left).items() if key in once]
    return _longest_rise(sorted(shared))


def _once(keys: Sequence[int], span: tuple[int, int]) -> dict[int, int]:
    counts = Counter(keys[span[0] : span[1]])
    return {keys[index]: index for index in range(*span) if counts[keys[index]] == 1}


def _longest_rise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of pairs in the order of their first number, as many as rise in the second too."""
    lows: list[int] = []
    tops: list[int] = []
    previous = array("q", [-1]) * len(pairs)
    for index, (_, after) in enumerate(pairs):
        pile = bisect_left(lows, after)
        if pile == len(lows):
            lows.append(after)
            tops.append(index)
        else:
            lows[pile], tops[pile] = after, index
        previous[index] = tops[pile - 1] if pile else -1
    rise: list[tuple[int, int]] = []
    index = tops[-1] if tops else -1
    while index >= 0:
        rise.append(pairs[index])
        index = previous[index]
    return rise[::-1]


class _Refinement:
    """Pairs the steps of a replaced stretch by what they have in common (weighted Needleman-Wunsch)."""

    def __init__(
        self,
        baseline: Sequence[Event],
        candidate: Sequence[Event],
        before: Sequence[int],
        after: Sequence[int],
    ) -> None:
        self._baseline = baseline
        self._candidate = candidate
        self._before = before
        self._after = after

    def pieces(self, before: tuple[int, int], after: tuple[int, int]) -> Iterator[_Piece]:
        at, to = before[0], after[0]
        if before[1] - at == after[1] - to == 1:
            yield self._paired(at, to)
            return
        for move in _cheapest_path(self._costs(slice(*before), slice(*after))):
            if move == "pair":
                yield self._paired(at, to)
            elif move == "deleted":
                yield _Piece("deleted", (at, at + 1), (to, to))
            else:
                yield _Piece("inserted", (at, at), (to, to + 1))
            at, to = at + (move != "inserted"), to + (move != "deleted")

    def _paired(self, before: int, after: int) -> _Piece:
        one, other = self._baseline[before], self._candidate[after]
        kind: BlockKind = "replaced"
        if self._before[before] == self._after[after]:
            kind = "equal"
        elif one.kind is other.kind and (one.kind in _MESSAGES or one.name == other.name):
            kind = "changed"
        return _Piece(kind, (before, before + 1), (after, after + 1))

    def _costs(self, left: slice, right: slice) -> Any:
        """What it costs to say that a step of one side is one of the other, in thousandths."""
        import numpy  # noqa: PLC0415 - only who aligns loads it

        before, after = self._baseline[left], self._candidate[right]

        def compared(one: Sequence[Any], other: Sequence[Any]) -> Any:
            codes: dict[Any, int] = {}
            left = numpy.array([codes.setdefault(value, len(codes)) for value in one])
            right = numpy.array([codes.setdefault(value, len(codes)) for value in other])
            return left[:, None] == right[None, :]

        same_key = compared(self._before[left], self._after[right])
        same_kind = compared([e.kind for e in before], [e.kind for e in after])
        same_name = compared([e.name for e in before], [e.name for e in after])
        same_status = compared([e.succeeded for e in before], [e.succeeded for e in after])
        costs = numpy.where(same_kind, _SAME_KIND, _UNLIKE)
        close = _OTHER_ARGUMENTS - numpy.rint(_SHARED_ARGUMENTS * _overlap(before, after)).astype(int)
        costs = numpy.where(same_kind & same_name, close, costs)
        costs = numpy.where(same_key, 0, costs)
        return costs + numpy.where(same_status, 0, _OTHER_STATUS)


def _overlap(before: Sequence[Event], after: Sequence[Event]) -> Any:
    """Share of argument keys that have one value on both sides, for every pair of steps."""
    import numpy  # noqa: PLC0415 - only who aligns loads it

    told_before, told_after = [[_items(event) for event in side] for side in (before, after)]
    items: dict[Any, int] = {}
    for arguments in (*told_before, *told_after):
        for key, value in arguments.items():
            items.setdefault((key,), len(items))
            items.setdefault((key, value), len(items))

    def incidence(told: list[dict[str, str]], of_values: bool) -> Any:
        matrix = numpy.zeros((len(told), len(items)), dtype=numpy.float32)
        for row, arguments in enumerate(told):
            for key, value in arguments.items():
                matrix[row, items[(key, value) if of_values else (key,)]] = 1
        return matrix

    shared = incidence(told_before, True) @ incidence(told_after, True).T
    keys_before, keys_after = incidence(told_before, False), incidence(told_after, False)
    either = keys_before.sum(1)[:, None] + keys_after.sum(1)[None, :] - keys_before @ keys_after.T
    return shared / numpy.maximum(either, 1)


def _items(event: Event) -> dict[str, str]:
    return {key: _as_json(value) for key, value in arguments_of(event).items()}


def _cheapest_path(costs: Any) -> list[_Move]:
    """What happens step by step, in order; a pair is preferred to a gap of equal cost."""
    import numpy  # noqa: PLC0415 - only who aligns loads it

    rows, columns = costs.shape
    gaps = _GAP * numpy.arange(columns + 1)
    table = numpy.empty((rows + 1, columns + 1), dtype=numpy.int64)
    table[0] = gaps
    for row in range(rows):
        best = numpy.empty(columns + 1, dtype=numpy.int64)
        best[0] = table[row, 0] + _GAP
        numpy.minimum(table[row, :-1] + costs[row], table[row, 1:] + _GAP, out=best[1:])
        table[row + 1] = numpy.minimum.accumulate(best - gaps) + gaps
    path: list[_Move] = []
    i, j = rows, columns
    while i or j:
        if i and j and table[i, j] == table[i - 1, j - 1] + costs[i - 1, j - 1]:
            i, j = i - 1, j - 1
            path.append("pair")
        elif i and table[i, j] == table[i - 1, j] + _GAP:
            i -= 1
            path.append("deleted")
        else:
            j -= 1
            path.append("inserted")
    return path[::-1]
