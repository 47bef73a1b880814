"""`quartermaster baseline`: freeze missions, accept others for them, compare with them."""

import getpass
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from quartermaster.cli import compare, completing, output
from quartermaster.cli.capsules import BASELINE, is_there, names_capsule, read_capsule, write_whole
from quartermaster.cli.options import home_option, open_target, settings_for, target_options
from quartermaster.cli.target import Row, Target
from quartermaster.errors import UsageError

if TYPE_CHECKING:
    from quartermaster.core.capsule import Capsule
    from quartermaster.freezing import Side, Signed

_by_option = click.option("--by", metavar="WHO", help="Who does this; default: the user of this machine.")
_place_options = (
    home_option,
    click.option("--url", metavar="URL", help="A daemon elsewhere (QUARTERMASTER_URL)."),
    click.option("--token", metavar="TOKEN", help="The token for it (QUARTERMASTER_TOKEN)."),
    click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local."),
)


def _place(function: Any) -> Any:
    for option in reversed(_place_options):
        function = option(function)
    return function


@click.group("baseline")
def command() -> None:
    """Freeze missions as a baseline, accept others for it, compare with it.

    A baseline is a capsule: the missions as they were, their metrics, the prices and the rules. What
    becomes of the missions or the price lists later changes nothing that was judged by it.
    """


@command.command("freeze")
@click.argument("name")
@click.argument("missions", shell_complete=completing.sides)
@click.option("--output", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write a .qmb file.")
@click.option("--reason", metavar="TEXT", help="Why these.")
@_by_option
@_place
@output.format_option
def freeze(
    *,
    name: str,
    missions: str,
    file: Path | None,
    reason: str | None,
    by: str | None,
    form: str,
    **place: Any,
) -> None:
    """Freeze MISSIONS (ids, name=value, or a folder of recordings) as the baseline NAME.

    It is kept in the home or, with --output, in a file that can lie in a repository.
    """
    order = _Order(name, missions, reason, by or getpass.getuser(), place, accepted=False)
    if file is not None and file.exists():
        raise UsageError(f"{file} exists already; `quartermaster baseline accept` puts another in its place")
    row = _keep(order, name) if file is None else _write_file(file, order)
    output.print_rows(form, [row], _COLUMNS)


@command.command("accept")
@click.argument("name", shell_complete=completing.baselines)
@click.argument("candidate", shell_complete=completing.sides)
@click.option(
    "--reason", metavar="TEXT", required=True, help="Why the candidate is the baseline from now on."
)
@_by_option
@_place
@output.format_option
def accept(*, name: str, candidate: str, reason: str, by: str | None, form: str, **place: Any) -> None:
    """Accept CANDIDATE as the baseline NAME (of the home, or a .qmb file) from now on.

    What was the baseline before stays in its history, with who accepted it and why.
    """
    if not reason.strip():
        raise UsageError("--reason is empty; say why the candidate is the baseline from now on")
    file = Path(name) if names_capsule(name) else None
    order = _Order(None if file else name, candidate, reason, by or getpass.getuser(), place, accepted=True)
    row = _keep(order, name) if file is None else _write_file(file, order)
    output.print_rows(form, [row], _COLUMNS)


@command.command("list")
@target_options()
@output.format_option
def list_(target: Target, form: str) -> None:
    """List baselines by name."""
    output.print_rows(form, target.baselines(), _COLUMNS)


@command.command("show")
@click.argument("name", shell_complete=completing.baselines)
@_place
@output.format_option
def show(*, name: str, form: str, **place: Any) -> None:
    """Show the baseline NAME (of the home, or a .qmb file): its missions and its history."""
    if names_capsule(name):
        from quartermaster.api.frozen_rows import capsule_detail

        row: Row = capsule_detail(read_capsule(Path(name)).capsule)
    else:
        with closing(open_target(create=False, **place)) as target:
            row = target.baseline(name)
    output.print_document(form, row, lambda: "\n\n".join(_detail(form, row)))


@command.command("diff")
@click.argument("name", shell_complete=completing.baselines)
@click.argument("candidate", shell_complete=completing.sides)
@click.option("--strict", is_flag=True, help="Exit with 3 when there is no verdict.")
@_place
@output.format_option
def diff(*, name: str, candidate: str, strict: bool, form: str, **place: Any) -> int:
    """Say whether CANDIDATE is worse than the baseline NAME. Exits with 1 when it is."""
    baseline = name if names_capsule(name) else BASELINE + name
    opened = partial(open_target, create=False, **place)
    report = compare.compare_sides((baseline, candidate), settings_for(place["home"]), opened, None)
    output.print_document(form, report, lambda: compare.as_text(report, form))
    return compare.exit_code(report, None, strict=strict)


class _Order(NamedTuple):
    """What is to become a baseline. `name` None keeps the name that a file has."""

    name: str | None
    missions: str
    reason: str | None
    by: str
    place: Row
    accepted: bool

    def signed(self, name: str) -> "Signed":
        from quartermaster.freezing import Signed

        return Signed(name, self.by, self.reason, time.time_ns())

    def side(self, signed: "Signed", former: "Capsule | None") -> "Side":
        """The missions in a capsule of the baseline."""
        from quartermaster.core.capsule import open_capsule, seal
        from quartermaster.freezing import Side

        settings = settings_for(self.place["home"])
        opened = partial(open_target, create=False, **self.place)
        found = compare.freeze_side(self.missions, "missions", settings, opened).capsule
        if not found.missions:
            raise UsageError("no mission is selected; `quartermaster missions` lists what there is")
        sealed = seal(signed.head(found.head, former), found.missions)
        return Side(open_capsule(sealed.data), sealed)


def _keep(order: _Order, name: str) -> Row:
    recorded = names_capsule(order.missions) or is_there(order.missions)
    with closing(open_target(create=recorded, **order.place)) as target:
        if recorded:
            return _keep_recordings(target, order, name)
        missions = compare.described_side(target, _set_of(order.missions), "missions")
        body: dict[str, Any] = {"missions": missions, "by": order.by}
        body |= {"reason": order.reason} if order.reason else {}
        return target.accept(name, body) if order.accepted else target.freeze({"name": name, **body})


def _keep_recordings(target: Target, order: _Order, name: str) -> Row:
    from quartermaster.cli.local import Local
    from quartermaster.core.selection import Selection

    if not isinstance(target, Local):
        raise UsageError(
            "a daemon elsewhere has no files of this machine; ingest them, then name the missions"
        )
    former = target.side(Selection(baseline=name)).capsule if order.accepted else None
    signed = order.signed(name)
    return target.keep_baseline(order.side(signed, former), signed, accepted=order.accepted)


def _write_file(file: Path, order: _Order) -> Row:
    from quartermaster.api.frozen_rows import capsule_row
    from quartermaster.store.baselines import check_name

    former = read_capsule(file).capsule if order.accepted else None
    name = order.name or (former and former.head.name) or file.stem
    check_name(name)
    side = order.side(order.signed(name), former)
    write_whole(file, side.sealed.data)
    return capsule_row(side.capsule)


def _set_of(missions: str) -> str:
    return missions if "=" in missions else f"{missions},"


def _detail(form: str, row: Row) -> list[str]:
    return [
        output.table(form, [row], _COLUMNS),
        output.table(form, row["rows"], _MISSIONS),
        output.table(form, row["history"], _COLUMNS),
        f"Prices: {row['prices']}. Rules: pairs {row['rules_of_pairs']}, sets {row['rules_of_sets']}."
        f" Thresholds: {msgspec.json.encode(row['profile']).decode()}.",
    ]


_COLUMNS = (
    output.field("BASELINE", "name"),
    output.field("VERSION", "version", right=True),
    output.field("MISSIONS", "missions", right=True),
    output.Column("SHA-256", lambda row: row["digest"][:16]),
    output.field("SINCE", "created_at"),
    output.field("BY", "created_by"),
    output.field("REASON", "reason"),
)
_MISSIONS = (
    output.field("MISSION", "mission_id"),
    output.field("TASK", "task"),
    output.field("OUTCOME", "outcome"),
    output.field("STEPS", "steps", right=True),
    output.Column("COST USD", lambda row: row["metrics"].get("total_cost_usd"), right=True),
)
