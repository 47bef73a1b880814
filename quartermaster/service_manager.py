"""What the service manager is told (`sd_notify`): that we are ready, that we live, that we stop."""

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Final

import anyio
import structlog

from quartermaster.pulse import Pulse

BEATS_PER_INTERVAL: Final = 3
"""Signs of life within the time after which the manager would end us."""

_log = structlog.get_logger()


class Part:
    """A part that must not be stuck, and for how many seconds one piece of its work may last."""

    def __init__(self, name: str, pulse: Pulse, patience_seconds: float) -> None:
        self.name = name
        self._pulse = pulse
        self._patience_seconds = patience_seconds

    def is_stuck(self) -> bool:
        return self._pulse.seconds() > self._patience_seconds


class ServiceManager:
    """Who started us and wants to know how we are; without one, telling does nothing."""

    def __init__(self, address: str | None, watchdog_seconds: float | None) -> None:
        self._address = address
        self.watchdog_seconds = watchdog_seconds

    def tell(self, *assignments: str) -> None:
        """Such as `READY=1`. A manager that cannot be reached costs nothing but the message."""
        if self._address is None:
            return
        abstract = self._address.startswith("@")
        address = "\0" + self._address[1:] if abstract else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto("\n".join(assignments).encode(), address)

    async def feed_watchdog(self, parts: tuple[Part, ...]) -> None:
        """Say that we live, for as long as no part is stuck: a hung daemon is to be ended and restarted."""
        if self.watchdog_seconds is None:
            return
        told: list[str] = []
        while True:
            stuck = [part.name for part in parts if part.is_stuck()]
            if not stuck:
                self.tell("WATCHDOG=1")
            elif stuck != told:
                _log.error("stuck", parts=stuck)
                self.tell(f"STATUS=stuck: {', '.join(stuck)}")
            told = stuck
            await anyio.sleep(self.watchdog_seconds / BEATS_PER_INTERVAL)


def take_service_manager(environment: MutableMapping[str, str]) -> ServiceManager:
    """The manager that the environment names. Its variables are taken out: children are not the service."""
    taken = {name: environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}
    return ServiceManager(taken["NOTIFY_SOCKET"] or None, _watchdog_seconds(taken))


def _watchdog_seconds(taken: Mapping[str, str]) -> float | None:
    """None where nobody watches, or somebody else is watched.

    A single-file build is watched by the number of the process that unpacked it, its parent.
    """
    interval, pid = taken["WATCHDOG_USEC"], taken["WATCHDOG_PID"]
    if not interval.isdecimal() or not int(interval):
        return None
    if pid and pid not in (str(os.getpid()), str(os.getppid())):
        return None
    return int(interval) / 1e6
