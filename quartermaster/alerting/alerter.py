"""The part of the daemon that notices what rules wait for, and gets their messages out.

It looks at what the database holds, from the cursor of each rule on, so that nothing that evaluates or
reads recordings waits for it or knows of it.
"""

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup, TaskStatus

from quartermaster.alerting.attempt import Attempt
from quartermaster.alerting.happenings import Judging, News, news
from quartermaster.alerting.rules import deliver
from quartermaster.core.alerts import OnChangePoint, delivery_id, message
from quartermaster.errors import StorageError
from quartermaster.store import alerts
from quartermaster.store.alerts import DEAD, DELIVERED, WAITING, Composed, Delivery, Rule
from quartermaster.store.database import Database

LONGEST_PAUSE: Final = 6 * 3600.0
_FACTOR: Final = 4
_POLL_SECONDS: Final = 1.0
_READING_SECONDS: Final = 60.0
_FORGET_SECONDS: Final = 3600.0

_log = structlog.get_logger()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How messages are sent. `base` is the address of the page, `pause_seconds` the first pause; each one
    after it is four times as long, up to six hours. `trend_seconds` lie between two looks at a trend."""

    base: str
    timeout_seconds: float = 10.0
    attempts: int = 8
    pause_seconds: float = 5.0
    concurrency: int = 4
    trend_seconds: float = 60.0


class Alerter:
    """Notices and delivers until it is cancelled. A message that is under way then is sent again, under
    its id, by the next one."""

    def __init__(
        self,
        database: Database,
        judging: Judging,
        terms: Terms,
        *,
        now: Callable[[], int] = time.time_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._judging = judging
        self._terms = terms
        self._now = now
        self._jitter = jitter
        self._sending: set[int] = set()
        self._looked: dict[int, float] = {}
        self._forgot_at = 0.0
        self._settled = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled."""
        async with anyio.create_task_group() as tasks:
            task_status.started()
            while True:
                self._settled = anyio.Event()
                more = await self._turn(tasks)
                with anyio.move_on_after(0 if more else _POLL_SECONDS):
                    await self._settled.wait()

    async def _turn(self, tasks: TaskGroup) -> bool:
        """Notice and begin to send; True when there is more to be noticed at once."""
        try:
            rules = self._database.look_up(alerts.list_rules)
            noticed = [await self._look(rule) for rule in rules]
            self._send_due(tasks, {rule.key: rule for rule in rules})
            await self._forget()
        except StorageError as error:
            if self._database.failure is not None:
                raise
            _log.warning("alerts are looked after later", reason=str(error))
            return False
        return any(noticed)

    async def _look(self, rule: Rule) -> bool:
        """A rule that cannot be looked at keeps no other waiting."""
        try:
            return await self._notice(rule)
        except StorageError:
            raise
        except Exception:
            _log.exception("a rule cannot be looked at", rule_id=rule.rule_id)
            return False

    async def _notice(self, rule: Rule) -> bool:
        """Write the deliveries of what a rule has not looked at yet; whether there was anything."""
        if not self._is_time(rule):
            return False
        found = await self._database.read(
            lambda connection: news(connection, rule, self._judging), seconds=_READING_SECONDS
        )
        if found is None:
            return False
        now = self._now()
        composed = [self._composed(rule, found, number, now) for number in range(len(found.happenings))]
        await self._database.write(
            lambda connection: alerts.advance(
                connection, rule, found.cursor, composed, series=found.series, now=now
            )
        )
        if composed:
            _log.info("alerts noticed", rule_id=rule.rule_id, events=len(composed))
        return True

    def _is_time(self, rule: Rule) -> bool:
        """A trend is of all missions together: it is not looked at after every single one."""
        if not isinstance(rule.trigger, OnChangePoint):
            return True
        moment = time.monotonic()
        if moment - self._looked.get(rule.key, -self._terms.trend_seconds) < self._terms.trend_seconds:
            return False
        self._looked[rule.key] = moment
        return True

    def _composed(self, rule: Rule, found: News, number: int, now: int) -> Composed:
        what = found.happenings[number]
        id = delivery_id(rule.rule_id, what.key)
        return Composed(id, what.key, message(what, rule.origin(self._terms.base), id=id, at=now))

    def _send_due(self, tasks: TaskGroup, rules: dict[int, Rule]) -> None:
        """One message of a rule at a time, so that they arrive in order and a slow receiver delays itself."""
        for delivery in self._database.look_up(partial(alerts.due, now=self._now())):
            if len(self._sending) >= self._terms.concurrency:
                return
            rule = rules.get(delivery.rule)
            if rule is not None and rule.key not in self._sending:
                self._sending.add(rule.key)
                tasks.start_soon(self._send, rule, delivery)

    async def _send(self, rule: Rule, delivery: Delivery) -> None:
        try:
            await self._settle(rule, delivery, await self._attempt(rule, delivery))
        except StorageError as error:
            _log.warning("an alert is sent again", delivery_id=delivery.delivery_id, reason=str(error))
            await anyio.sleep(self._terms.pause_seconds)
        finally:
            self._sending.discard(rule.key)
            self._settled.set()

    async def _attempt(self, rule: Rule, delivery: Delivery) -> Attempt:
        folder, seconds = self._database.path.parent, self._terms.timeout_seconds
        try:
            return await deliver(rule, delivery.delivery_id, delivery.payload, folder=folder, seconds=seconds)
        except Exception:
            _log.exception("a message cannot be sent", delivery_id=delivery.delivery_id)
            return Attempt(delivered=False, said="a fault of this program; its log says where")

    async def _settle(self, rule: Rule, delivery: Delivery, attempt: Attempt) -> None:
        made, now = delivery.attempts + 1, self._now()
        pause = self._pause(made, attempt.after_seconds)
        state = DELIVERED if attempt.delivered else WAITING
        if not attempt.delivered and (attempt.final or made >= self._terms.attempts):
            state = DEAD
        await self._database.write(
            lambda connection: alerts.settle(
                connection,
                delivery,
                state=state,
                said=attempt.said,
                due_at=now + int(pause * 1e9) if state == WAITING else delivery.due_at,
                now=now,
            )
        )
        told = _log.info if attempt.delivered else _log.warning
        told(
            f"alert {'not delivered' if state == WAITING else state}",
            rule_id=rule.rule_id,
            delivery_id=delivery.delivery_id,
            attempt=made,
            said=attempt.said,
            again_in_seconds=round(pause, 1) if state == WAITING else None,
        )

    def _pause(self, made: int, asked: float | None) -> float:
        """Between half of it and all of it, so that receivers that come back are not met by all at once."""
        longest = min(LONGEST_PAUSE, self._terms.pause_seconds * float(_FACTOR) ** (made - 1))
        return max(longest * (0.5 + 0.5 * self._jitter()), min(asked or 0.0, LONGEST_PAUSE))

    async def _forget(self) -> None:
        moment = time.monotonic()
        if self._forgot_at and moment - self._forgot_at < _FORGET_SECONDS:
            return
        await self._database.write(partial(alerts.forget, now=self._now()))
        self._forgot_at = moment
