"""`quartermaster trend`: how metrics went over many missions, and where they changed."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from quartermaster.cli import output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target

_METRICS = ("success_rate", "tool_success_rate", "total_cost_usd", "work_steps", "total_tokens", "wall_time")
_BY = ("day", "commit", "mission")
_LACKING: Final = {"day": "time", "commit": "commit", "mission": "id"}


@click.command("trend")
@click.option(
    "--metric", "metrics", multiple=True, type=click.Choice(_METRICS), help="Repeatable; default: all."
)
@click.option("--by", type=click.Choice(_BY), default="day", show_default=True, help="What one point is.")
@click.option("--task", help="What was asked.")
@click.option("--variant", help="By which agent and model.")
@click.option("--since", metavar="TIME", help="Started at or after this RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Started before this RFC 3339 time.")
@click.option("--points", is_flag=True, help="Print every point too.")
@target_options()
@output.format_option
def command(
    target: Target, form: str, metrics: tuple[str, ...], points: bool, by: str, **filters: str | None
) -> None:
    """Show how metrics went over many missions: where their level changed, and what else changed there.

    A change is an alert when a test of the series and a chart of its level agree, it is for the worse and
    beyond the threshold, and the series has not come back since.
    """
    given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    trends = target.trends({**given, "metric": metrics, "by": by})
    output.print_document(form, trends, lambda: "\n".join(_lines(form, trends, points=points)))


def _lines(form: str, trends: Row, *, points: bool) -> Iterator[str]:
    if not trends["series"]:
        yield _nothing(trends)
        return
    yield output.table(form, trends["series"], _SERIES)
    yield from _left_out(trends)
    for event in trends["events"]:
        yield ""
        yield from _event(form, event)
    if points:
        rows = [{**point, **_name(series)} for series in trends["series"] for point in series["points"]]
        yield ""
        yield output.table(form, rows, _POINTS)


def _nothing(trends: Row) -> str:
    if not trends["missions"]:
        return "no mission matches"
    return f"none of {trends['missions']:,} missions has a {_LACKING[trends['by']]}; try another --by"


def _left_out(trends: Row) -> Iterator[str]:
    if trends["without_place"]:
        share = f"{trends['without_place']:,} of {trends['missions']:,} missions"
        yield f"{share} have no {_LACKING[trends['by']]} and are left out"
    if trends["runs_left_out"]:
        yield f"{trends['runs_left_out']:,} older points are left out; --until shows them"


def _event(form: str, event: Row) -> Iterator[str]:
    agent = f" of {event['agent']}" if event["agent"] else ""
    heading = f"Change{agent} at {event['at']}: {'worse' if event['worse'] else 'better'}"
    yield f"### {output.text(heading)}\n" if form == "markdown" else output.text(heading)
    yield output.table(form, event["shifts"], _SHIFTS)
    told = [*map(_explanation, event["explanations"])]
    if event["new_tasks"]:
        told.append(f"{event['new_tasks']} tasks after it were never there before")
    if told:
        yield ""
        yield output.text("Changed there too, which may or may not be why: " + "; ".join(told))
    bad = event["first_bad_mission"]
    if bad:
        of_task = f" (task {bad['task']})" if bad["task"] else ""
        told_of = f"First bad mission: {bad['mission_id']}{of_task}, {_short(bad['value'])} where"
        yield output.text(f"{told_of} {_short(bad['usual'])} was usual before")


def _explanation(one: Row) -> str:
    before, after = (", ".join(one[side]) or "none" for side in ("before", "after"))
    return f"{one['fact']} {before} -> {after} at {one['at']}"


def _name(series: Row) -> dict[str, object]:
    return {name: series[name] for name in ("agent", "metric")}


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:,.4g}"


def _change(shift: Row) -> str:
    """A difference of rates in points of a hundred, else a share of the level before, with its interval."""
    if shift["change"] is None:
        return "from 0"
    unit = "pp" if shift["metric"] in _RATES else "%"
    if shift["low"] is None:
        return f"{100 * shift['change']:+.3g} {unit}"
    return f"{100 * shift['change']:+.3g} {unit} ({100 * shift['low']:+.3g} to {100 * shift['high']:+.3g})"


_RATES: Final = frozenset({"success_rate", "tool_success_rate"})


def _said(shift: Mapping[str, Any]) -> str:
    direction = "worse" if shift["worse"] else "better"
    if not shift["exceeds"]:
        return f"{direction}, within the threshold"
    return direction if shift["confirmed"] else f"{direction}, not confirmed by the chart"


def _since(series: Row) -> object:
    return series["alert"] and series["alert"]["at"]


_SERIES: Final = (
    output.field("AGENT", "agent"),
    output.field("METRIC", "metric"),
    output.Column("POINTS", lambda row: len(row["points"]), right=True),
    output.field("LEFT OUT", "left_out", right=True),
    output.Column("LEVEL", lambda row: _short(row["level"]), right=True),
    output.field("UNIT", "unit"),
    output.field("STATE", "state"),
    output.Column("SINCE", _since),
    output.field("REASON", "reason"),
)
_SHIFTS: Final = (
    output.field("METRIC", "metric"),
    output.field("AT", "at"),
    output.Column("BEFORE", lambda row: _short(row["before"]), right=True),
    output.Column("AFTER", lambda row: _short(row["after"]), right=True),
    output.Column("CHANGE (95 %)", _change),
    output.Column("POINTS", lambda row: f"{row['runs_before']} -> {row['runs_after']}"),
    output.Column("SAID", _said),
)
_POINTS: Final = (
    output.field("AGENT", "agent"),
    output.field("METRIC", "metric"),
    output.field("AT", "at"),
    output.field("N", "n", right=True),
    output.Column("VALUE", lambda row: _short(row["value"]), right=True),
    output.Column("LOW", lambda row: _short(row["low"]), right=True),
    output.Column("HIGH", lambda row: _short(row["high"]), right=True),
    output.Column("KNOWN", lambda row: f"{row['known']} of {row['of']}", right=True),
    output.field("USED", "used"),
)
