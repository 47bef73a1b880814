"""`quartermaster diff`: two missions step by step."""

from collections.abc import Iterator
from typing import Any, Final

import click

from quartermaster.cli import completing, output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target, find_mission_id

NO_MATCH: Final = 1
_MODES: Final = ("exact", "in-order", "any-order", "subset", "superset")
_ARGUMENTS: Final = ("exact", "ignore", "subset", "superset")


@click.command("diff")
@click.argument("baseline", shell_complete=completing.missions)
@click.argument("candidate", shell_complete=completing.missions)
@click.option(
    "--from", "start", type=click.IntRange(min=0), default=0, metavar="N", help="First line to show."
)
@click.option("--limit", type=click.IntRange(1, 1_000), default=200, show_default=True)
@click.option(
    "--match",
    "mode",
    type=click.Choice(_MODES),
    help="Hold the tool calls of CANDIDATE against those of BASELINE; exit code 1 where they do not match.",
)
@click.option(
    "--arguments",
    type=click.Choice(_ARGUMENTS),
    default="ignore",
    show_default=True,
    help="Of a call: its arguments are equal, not looked at, among those expected, or hold them.",
)
@click.option("--ignore-tool", multiple=True, metavar="T", help="Leave the calls of a tool out.")
@click.option("--ignore-argument", multiple=True, metavar="A", help="Leave an argument out.")
@target_options()
@output.format_option
def command(
    *,
    target: Target,
    baseline: str,
    candidate: str,
    start: int,
    limit: int,
    mode: str | None,
    arguments: str,
    ignore_tool: tuple[str, ...],
    ignore_argument: tuple[str, ...],
    form: str,
) -> int:
    """Show two missions step by step: what changed, and what each difference cost."""
    ids = (find_mission_id(target, baseline), find_mission_id(target, candidate))
    window: dict[str, Any] = {"from": start, "limit": limit}
    if mode is not None:
        window["match"] = mode
        window["arguments"] = arguments
        window["ignore_tool"] = ignore_tool
        window["ignore_argument"] = ignore_argument
    shown = target.difference(*ids, window)
    matched = shown.get("match")
    told = _lines(form, shown) if matched is None else _match_lines(form, matched, mode or "")
    output.print_document(form, shown, lambda: "\n".join(told))
    return NO_MATCH if matched is not None and not matched["matches"] else 0


def _match_lines(form: str, matched: Row, mode: str) -> Iterator[str]:
    yield f"{'matches' if matched['matches'] else 'does not match'} ({mode})"
    rates = ", ".join(
        f"{word} {'unknown' if matched[key] is None else format(matched[key], '.2f')}"
        for word, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
    )
    yield f"{matched['matched']} of {matched['expected']} expected and {matched['made']} made calls; {rates}"
    if matched["divergence"] is not None:
        yield f"the first other call is number {matched['divergence'] + 1}"
    rows = [{"side": side, **call} for side in ("missing", "extra") for call in matched[side]]
    if rows:
        yield ""
        yield output.table(form, rows, _MATCH_COLUMNS)


def _called_with(row: Row) -> str:
    return ", ".join(f"{key}={_cut(value)}" for key, value in row["arguments"].items())


_MATCH_COLUMNS = (
    output.field("", "side"),
    output.field("TOOL", "tool"),
    output.Column("ARGUMENTS", _called_with),
)
_SIGNS = {"equal": " ", "changed": "~", "inserted": "+", "deleted": "-", "replaced": "!"}
_CONTEXT = 2
"""Equal steps that are shown around one that is not."""


def _step(row: Row, side: str) -> str | None:
    step = row.get(side)
    if step is None:
        return None
    outcome = {True: "", False: " (failed)"}.get(step.get("succeeded", True), "")
    words = f": {step['words'][:60]}" if step.get("words") else ""
    return f"{step['position']} {step['kind']} {step['name']}{outcome}{words}"


def _arguments(row: Row) -> str:
    told = row.get("arguments") or ()
    return "; ".join(f"{one['key']}: {_cut(one['baseline'])} -> {_cut(one['candidate'])}" for one in told)


def _cut(value: str | None) -> str:
    return "nothing" if value is None else value[:40]


_COLUMNS = (
    output.Column("", lambda row: "x" if row.get("flipped") else _SIGNS[row["change"]]),
    output.Column("BASELINE", lambda row: _step(row, "baseline")),
    output.Column("CANDIDATE", lambda row: _step(row, "candidate")),
    output.Column("ARGUMENTS", _arguments),
    output.Column("COST USD", lambda row: row.get("cost_usd") or None, right=True),
)


def _lines(form: str, shown: Row) -> Iterator[str]:
    said = [change["sentence"] for change in shown["changes"]]
    yield from (output.printable(one) for one in said or ["the same recording, step by step"])
    yield f"similarity {shown['similarity']:.2f}, {shown['unaligned']:,} steps without a partner"
    if shown["method"] != "whole":
        yield "too long to be aligned as a whole: aligned in windows between steps that both have once"
    yield ""
    yield from (output.printable(one["sentence"]) for one in shown["attributions"] if one["total"])
    rows = _with_context(shown["lines"])
    if said and rows:
        yield ""
        yield output.table(form, rows, _COLUMNS)
    if shown["next_from"] is not None:
        yield f"{shown['of_lines']:,} lines in all; go on with --from {shown['next_from']}"


def _with_context(lines: list[Row]) -> list[Row]:
    telling = [index for index, row in enumerate(lines) if row["change"] != "equal" or row.get("flipped")]
    near = {index + offset for index in telling for offset in range(-_CONTEXT, _CONTEXT + 1)}
    return [row for index, row in enumerate(lines) if index in near]
