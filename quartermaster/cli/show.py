"""`quartermaster show`: one mission."""

from collections.abc import Iterator

import click

from quartermaster.cli import output
from quartermaster.cli.ingest import ledger_columns
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target, find_mission_id


@click.command("show")
@click.argument("mission")
@target_options()
@output.format_option
def command(target: Target, mission: str, form: str) -> None:
    """Show MISSION (id, unique prefix or latest): its facts, metrics, failure modes and sources."""
    shown = target.mission(find_mission_id(target, mission))
    output.print_document(form, shown, lambda: "\n".join(_lines(form, shown)))


def _value(row: Row) -> object:
    value = row["value"]
    if isinstance(value, list | tuple):
        return ", ".join(value) or "none"
    return "cannot be said" if value is None else value


_LISTS = ("metrics", "failure_modes", "signatures", "sources", "outcomes")
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
    digests = [{"level": level, "digest": digest} for level, digest in shown["signatures"].items()]
    yield ""
    yield output.table(form, digests, _SIGNATURES)
    if shown["sources"]:
        yield ""
        yield output.table(form, shown["sources"], ledger_columns(shown["sources"]))
