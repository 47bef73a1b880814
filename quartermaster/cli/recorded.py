"""Two sides of recorded missions, compared where they lie: no daemon, no home."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from quartermaster.cli.recordings import Recordings, temporary_recordings
from quartermaster.cli.waiting import progress
from quartermaster.config import Settings, own_prices
from quartermaster.core.difference import Difference
from quartermaster.core.gate import Gate
from quartermaster.core.pricing import PriceBook
from quartermaster.core.report import (
    ComparisonReport,
    PairsReport,
    RegressionReport,
    Report,
    pairs_report,
)
from quartermaster.core.selection import Selection
from quartermaster.core.set_comparison import FEWEST_TASKS
from quartermaster.core.trials import Trial
from quartermaster.errors import NotFound
from quartermaster.evaluate import (
    Place,
    compare_missions,
    compare_trials,
    difference_of,
    nothing_to_check,
)
from quartermaster.sets import read_trials

T = TypeVar("T")

LOCAL: Final = "local"
_LINES: Final = 2_000
"""Aligned steps of a pair that a page shows."""
_EXAMPLES: Final = 5
"""Pairs that a page shows of two sets."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A report with what its forms tell beside it: the files of the candidate's missions, aligned pairs."""

    report: Report
    files: Mapping[str, str] = {}
    steps: tuple[Difference, ...] = ()


def compare_recorded(
    baseline: Path,
    candidate: Path,
    settings: Settings,
    gate: Gate,
    *,
    with_steps: bool = False,
    variants: tuple[str | None, str | None] = (None, None),
) -> Compared:
    """Two files, folders or archives, of which nothing is left behind.

    `variants` narrows each side to one, so that both may be the same file. `with_steps` aligns the pairs
    that got worse; those that are too long for it are left out.
    """
    from quartermaster import logs

    logs.configure("auto", level=logging.WARNING)
    with temporary_recordings(settings) as recordings, progress() as tell:
        sides = []
        for side, path, variant in zip(
            ("baseline", "candidate"), (baseline, candidate), variants, strict=True
        ):
            tell(f"reading the {side}")
            workspace = recordings.add(side, [path])
            ids = _ids_of(side, recordings, workspace, variant)
            sides.append(judged_side(side, recordings, workspace, ids, gate))
        tell("comparing")
        comparing = Comparing(settings, gate, *sides)
        report, pairs = comparing.judge()
        return Compared(
            report=report,
            files=recordings.files_of(sides[1].workspace, candidate),
            steps=tuple(comparing.steps(pairs)) if with_steps else (),
        )


def _ids_of(name: str, recordings: Recordings, workspace: int, variant: str | None) -> list[str]:
    ids = recordings.mission_ids(workspace, variant)
    if not ids:
        known = ", ".join(recordings.variants(workspace)) or "none"
        raise NotFound(f"the {name} has no mission of the variant {variant!r}; its variants: {known}")
    return ids


class Side(msgspec.Struct, frozen=True):
    """One side that was read. Two sides may lie in different databases."""

    recordings: Recordings
    workspace: int
    ids: Sequence[str]


def judged_side(name: str, recordings: Recordings, workspace: int, ids: Iterable[str], gate: Gate) -> Side:
    """A side without the missions that the policy ignores; raises NotFound where that leaves none."""
    kept = gate.missions(ids)
    if not kept:
        raise NotFound(f"the policy ignores every mission of the {name}")
    return Side(recordings, workspace, kept)


_Pair = tuple[str, str]


class Comparing:
    """Two sides that were read, and how they are judged."""

    def __init__(self, settings: Settings, gate: Gate, baseline: Side, candidate: Side) -> None:
        self._prices = own_prices(settings)
        self._gate = gate
        self._baseline = baseline
        self._candidate = candidate

    def judge(self) -> tuple[RegressionReport | PairsReport | ComparisonReport, Sequence[_Pair]]:
        """The report, and the pairs worth to be seen step by step."""
        before, after = self._baseline.ids, self._candidate.ids
        both = [mission_id for mission_id in before if mission_id in set(after)]
        if len(before) == len(after) == 1:
            return self._pair(before[0], after[0]), [(before[0], after[0])]
        if both and max(len(before), len(after)) < FEWEST_TASKS:
            pairs = self._pairs(both)
            worse = [one.candidate.mission_id for one in pairs.pairs if one.regressed]
            return pairs, [(one, one) for one in worse or both]
        return self._sets()

    def steps(self, pairs: Iterable[_Pair]) -> Iterator[Difference]:
        """Pairs step by step."""
        aligned = partial(difference_of, check=nothing_to_check, prices=self._prices, lines=_LINES)
        for before, after in pairs:
            found = self._read(before, after, aligned)
            if found is not None:
                yield found

    def _pair(self, before: str, after: str) -> RegressionReport:
        return self._read(
            before,
            after,
            lambda baseline, candidate: compare_missions(
                baseline,
                candidate,
                self._gate.thresholds,
                run_id=LOCAL,
                check=nothing_to_check,
                prices=self._prices,
                ignored=self._gate.ignore.metrics,
            ),
        )

    def _read(self, before: str, after: str, query: Callable[[Place, Place], T]) -> T:
        """What a query finds of one mission of each side."""
        baseline, candidate = self._baseline, self._candidate
        return baseline.recordings.read(
            lambda here: candidate.recordings.read(
                lambda there: query(
                    Place(here, baseline.workspace, before), Place(there, candidate.workspace, after)
                )
            )
        )

    def _pairs(self, both: Sequence[str]) -> PairsReport:
        return pairs_report(
            [self._pair(mission_id, mission_id) for mission_id in both],
            only_in_baseline=[one for one in self._baseline.ids if one not in both],
            only_in_candidate=[one for one in self._candidate.ids if one not in both],
        )

    def _sets(self) -> tuple[ComparisonReport, Sequence[_Pair]]:
        before, after = self._trials(self._baseline), self._trials(self._candidate)
        policy = self._gate.policy()
        report = compare_trials(before, after, policy, run_id=LOCAL, prices=self._prices)
        return report, _broken(before, after)

    def _trials(self, side: Side) -> tuple[Trial, ...]:
        price = PriceBook(self._prices)
        everything = Selection(mission_ids=tuple(side.ids))
        trials = side.recordings.read(
            lambda connection: read_trials(
                connection, side.workspace, everything, price=price, check=nothing_to_check
            )
        )
        return self._gate.trials(trials)


def _broken(baseline: Sequence[Trial], candidate: Sequence[Trial]) -> list[_Pair]:
    """Of the first tasks that succeeded before and failed after, a run of each side."""
    succeeded = {trial.task: trial.mission_id for trial in baseline if trial.task and trial.succeeded}
    failed = {
        trial.task: trial.mission_id
        for trial in candidate
        if trial.task and trial.terminal and not trial.succeeded
    }
    return [(succeeded[task], failed[task]) for task in sorted(succeeded.keys() & failed.keys())][:_EXAMPLES]
