"""Making, removing and trying rules: what is the same for the command line and for the API."""

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from quartermaster.alerting import program, webhook
from quartermaster.alerting.attempt import Attempt
from quartermaster.alerting.happenings import Judging, latest_change, standing
from quartermaster.core.alerts import (
    NAME_LIMIT,
    Command,
    Destination,
    OnChangePoint,
    OnFailureMode,
    Trial,
    Trigger,
    Webhook,
    delivery_id,
    message,
)
from quartermaster.errors import UsageError
from quartermaster.store import alerts, audit
from quartermaster.store.alerts import NewRule, Rule
from quartermaster.store.audit import Actor
from quartermaster.store.database import Connection

_ID_BYTES: Final = 8


def trigger_of(document: Mapping[str, Any]) -> Trigger:
    """What a rule waits for, of `on` and its options; UsageError names what is wrong."""
    try:
        trigger: Trigger = msgspec.convert(document, Trigger)
    except msgspec.ValidationError as error:
        raise UsageError(f"the trigger is not understood: {str(error).partition(' - at')[0]}") from None
    if not isinstance(trigger, OnFailureMode):
        return trigger
    return msgspec.structs.replace(trigger, detectors=tuple(map(_detector, trigger.detectors)))


def _detector(named: str) -> str:
    from quartermaster.core.examination import detector_names  # noqa: PLC0415 - detectors are slow to load

    names = detector_names()
    found = next((id for id, name in names.items() if named in (id, name)), None)
    if found is None:
        raise UsageError(f"no detector {named!r}; there are {', '.join(sorted(names))}")
    return found


def new_rule(
    connection: Connection,
    workspace: int,
    name: str,
    trigger: Trigger,
    destination: Destination,
    *,
    by: str,
    judging: Judging,
) -> NewRule:
    """A rule ready to be kept: with an id, a secret, and what its trend shows already. Reads only."""
    if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
        raise UsageError(f"a rule has a name of 1 to {NAME_LIMIT} printable characters")
    trend = trigger if isinstance(trigger, OnChangePoint) else None
    return NewRule(
        rule_id="al_" + secrets.token_hex(_ID_BYTES),
        name=name.strip(),
        trigger=trigger,
        destination=destination,
        secret=webhook.secret_of(secrets.token_bytes(webhook.SECRET_BYTES))
        if isinstance(destination, Webhook)
        else None,
        created_by=by,
        standing=standing(connection, workspace, trend, judging) if trend else {},
        seen=latest_change(connection, workspace) if trend else 0,
    )


def keep(connection: Connection, workspace: int, new: NewRule, actor: Actor, *, now: int) -> Rule:
    """Keep a rule and note who made it."""
    rule = alerts.add_rule(connection, workspace, new, now=now)
    _note(connection, rule, "alert.rule_added", actor, now)
    return rule


def remove(connection: Connection, rule: Rule, actor: Actor, *, now: int) -> None:
    """End a rule and note who did."""
    alerts.remove_rule(connection, rule, now=now)
    _note(connection, rule, "alert.rule_removed", actor, now)


def retry(connection: Connection, rule: Rule, actor: Actor, *, now: int) -> int:
    """Send again what was given up, under the same ids, and note who asked for it; how many messages."""
    revived = alerts.revive(connection, rule, now=now)
    _note(connection, rule, "alert.retried", actor, now)
    return revived


def _note(connection: Connection, rule: Rule, action: str, actor: Actor, now: int) -> None:
    audit.note(
        connection,
        rule.workspace,
        action,
        actor,
        now=now,
        rule=rule.rule_id,
        name=rule.name,
        trigger=msgspec.to_builtins(rule.trigger)["on"],
        destination=shown(rule.destination),
    )


def shown(destination: Destination) -> str:
    """A destination without what may be secret of it."""
    if isinstance(destination, Webhook):
        return webhook.shown(destination.url)
    return Path(destination.argv[0]).name


async def deliver(rule: Rule, id: str, body: bytes, *, folder: Path, seconds: float) -> Attempt:
    """One attempt to get a message out. A program works in `folder`."""
    match rule.destination:
        case Webhook():
            assert rule.secret is not None, "a rule that is not removed has its secret"
            timestamp = time.time_ns() // 10**9
            return await webhook.post(
                rule.destination, rule.secret, id, body, timestamp=timestamp, seconds=seconds
            )
        case Command():
            return await program.run(rule.destination, body, folder=folder, seconds=seconds)


async def try_out(rule: Rule, base: str, *, folder: Path, seconds: float) -> Attempt:
    """Send a message that says that it is a test, once; nothing is written down."""
    id = delivery_id(rule.rule_id, f"test {secrets.token_hex(_ID_BYTES)}")
    body = message(Trial(), rule.origin(base), id=id, at=time.time_ns())
    return await deliver(rule, id, body, folder=folder, seconds=seconds)
