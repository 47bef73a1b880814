"""`quartermaster show`: one mission."""

from collections.abc import Iterator

import click

from quartermaster.cli import completing, output
from quartermaster.cli.ingest import ledger_columns
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target, find_mission_id


@click.command("show")
@click.argument("mission", shell_complete=completing.missions)
@target_options()
@output.format_option
def command(target: Target, mission: str, form: str) -> None:
    """Show MISSION (id, unique prefix or latest): facts, metrics, failures, claims, root cause, sources."""
    shown = target.mission(find_mission_id(target, mission))
    output.print_document(form, shown, lambda: "\n".join(_lines(form, shown)))


def _value(row: Row) -> object:
    value = row["value"]
    if isinstance(value, list | tuple):
        return ", ".join(value) or "none"
    return "cannot be said" if value is None else value


def _coverage(row: Row) -> str:
    return f"{row['known']:,} of {row['of']:,}"


def _with_parts(row: Row) -> str:
    """The value, and behind it what it is made of."""
    known = {name: part["value"] for name, part in row["parts"].items() if part["value"] is not None}
    parts = ", ".join(f"{name} {output.text(value)}" for name, value in known.items())
    return output.text(row["value"]) + (f" ({parts})" if parts else "")


def _steps(row: Row) -> str:
    """Events by their places in the mission, and how many there are."""
    if row["count"] == 1:
        return str(row["first"])
    return f"{row['first']} to {row['last']} ({row['count']:,})"


def _waste(row: Row) -> str:
    wasted = row["wasted"]
    told = [f"{wasted['steps']:,} steps"] if wasted["steps"] else []
    if told and wasted["cost_usd"] is not None:
        told.append(f"{output.text(wasted['cost_usd'])} USD")
    return ", ".join(told)


_LISTS = (
    "metrics",
    "failure_modes",
    "signatures",
    "sources",
    "outcomes",
    "catalogue",
    "failures",
    "failure_counts",
    "claims",
    "root_cause",
)
_CATALOGUE = (
    output.field("METRIC", "id"),
    output.Column("VALUE", _with_parts, right=True),
    output.field("UNIT", "unit"),
    output.Column("KNOWN", _coverage, right=True),
    output.field("OVER", "population"),
    output.field("FROM", "provenance"),
    output.field("REASON", "reason"),
)
_FAILURES = (
    output.field("FAILURE", "name"),
    output.field("ID", "detector"),
    output.field("SEVERITY", "severity"),
    output.field("SURE", "confidence"),
    output.Column("EVENTS", _steps, right=True),
    output.field("AGENT", "agent"),
    output.Column("WASTED", _waste),
    output.field("REASON", "reason"),
)
_CLAIMS = (
    output.field("CLAIM", "subject"),
    output.field("KIND", "kind"),
    output.field("VERDICT", "verdict"),
    output.field("EVENT", "position", right=True),
    output.field("REASON", "reason"),
)
_METRICS = (
    output.field("METRIC", "name"),
    output.Column("VALUE", _value, right=True),
    output.field("UNIT", "unit"),
    output.Column("KNOWN", lambda row: f"{row['coverage']['known']} of {row['coverage']['of']}", right=True),
    output.field("REASON", "reason"),
)
_FINDINGS = (output.field("FAILURE MODE", "failure_mode"), output.field("STEP", "step", right=True))
_SIGNATURES = (output.field("LEVEL", "level"), output.field("SIGNATURE", "digest"))


def _lines(form: str, shown: Row) -> Iterator[str]:
    facts = [{"fact": name, "value": value} for name, value in shown.items() if name not in _LISTS]
    known = [fact for fact in facts if fact["value"] not in (None, "", {})]
    yield output.table(form, known, (output.field("FACT", "fact"), output.field("VALUE", "value")))
    yield ""
    yield output.table(form, shown["metrics"], _METRICS)
    if shown["failure_modes"]:
        yield ""
        yield output.table(form, shown["failure_modes"], _FINDINGS)
    yield from _examination(form, shown)
    digests = [{"level": level, "digest": digest} for level, digest in shown["signatures"].items()]
    yield ""
    yield output.table(form, digests, _SIGNATURES)
    if shown["sources"]:
        yield ""
        yield output.table(form, shown["sources"], ledger_columns(shown["sources"]))


def _examination(form: str, shown: Row) -> Iterator[str]:
    said = [metric for metric in shown["catalogue"] if metric["value"] is not None]
    unsaid = [metric["id"] for metric in shown["catalogue"] if metric["value"] is None]
    if said:
        yield ""
        yield output.table(form, said, _CATALOGUE)
    if unsaid:
        yield ""
        yield f"cannot be said (--format json says why): {', '.join(unsaid)}"
    for name, columns in (("failures", _FAILURES), ("claims", _CLAIMS)):
        if shown[name]:
            yield ""
            yield output.table(form, shown[name], columns)
    if shown["not_judged"]:
        yield ""
        yield from (f"not judged: {name}: {reason}" for name, reason in shown["not_judged"].items())
    cause = shown["root_cause"]
    if cause is not None and cause["position"] is not None:
        agent = f" by {output.text(cause['agent'])}" if cause["agent"] else ""
        sure = "" if cause["measured"] else "; a guess by the order of things"
        yield ""
        yield f"went wrong first: event {cause['position']}{agent}: {output.text(cause['reason'])}{sure}"
