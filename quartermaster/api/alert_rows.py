"""Alert rules and deliveries as clients read them: never a secret, never the whole of an address."""

from typing import Any

import msgspec

from quartermaster.alerting.rules import shown
from quartermaster.core.alerts import Command
from quartermaster.core.journal import format_instant
from quartermaster.store.alerts import WAITING, Delivery, Rule


def rule_row(rule: Rule) -> dict[str, Any]:
    """One rule. `made_locally`: on the machine of the daemon, by whoever owns it."""
    to = rule.destination
    return {
        "id": rule.rule_id,
        "name": rule.name,
        "trigger": msgspec.to_builtins(rule.trigger),
        "destination": {
            "kind": "command" if isinstance(to, Command) else "webhook",
            "shown": shown(to),
        },
        "made_locally": isinstance(to, Command) or to.local,
        "created_at": format_instant(rule.created_at),
        "created_by": rule.created_by,
    }


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """One message and what became of it; `message` is as it was sent."""
    return {
        "id": delivery.delivery_id,
        "rule_id": delivery.rule_id,
        "name": delivery.name,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "said": delivery.said,
        "next_attempt_at": format_instant(delivery.due_at) if delivery.state == WAITING else None,
        "created_at": format_instant(delivery.created_at),
        "ended_at": None if delivery.ended_at is None else format_instant(delivery.ended_at),
        "message": msgspec.json.decode(delivery.payload),
    }
