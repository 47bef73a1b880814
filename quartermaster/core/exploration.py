"""What is worth a look below the gate: single tasks, tools, failure modes and metrics without a threshold.

None of it fails a build. Of what is listed a tenth is expected to be chance (Benjamini-Hochberg at 10 %).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from quartermaster.core import measures
from quartermaster.core.measures import Measure
from quartermaster.core.statistics import benjamini_hochberg, fisher_mid_p
from quartermaster.core.trials import Pair, Pairing, Trial

Subject = Literal["task", "tool", "failure mode", "metric"]

FALSE_SHARE: Final = 0.10
_FEWEST_TASKS: Final = 5


class WorthALook(msgspec.Struct, frozen=True, kw_only=True):
    """Something that got worse where many things were looked at."""

    subject: Subject
    name: str
    sentence: str
    p: float
    adjusted_p: float


class _Candidate(msgspec.Struct, frozen=True):
    subject: Subject
    name: str
    evidence: str
    p: float


def worth_a_look(pairing: Pairing, metrics: Sequence[tuple[str, float]]) -> tuple[WorthALook, ...]:
    """What stands out, most certain first; `metrics` are labels with the chance of such a worsening."""
    if not pairing.population.paired:
        return ()
    looked_at = [
        *(_Candidate("metric", label, "got worse", p) for label, p in metrics),
        *_tasks(pairing.pairs),
        *_tools(pairing.pairs),
        *_failure_modes(pairing.pairs),
    ]
    adjusted = benjamini_hochberg([one.p for one in looked_at])
    found = [
        WorthALook(
            subject=one.subject,
            name=one.name,
            sentence=(
                f"{one.evidence}; p {max(one.p, 0.0001):.2g} alone, {max(q, 0.0001):.2g} "
                f"among {len(looked_at)} looked at"
            ),
            p=one.p,
            adjusted_p=q,
        )
        for one, q in zip(looked_at, adjusted, strict=True)
        if q <= FALSE_SHARE
    ]
    return tuple(sorted(found, key=lambda one: (one.p, one.subject, one.name)))


def _tasks(pairs: Sequence[Pair]) -> Iterator[_Candidate]:
    for pair in pairs:
        if min(len(pair.baseline), len(pair.candidate)) < 2:
            continue
        before, after = _succeeded(pair.baseline), _succeeded(pair.candidate)
        p = fisher_mid_p(len(pair.candidate) - after, after, len(pair.baseline) - before, before)
        evidence = f"{before} of {len(pair.baseline)} -> {after} of {len(pair.candidate)} runs succeeded"
        yield _Candidate("task", pair.task, evidence, p)


def _succeeded(trials: Sequence[Trial]) -> int:
    return sum(trial.succeeded for trial in trials)


def _tools(pairs: Sequence[Pair]) -> Iterator[_Candidate]:
    for tool in sorted({tool for trial in _trials(pairs) for tool in trial.tools}):
        measure = Measure(f"tool:{tool}", tool, "rate", partial(_error_rate, tool))
        yield from _tested("tool", tool, "error rate", measure, pairs)


def _error_rate(tool: str, trial: Trial) -> float | None:
    succeeded, failed = trial.tools.get(tool, (0, 0))
    return failed / (succeeded + failed) if succeeded + failed else None


def _failure_modes(pairs: Sequence[Pair]) -> Iterator[_Candidate]:
    for mode in sorted({mode for trial in _trials(pairs) for mode in trial.failure_modes}):
        measure = Measure(f"mode:{mode}", mode, "count", partial(_findings, mode))
        yield from _tested("failure mode", mode, "findings per mission", measure, pairs)


def _findings(mode: str, trial: Trial) -> float:
    return trial.failure_modes.get(mode, 0)


def _tested(
    subject: Subject, name: str, unit: str, measure: Measure, pairs: Sequence[Pair]
) -> Iterator[_Candidate]:
    runs = measures.paired_runs(measure, pairs)
    if len(runs) < _FEWEST_TASKS:
        return
    before, after = measures.means(runs)
    evidence = f"{unit} {before:.3g} -> {after:.3g} over {len(runs)} tasks"
    yield _Candidate(subject, name, evidence, measures.chance_of_worse(measure, runs))


def _trials(pairs: Sequence[Pair]) -> Iterator[Trial]:
    for pair in pairs:
        yield from pair.baseline
        yield from pair.candidate
