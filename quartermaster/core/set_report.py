"""A comparison of two sets as Markdown: the verdict, the metrics in sentences, and who was compared."""

from collections.abc import Iterable, Iterator
from typing import Final

from quartermaster.core.behaviour import shown_edge
from quartermaster.core.comparison import dollars
from quartermaster.core.set_verdicts import MetricComparison, SetComparison, Stratum
from quartermaster.core.set_wording import bare_probability, percent, points, range_of, runs_word, shown

_SHOWN_TASKS: Final = 50


def render_set_comparison(comparison: SetComparison, title: str = "Comparison of two sets") -> str:
    """The whole report; the same comparison always gives the same bytes."""
    return "\n".join((f"# {line_of(title)}", "", *set_lines(comparison), ""))


def set_lines(comparison: SetComparison) -> Iterator[str]:
    """The report without its title."""
    yield f"**{line_of(comparison.result)}**"
    yield ""
    yield from _sets(comparison)
    yield from _metrics(comparison)
    yield from _strata(comparison)
    yield from _cost_per_success(comparison)
    yield from _scores(comparison)
    yield from _behaviour(comparison)
    yield from _reliability(comparison)
    yield from _tasks(comparison)
    yield from _worth_a_look(comparison)
    yield from _rules(comparison)


def line_of(text: str) -> str:
    """A text that may come from a recording as one line that cannot become markup."""
    line = "".join(char if char.isprintable() else " " for char in text)
    for special in "\\`*_[]<>|#":
        line = line.replace(special, f"\\{special}")
    return line.replace("-\\>", "->")


def _sets(comparison: SetComparison) -> Iterator[str]:
    population = comparison.population
    if population.paired:
        times = _times(population.fewest_trials, population.most_trials)
        yield f"{population.tasks} tasks in both sets, run {times}."
    for stamp in comparison.stamps:
        yield f"- {line_of(stamp)}"
    for note in comparison.notes:
        yield f"- {line_of(note)}"
    yield ""
    yield from _table(
        ("set", "missions", "compared", "not ended", "infrastructure", "without task", "ended abnormally"),
        (
            (
                name,
                str(arm.missions),
                str(arm.compared),
                str(arm.non_terminal),
                str(arm.infrastructure),
                str(arm.without_task),
                str(arm.abnormal),
            )
            for name, arm in (("baseline", population.baseline), ("candidate", population.candidate))
        ),
    )


def _times(fewest: int, most: int) -> str:
    return runs_word(fewest) if fewest == most else f"{fewest} to {most} times"


def _metrics(comparison: SetComparison) -> Iterator[str]:
    yield ""
    yield "## Metrics"
    yield ""
    for metric in comparison.metrics:
        yield f"- {line_of(metric.sentence or metric.label)}"
        for note in metric.notes:
            yield f"  - {line_of(note)}"
    yield ""
    yield from _table(
        ("metric", "verdict", "baseline", "candidate", "95 % interval of the change", "tasks", "p", "test"),
        (_metric_cells(metric) for metric in comparison.metrics),
    )


def _metric_cells(metric: MetricComparison) -> tuple[str, ...]:
    p = metric.p if metric.adjusted_p is None else metric.adjusted_p
    return (
        metric.label,
        metric.verdict,
        shown(metric, metric.baseline),
        shown(metric, metric.candidate),
        range_of(metric) if metric.interval else "cannot be said",
        str(metric.tasks),
        "cannot be said" if p is None else bare_probability(p),
        f"{metric.test}; {metric.interval_method}" if metric.test else "",
    )


def _strata(comparison: SetComparison) -> Iterator[str]:
    strata = [(metric.label, metric.both_succeeded) for metric in comparison.metrics if metric.both_succeeded]
    if not strata:
        return
    yield ""
    yield "## Where both succeeded"
    yield ""
    for label, stratum in strata:
        yield f"- {label}: {_stratum(stratum)}"


def _stratum(stratum: Stratum) -> str:
    tasks = f"{stratum.tasks} task" if stratum.tasks == 1 else f"{stratum.tasks} tasks"
    if stratum.change is None:
        return f"rose from nothing over {tasks}"
    change = f"{'+' if stratum.change > 0 else ''}{percent(stratum.change)} over {tasks}"
    if stratum.interval is None:
        return change
    return f"{change} (95 % interval {percent(stratum.interval.low)} to {percent(stratum.interval.high)})"


def _cost_per_success(comparison: SetComparison) -> Iterator[str]:
    found = comparison.cost_per_success
    if found is None:
        return
    yield ""
    yield "## What a success cost"
    yield ""
    yield from _table(
        ("set", "cost of all missions", "successes", "cost per success", ""),
        (
            (
                name,
                "cannot be said" if arm.cost_usd is None else dollars(arm.cost_usd),
                f"{arm.successes} of {arm.missions}",
                "cannot be said" if arm.cost_per_success is None else dollars(arm.cost_per_success),
                arm.reason or "",
            )
            for name, arm in (("baseline", found.baseline), ("candidate", found.candidate))
        ),
    )


def _scores(comparison: SetComparison) -> Iterator[str]:
    if not comparison.scores:
        return
    yield ""
    yield "## Scores of the recordings' own judges"
    yield ""
    yield from (f"- {line_of(one.sentence)}" for one in comparison.scores)
    yield ""
    yield "Shown, and no gate fails for them: nobody has held these judges against people here."


def _behaviour(comparison: SetComparison) -> Iterator[str]:
    behaviour = comparison.behaviour
    if behaviour is None:
        return
    yield ""
    yield "## Behaviour"
    yield ""
    yield f"- {line_of(behaviour.sentence)}"
    if behaviour.known is not None:
        yield f"- {percent(behaviour.known)} of the candidate's transitions are known from the baseline."
    if behaviour.verdict != "drift":
        return
    yield ""
    yield from _table(
        ("from tool to tool", "baseline", "candidate", "share of the difference"),
        (
            (line_of(shown_edge(one.edge)), percent(one.baseline), percent(one.candidate), percent(one.share))
            for one in behaviour.changed
        ),
    )
    yield ""
    yield "Neither good nor bad in itself: it never fails a gate."


def _reliability(comparison: SetComparison) -> Iterator[str]:
    reliability = comparison.reliability
    if reliability is None:
        return
    before, after = reliability.baseline_pass_hat_k, reliability.candidate_pass_hat_k
    tasks = comparison.population.tasks
    if before is None or after is None:
        return
    yield ""
    yield (
        f"All of {reliability.k} runs of a task succeed (pass^{reliability.k}) with a mean chance of "
        f"{percent(before)} -> {percent(after)} ({points(abs(after - before))} apart, {tasks} tasks)."
    )


def _tasks(comparison: SetComparison) -> Iterator[str]:
    moved = [
        record
        for record in comparison.tasks
        if record.unstable
        or record.baseline_succeeded * record.candidate_runs
        != record.candidate_succeeded * record.baseline_runs
    ]
    if not moved:
        return
    yield ""
    yield "## Tasks whose success moved"
    yield ""
    yield from _table(
        ("task", "baseline", "candidate", ""),
        (
            (
                line_of(record.task),
                f"{record.baseline_succeeded} of {record.baseline_runs}",
                f"{record.candidate_succeeded} of {record.candidate_runs}",
                "unstable in the baseline" if record.unstable else "",
            )
            for record in moved[:_SHOWN_TASKS]
        ),
    )
    if len(moved) > _SHOWN_TASKS:
        yield ""
        yield f"{len(moved) - _SHOWN_TASKS} more are in the JSON report."


def _worth_a_look(comparison: SetComparison) -> Iterator[str]:
    if not comparison.worth_a_look:
        return
    yield ""
    yield "## Worth a look"
    yield ""
    yield "Never fails a gate; of these a tenth is expected to be chance."
    yield ""
    for found in comparison.worth_a_look:
        yield f"- {found.subject} {line_of(found.name)}: {line_of(found.sentence)}"


def _rules(comparison: SetComparison) -> Iterator[str]:
    families = (
        f"{family.name} ({'blocks' if family.blocks else 'warns'}: {', '.join(family.metrics)})"
        for family in comparison.policy.families
    )
    yield ""
    yield (
        f"Rules version {comparison.rules_version}; {percent(comparison.policy.alpha)} in each family after "
        f"Holm: {'; '.join(families)}."
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
