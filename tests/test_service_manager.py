"""What a service manager is told: by the real daemon over a real socket, and what stops the signs of life."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import anyio
import pytest

from quartermaster.pulse import Pulse
from quartermaster.service_manager import Part, ServiceManager, take_service_manager
from quartermaster.store.database import Database


class Manager:
    """A socket that listens like a service manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.heard: list[str] = []

    def hear(self, seconds: float) -> list[str]:
        """Every assignment so far, after waiting so long for further ones."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except TimeoutError:
                break
        return self.heard

    def hear_until(self, assignment: str, seconds: float = 15.0) -> list[str]:
        ends = time.monotonic() + seconds
        while assignment not in self.hear(0.05):
            assert time.monotonic() < ends, f"{assignment} was never told: {self.heard}"
        return self.heard

    def forget(self) -> Self:
        self.hear(0.01)
        self.heard = []
        return self

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


def test_a_daemon_tells_that_it_is_ready_that_it_lives_and_that_it_stops(start_daemon, manager: Manager):
    daemon = start_daemon(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="600000")
    told = manager.hear_until("READY=1")
    assert "STATUS=opening the database" in told
    assert f"STATUS=listening on {daemon.url}" in told
    assert manager.forget().hear(1.0).count("WATCHDOG=1") >= 3
    daemon.stop()
    assert "STOPPING=1" in manager.hear(0.1)


def test_a_daemon_that_hangs_no_longer_says_that_it_lives(start_daemon, manager: Manager):
    daemon = start_daemon(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="300000")
    manager.hear_until("WATCHDOG=1")
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        assert "WATCHDOG=1" not in manager.forget().hear(0.6)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    manager.hear_until("WATCHDOG=1")


def test_a_watchdog_that_ends_the_daemon_leaves_what_every_thread_was_at(start_daemon):
    daemon = start_daemon()
    daemon.process.send_signal(signal.SIGABRT)
    assert daemon.process.wait(10) == -signal.SIGABRT
    log = daemon.log.read_text()
    assert "Fatal Python error: Aborted" in log
    assert "_write_until_stopped" in log


@pytest.mark.anyio
async def test_a_hung_writer_ends_the_signs_of_life_until_it_moves_again(tmp_path: Path, manager: Manager):
    going_on = threading.Event()
    with Database(tmp_path / "quartermaster.db") as database:
        told = ServiceManager(str(manager.path), 0.15)
        hanging = threading.Thread(target=database.write_blocking, args=(lambda _: going_on.wait(10),))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(told.feed_watchdog, (Part("writer", database.pulse, 0.2),))
            await anyio.to_thread.run_sync(manager.hear_until, "WATCHDOG=1")
            hanging.start()
            await anyio.to_thread.run_sync(manager.hear_until, "STATUS=stuck: writer")
            await anyio.to_thread.run_sync(manager.forget)
            assert await anyio.to_thread.run_sync(manager.hear, 0.4) == []
            going_on.set()
            await anyio.to_thread.run_sync(manager.hear_until, "WATCHDOG=1")
            tasks.cancel_scope.cancel()
        hanging.join(5)


def test_a_part_at_rest_is_never_stuck_and_one_at_work_is_after_its_time():
    pulse = Pulse()
    part = Part("reader", pulse, 0.05)
    time.sleep(0.1)
    assert not part.is_stuck()
    with pulse:
        time.sleep(0.1)
        assert part.is_stuck()
        pulse.again()
        assert not part.is_stuck()
    assert not part.is_stuck()


def test_an_abstract_address_is_understood(tmp_path: Path):
    name = f"quartermaster-{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(5)
        ServiceManager("@" + name, None).tell("READY=1", "STATUS=here")
        assert listening.recv(4096) == b"READY=1\nSTATUS=here"


def test_a_manager_that_is_gone_is_no_failure_and_one_that_comes_back_is_told(tmp_path: Path):
    told = ServiceManager(str(tmp_path / "manager"), None)
    told.tell("READY=1")
    ServiceManager(None, None).tell("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "manager"))
        listening.settimeout(5)
        told.tell("STATUS=here")
        assert listening.recv(4096) == b"STATUS=here"


def test_children_do_not_inherit_whom_to_tell():
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "PATH": "/bin"}
    assert take_service_manager(environment).watchdog_seconds == 30.0
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("interval", "pid", "seconds"),
    [
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
        ("2000000", "1", None),
        ("2000000", "ours", 2.0),
        ("2000000", "of our parent", 2.0),
    ],
)
def test_a_watchdog_counts_only_where_it_watches_us(interval: str, pid: str, seconds: float | None):
    pids = {"ours": str(os.getpid()), "of our parent": str(os.getppid())}
    if pid == "1" and os.getppid() == 1:
        pytest.skip("the parent of this process is process 1")
    told = take_service_manager({"WATCHDOG_USEC": interval, "WATCHDOG_PID": pids.get(pid, pid)})
    assert told.watchdog_seconds == seconds
