"""The report of a pair, step by step: what it shows, what it cost, and the aligned steps in windows."""

from collections.abc import Iterator
from typing import Final

import msgspec

from quartermaster.core.alignment import (
    WHOLE_LIMIT,
    Alignment,
    ArgumentChange,
    BlockKind,
    Method,
    Place,
    align,
    changed_arguments,
)
from quartermaster.core.attribution import Attribution, attribute, block_in_words
from quartermaster.core.changes import Change, changes_of
from quartermaster.core.matching import Match, Rules, match
from quartermaster.core.profile import distance, profile_of
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event, EventKind, Transcript

_WORDS_LIMIT: Final = 200


class StepSeen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of one side, short enough for a line."""

    position: int
    entry_id: str
    kind: str
    name: str
    succeeded: bool | None = None
    words: str | None = None
    tokens: int | None = None
    cost_usd: float | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of either side beside its partner, or alone. `cost_usd` is what the candidate's costs more;
    None where one of both is not known."""

    block: int
    change: BlockKind
    baseline: StepSeen | None = None
    candidate: StepSeen | None = None
    flipped: bool = False
    arguments: tuple[ArgumentChange, ...] = ()
    cost_usd: float | None = None


class BlockSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One block with its cost, in words where it is no equal one. Ends are not included."""

    change: BlockKind
    baseline: tuple[int, int]
    candidate: tuple[int, int]
    words: str | None
    cost_usd: float


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pair, step by step. `costs` are sentences, each with a remainder, whose parts add up exactly.

    `lines` are a window of the aligned steps: `next_from` is where the next one begins. `match` is there
    where the candidate is held against the baseline as a reference.
    """

    baseline: str
    candidate: str
    changes: tuple[Change, ...]
    similarity: float
    profile_distance: float | None
    unaligned: int
    first_divergence: Place | None
    method: Method
    attributions: tuple[Attribution, ...]
    blocks: tuple[BlockSeen, ...]
    lines: tuple[Line, ...]
    of_lines: int
    next_from: int | None
    match: Match | None = None


class Compared:
    """Two missions that were aligned once; windows of their lines are then cheap.

    `steps` are those of both sides.
    """

    def __init__(
        self, baseline: Transcript, candidate: Transcript, *, whole_limit: int = WHOLE_LIMIT
    ) -> None:
        self.both = baseline, candidate
        self.steps = len(baseline.events) + len(candidate.events)
        self._alignment = alignment = align(baseline.events, candidate.events, whole_limit=whole_limit)
        attributions = attribute(baseline, candidate, alignment)
        cost = next(one for one in attributions if one.quantity == "cost")
        self._attributions = tuple(msgspec.structs.replace(one, blocks=()) for one in attributions)
        self._blocks = tuple(_blocks(alignment, cost))
        self._changes = changes_of(baseline, candidate, alignment)
        self._profile_distance = distance(profile_of(baseline.events), profile_of(candidate.events))
        self._places = tuple(_places(alignment))
        self._flipped = {(flip.baseline, flip.candidate) for flip in alignment.flips}

    def window(
        self, *, start: int = 0, limit: int = 200, most_blocks: int = 1_000, rules: Rules | None = None
    ) -> Difference:
        """What the pair shows, with `limit` of its lines from `start` on."""
        (baseline, candidate), alignment = self.both, self._alignment
        return Difference(
            baseline=baseline.mission_id,
            candidate=candidate.mission_id,
            changes=self._changes,
            similarity=alignment.similarity,
            profile_distance=self._profile_distance,
            unaligned=alignment.unaligned,
            first_divergence=alignment.first_divergence,
            method=alignment.method,
            attributions=self._attributions,
            blocks=self._blocks[:most_blocks],
            lines=tuple(
                _line(alignment, block, baseline, candidate, pair, flipped=pair in self._flipped)
                for block, pair in self._places[start : start + limit]
            ),
            of_lines=len(self._places),
            next_from=start + limit if start + limit < len(self._places) else None,
            match=None if rules is None else match(baseline.events, candidate.events, rules),
        )


_Pair = tuple[int | None, int | None]


def _places(alignment: Alignment) -> Iterator[tuple[int, _Pair]]:
    """Every line: its block and the positions on both sides."""
    for index, block in enumerate(alignment.blocks):
        if block.paired:
            yield from ((index, pair) for pair in block.pairs())
            continue
        yield from ((index, (at, None)) for at in range(block.baseline.start, block.baseline.end))
        yield from ((index, (None, at)) for at in range(block.candidate.start, block.candidate.end))


def _line(
    alignment: Alignment,
    block: int,
    baseline: Transcript,
    candidate: Transcript,
    pair: _Pair,
    *,
    flipped: bool,
) -> Line:
    kind = alignment.blocks[block].kind
    before = None if pair[0] is None else baseline.events[pair[0]]
    after = None if pair[1] is None else candidate.events[pair[1]]
    arguments: tuple[ArgumentChange, ...] = ()
    if before is not None and after is not None and kind == "changed" and before.kind is EventKind.TOOL_CALL:
        arguments = changed_arguments(before, after)
    return Line(
        block=block,
        change=kind,
        baseline=None if before is None else _seen(before),
        candidate=None if after is None else _seen(after),
        flipped=flipped,
        arguments=arguments,
        cost_usd=_dearer(before, after),
    )


def _dearer(before: Event | None, after: Event | None) -> float | None:
    told = [event for event in (before, after) if event is not None]
    if all(event.kind is not EventKind.MODEL_CALL for event in told):
        return 0.0
    if any(event.kind is EventKind.MODEL_CALL and event.cost is None for event in told):
        return None
    return ((after.cost or 0 if after else 0) - (before.cost or 0 if before else 0)) / PICODOLLARS


def _seen(event: Event) -> StepSeen:
    words = event.command or event.text
    return StepSeen(
        position=event.position,
        entry_id=event.entry_id,
        kind=event.kind.name.lower().replace("_", " "),
        name=event.name,
        succeeded=event.succeeded,
        words=None if words is None else " ".join(words[:_WORDS_LIMIT].split()),
        tokens=event.tokens,
        cost_usd=None if event.cost is None else event.cost / PICODOLLARS,
    )


def _blocks(alignment: Alignment, cost: Attribution) -> Iterator[BlockSeen]:
    for block, amount in zip(alignment.blocks, cost.blocks, strict=True):
        yield BlockSeen(
            change=block.kind,
            baseline=(block.baseline.start, block.baseline.end),
            candidate=(block.candidate.start, block.candidate.end),
            words=None if block.paired else block_in_words(block),
            cost_usd=amount / PICODOLLARS,
        )
