"""`quartermaster alert`: who is told what, and what became of each message."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import click

from quartermaster.cli import admin, output
from quartermaster.cli.options import home_option, settings_for
from quartermaster.core.journal import parse_instant
from quartermaster.errors import NotFound, QuartermasterError, Rejected, UsageError
from quartermaster.home import Home, choose_workspace
from quartermaster.store import alerts
from quartermaster.store.access import Workspace
from quartermaster.store.alerts import DeliveryFilter, Rule
from quartermaster.store.database import Connection, Database

if TYPE_CHECKING:
    from quartermaster.alerting.happenings import Judging
    from quartermaster.core.alerts import Destination

_SECONDS: Final = 60.0
_EVENTS: Final = ("regression", "change_point", "failure_mode")
_OPTIONS: Final = {
    "regression": ("metrics", "grade"),
    "change_point": ("metrics", "task", "variant", "by"),
    "failure_mode": ("severity", "detectors"),
}


class _Place:
    """The opened home and the chosen workspace."""

    def __init__(self, home: Home, database: Database, workspace: Workspace, given: Path | None) -> None:
        self.home, self.database, self.workspace = home, database, workspace
        self._given = given

    @property
    def judging(self) -> "Judging":
        from quartermaster.alerting.happenings import Judging
        from quartermaster.config import own_prices, profile_of

        settings = settings_for(self._given)
        return Judging(profile_of(settings), own_prices(settings))

    @property
    def page(self) -> str:
        """Where the page is: as the settings say, where a daemon listens now, or where it would."""
        settings = settings_for(self._given)
        if settings.alert_page_url is not None:
            return settings.alert_page_url.rstrip("/")
        try:
            return self.home.address.read_text().strip()
        except OSError:
            return f"http://{settings.host}:{settings.port}"

    @property
    def timeout_seconds(self) -> float:
        return settings_for(self._given).alert_timeout_seconds

    def rule(self, named: str) -> Rule:
        """The rule of this id, or the only one of this name."""
        found = [one for one in self.rules() if named in (one.rule_id, one.name)]
        if not found:
            raise NotFound(f"no alert rule {named!r}; `quartermaster alert list` lists them")
        if len(found) > 1:
            raise UsageError(f"{len(found)} rules are named {named!r}; name one by its id (alert list)")
        return found[0]

    def rules(self) -> list[Rule]:
        return self.database.look_up(lambda connection: alerts.list_rules(connection, self.workspace.key))


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    said = "Id or slug; default: the only one, else local."
    return click.option("--workspace", metavar="WORKSPACE", help=said)(home_option(function))


@contextmanager
def _opened(home: Path | None, workspace: str | None) -> Iterator[_Place]:
    with admin.opened(home) as (folder, database):
        chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
        yield _Place(folder, database, chosen, home)


@click.group("alert")
def command() -> None:
    """Say who is told of regressions, failures and changes of trends, and see what became of it.

    The daemon sends: a signed webhook, or a program of this machine with the message on its input. A rule
    fires for what happens after it was made.
    """


@command.command("add")
@click.argument("name")
@click.option("--on", "event", type=click.Choice(_EVENTS), required=True, help="What to tell of.")
@click.option("--url", metavar="URL", help="Where to send it, signed; or name a command behind --.")
@click.option("--metric", "metrics", multiple=True, help="regression, change_point: in this; repeatable.")
@click.option(
    "--grade",
    type=click.Choice(("single-run", "within-run", "outside-noise")),
    help="regression: with at least this evidence; default: single-run.",
)
@click.option("--task", help="change_point: over missions of this task.")
@click.option("--variant", help="change_point: over missions of this variant.")
@click.option("--by", type=click.Choice(("day", "commit", "mission")), help="change_point: what a point is.")
@click.option(
    "--severity", type=click.Choice(("info", "warn", "high")), help="failure_mode: at least; default: high."
)
@click.option("--detector", "detectors", multiple=True, help="failure_mode: by this one; repeatable.")
@_place
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def add(
    *,
    name: str,
    event: str,
    url: str | None,
    arguments: tuple[str, ...],
    home: Path | None,
    workspace: str | None,
    **options: Any,
) -> None:
    """Tell a webhook (--url), or a program of this machine (-- COMMAND...), when something happens.

    The secret that signs the messages to a webhook is printed once and alone on stdout.
    """
    from quartermaster.alerting import rules

    destination = _destination(url, arguments)
    given = {option: value for option, value in options.items() if value}
    for option in given:
        if option not in _OPTIONS[event]:
            raise UsageError(f"--{option.removesuffix('s')} says nothing of {event}")
    trigger = rules.trigger_of({"on": event, **given})
    with _opened(home, workspace) as place:
        actor = admin.operator()
        new = place.database.read_blocking(
            lambda connection: rules.new_rule(
                connection,
                place.workspace.key,
                name,
                trigger,
                destination,
                by=actor.actor_id,
                judging=place.judging,
            ),
            _SECONDS,
        )
        place.database.write_blocking(
            lambda connection: rules.keep(connection, place.workspace.key, new, actor, now=time.time_ns())
        )
    if new.secret is not None:
        output.write(new.secret)
    output.tell(
        f"rule {new.rule_id} is there; its secret is not shown again"
        if new.secret
        else f"rule {new.rule_id} is there"
    )


def _destination(url: str | None, arguments: tuple[str, ...]) -> "Destination":
    from quartermaster.alerting import program, webhook
    from quartermaster.core.alerts import Command, Webhook

    if (url is None) == (not arguments):
        raise UsageError("give --url URL, or a command behind --: one of the two")
    if url is not None:
        return Webhook(url=webhook.check_url(url, local=True), local=True)
    return Command(argv=program.check_argv(arguments))


@command.command("list")
@_place
@output.format_option
def list_(home: Path | None, workspace: str | None, form: str) -> None:
    """List the rules of a workspace; secrets, and what may be secret of an address, are not shown."""
    from quartermaster.api.alert_rows import rule_row

    with _opened(home, workspace) as place:
        rows = [rule_row(rule) for rule in place.rules()]
    output.print_rows(form, rows, _RULES)


@command.command("remove")
@click.argument("rule")
@_place
def remove(rule: str, home: Path | None, workspace: str | None) -> None:
    """End RULE: what it still has to send is not sent, and its secret is forgotten."""
    from quartermaster.alerting import rules

    with _opened(home, workspace) as place:
        found = place.rule(rule)
        place.database.write_blocking(
            lambda connection: rules.remove(connection, found, admin.operator(), now=time.time_ns())
        )
    output.tell(f"rule {rule} is removed")


@command.command("test")
@click.argument("rule")
@_place
def test(rule: str, home: Path | None, workspace: str | None) -> None:
    """Send one message of RULE now, from here, that says that it is a test."""
    from quartermaster.alerting import rules

    with _opened(home, workspace) as place:
        found = place.rule(rule)

        async def send() -> Any:
            return await rules.try_out(
                found, place.page, folder=place.home.path, seconds=place.timeout_seconds
            )

        attempt = anyio.run(send)
    if not attempt.delivered:
        raise QuartermasterError(f"the message was not delivered: {attempt.said}")
    output.tell(f"delivered: {attempt.said}")


@command.command("retry")
@click.argument("rule")
@_place
def retry(rule: str, home: Path | None, workspace: str | None) -> None:
    """Send again what was given up of RULE, under the same ids; the daemon does so at its next look."""
    from quartermaster.alerting import rules

    with _opened(home, workspace) as place:
        found = place.rule(rule)
        revived = place.database.write_blocking(
            lambda connection: rules.retry(connection, found, admin.operator(), now=time.time_ns())
        )
    output.tell(f"messages that wait to be sent: {revived:,}" if revived else "nothing of it was given up")


@command.command("deliveries")
@click.option("--rule", metavar="RULE", help="Of this rule alone.")
@click.option("--state", type=click.Choice(alerts.STATES), help="In this state alone; dead: given up.")
@click.option("--limit", type=click.IntRange(1, alerts.LIST_LIMIT), default=50, show_default=True)
@_place
@output.format_option
def deliveries(
    *, rule: str | None, state: str | None, limit: int, home: Path | None, workspace: str | None, form: str
) -> None:
    """List messages, newest first: delivered, waiting for the next attempt, or given up."""
    from quartermaster.api.alert_rows import delivery_row

    filters = DeliveryFilter(rule_id=rule, state=state, limit=limit)
    with _opened(home, workspace) as place:
        page = place.database.look_up(
            lambda connection: alerts.list_deliveries(connection, place.workspace.key, filters)
        )
    output.print_rows(form, [delivery_row(one) for one in page.rows], _DELIVERIES)


@command.command("dry-run")
@click.argument("rule", required=False)
@click.option("--since", metavar="TIME", help="What happened at or after this RFC 3339 time; default: all.")
@_place
@output.format_option
def dry_run(rule: str | None, since: str | None, home: Path | None, workspace: str | None, form: str) -> None:
    """Print what RULE, or every rule, would have told of in the past; nothing is sent."""
    from quartermaster.alerting.happenings import past

    begin = _instant(since)
    with _opened(home, workspace) as place:
        chosen = place.rules() if rule is None else [place.rule(rule)]

        def look(connection: Connection) -> list[dict[str, Any]]:
            return [
                {
                    "rule_id": one.rule_id,
                    "name": one.name,
                    "type": found.happening.event,
                    "at": found.at,
                    "wording": found.happening.wording,
                    "url": f"{place.page}/{found.happening.page}",
                }
                for one in chosen
                for found in past(connection, one.workspace, one.trigger, begin, place.judging)
            ]

        rows = place.database.read_blocking(look, _SECONDS)
    output.print_rows(form, rows, _PAST)


def _instant(since: str | None) -> int:
    if since is None:
        return 0
    try:
        return parse_instant(since)
    except Rejected as error:
        raise UsageError(f"--since {since!r} is no time; use one like 2027-01-31T00:00:00Z") from error


_RULES: Final = (
    output.field("RULE", "id"),
    output.field("NAME", "name"),
    output.Column("ON", lambda row: row["trigger"]["on"]),
    output.Column("OPTIONS", lambda row: _said(row["trigger"])),
    output.Column("TO", lambda row: f"{row['destination']['kind']} {row['destination']['shown']}"),
    output.field("CREATED", "created_at"),
    output.field("BY", "created_by"),
)
_DELIVERIES: Final = (
    output.field("DELIVERY", "id"),
    output.field("RULE", "name"),
    output.field("STATE", "state"),
    output.field("ATTEMPTS", "attempts", right=True),
    output.field("NEXT", "next_attempt_at"),
    output.field("SAID", "said"),
    output.field("CREATED", "created_at"),
    output.Column("WORDING", lambda row: row["message"]["wording"]),
)
_PAST: Final = (
    output.field("RULE", "name"),
    output.field("EVENT", "type"),
    output.field("AT", "at"),
    output.field("WORDING", "wording"),
    output.field("PAGE", "url"),
)


def _said(trigger: dict[str, Any]) -> str:
    given = {name: value for name, value in trigger.items() if value and name != "on"}
    return ", ".join(
        f"{name}={'/'.join(value) if isinstance(value, list | tuple) else value}"
        for name, value in given.items()
    )
