"""`quartermaster serve`: first start, lock, address, inboxes, signals, slow and too many clients."""

import http.client
import json
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from running import Daemon

from quartermaster import daemon as daemon_module
from quartermaster import listeners, server
from quartermaster.daemon import Health, keep_running
from quartermaster.store.database import Database, sqlite_fault, sqlite_version


def events(daemon: Daemon) -> list[dict[str, Any]]:
    """The structured lines of a daemon's log."""
    return [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]


def test_the_first_start_makes_a_private_home_and_prints_one_login_link(start_daemon, home: Path):
    daemon = start_daemon()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("token", "quartermaster.db", "lock", "address"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    assert (home / "inbox" / "local").is_dir()
    assert daemon.get("/api/v1/missions")["rows"] == []
    links = re.findall(rf"{re.escape(daemon.url)}/login\?code=\w+", daemon.log.read_text())
    assert len(links) == 1
    assert daemon.token not in daemon.log.read_text()
    daemon.stop()
    again = start_daemon()
    assert again.log.read_text().count("/login?code=") == 1
    assert again.token == daemon.token


def test_an_idle_daemon_stops_within_two_seconds_and_leaves_no_address(start_daemon, home: Path):
    daemon = start_daemon()
    assert daemon.stop() < 2
    assert not (home / "address").exists()
    told = [event["event"] for event in events(daemon)]
    assert [event for event in told if not event.startswith("SQLite ")] == ["started", "stopping", "stopped"]


def test_an_interrupt_from_the_keyboard_stops_like_a_signal(start_daemon):
    daemon = start_daemon()
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(5) == 0
    assert "Traceback" not in daemon.log.read_text()


def test_a_second_signal_stops_at_once_although_a_stream_is_open(start_daemon):
    daemon = start_daemon()
    with open_stream(daemon):
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(2) == 0
    assert "Traceback" not in daemon.log.read_text()


def test_an_open_event_stream_is_ended_and_does_not_hold_up_the_stop(start_daemon):
    daemon = start_daemon()
    with open_stream(daemon) as stream:
        assert daemon.stop() < 2
        stream.settimeout(2)
        rest = b""
        while chunk := stream.recv(4096):
            rest += chunk
        assert rest.endswith(b"0\r\n\r\n")  # the end of a chunked body, not a broken connection
    assert "Traceback" not in daemon.log.read_text()


def open_stream(daemon: Daemon) -> socket.socket:
    address = urlsplit(daemon.url)
    stream = socket.create_connection((address.hostname, address.port), timeout=5)
    stream.sendall(
        f"GET /api/v1/eval/runs/stream HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {daemon.token}\r\n\r\n".encode()
    )
    assert b"200 OK" in stream.recv(1024)
    return stream


def test_a_second_daemon_on_the_same_home_is_refused_in_words(start_daemon, quartermaster):
    daemon = start_daemon()
    refused = quartermaster("serve", "--port", "0")
    assert refused.returncode == 2
    assert f"process {daemon.process.pid}" in refused.stderr
    assert "--home" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_killed_daemon_leaves_a_home_that_the_next_one_can_use(start_daemon):
    start_daemon().kill()
    again = start_daemon()
    assert again.request("GET", "/readyz").status == 200
    again.stop()


def test_a_port_in_use_is_told_with_what_to_do(start_daemon, quartermaster, tmp_path: Path):
    port = urlsplit(start_daemon().url).port
    refused = quartermaster("serve", "--home", tmp_path / "other", "--port", port)
    assert refused.returncode == 2
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_a_proxy_in_front(quartermaster, host: str):
    refused = quartermaster("serve", "--host", host, "--port", "0")
    assert refused.returncode == 2
    assert "--behind-proxy" in refused.stderr


def test_a_recording_in_the_inbox_becomes_missions_while_the_daemon_runs(start_daemon, samples: Path):
    daemon = start_daemon()
    shutil.copy(samples / "native" / "login_fix.ndjson", daemon.home / "inbox" / "local")
    daemon.wait_for(lambda: daemon.get("/api/v1/missions")["count"] == 2)
    daemon.wait_for(lambda: "ingested" in [event["event"] for event in events(daemon)])
    assert {row["format"] for row in daemon.get("/api/v1/missions")["rows"]} == {"native"}


def test_a_further_inbox_is_watched_in_place_and_not_written_to(start_daemon, samples: Path, tmp_path: Path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    daemon = start_daemon("--inbox", folder)
    shutil.copy(samples / "claude_code" / "ferry_backup_json.jsonl", folder)
    daemon.wait_for(lambda: daemon.get("/api/v1/missions")["count"] == 1)
    assert [path.name for path in folder.iterdir()] == ["ferry_backup_json.jsonl"]


def test_a_workspace_that_is_made_meanwhile_gets_a_living_inbox(start_daemon, quartermaster, samples: Path):
    daemon = start_daemon(QUARTERMASTER_INGEST_SCAN_SECONDS="0.3")
    assert quartermaster("workspace", "create", "team").returncode == 0
    quartermaster("member", "add", "ann", "--workspace", "team", "--role", "viewer")
    token = quartermaster("token", "create", "--user", "ann").stdout.strip()
    shutil.copy(samples / "native" / "login_fix.ndjson", daemon.home / "inbox" / "team")
    theirs = {"Authorization": f"Bearer {token}"}
    daemon.wait_for(lambda: daemon.request("GET", "/api/v1/missions", headers=theirs).json["count"] == 2)
    assert daemon.get("/api/v1/missions")["count"] == 0


def test_a_revoked_token_is_refused_by_the_running_daemon(start_daemon, quartermaster):
    daemon = start_daemon()
    token_id = daemon.token.split("_")[1]
    assert daemon.request("GET", "/api/v1/missions").status == 200
    assert quartermaster("token", "revoke", token_id).returncode == 0
    daemon.wait_for(lambda: daemon.request("GET", "/api/v1/missions").status == 401, seconds=3)


def test_a_run_queued_over_http_ends_and_is_logged(start_daemon, samples: Path):
    daemon = start_daemon()
    shutil.copy(samples / "native" / "login_fix.ndjson", daemon.home / "inbox" / "local")
    daemon.wait_for(lambda: daemon.get("/api/v1/missions")["count"] == 2)
    answer = daemon.request("POST", "/api/v1/eval/replay", {"mission_id": "demo-login-fix-baseline"})
    assert answer.status == 202
    run_id = answer.json["run_id"]
    assert daemon.wait_for_run(run_id)["status"] == "completed"
    daemon.wait_for(lambda: any(event.get("run_id") == run_id for event in events(daemon)))


def test_a_start_loads_nothing_that_it_does_not_need(start_daemon):
    """Each of these costs a tenth of a start or several MiB."""
    code = (
        "import sys, quartermaster.daemon\n"
        "from quartermaster.api.application import make_application\n"
        "heavy = {'pydantic', 'numpy', 'genai_prices', 'sqlite_utils', 'httpx', 'click_default_group',"
        " 'quartermaster.core.failure_modes'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    daemon = start_daemon()
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "pydantic_core" not in maps


def test_a_first_start_loads_no_frames_and_leaves_them_to_be_loaded(tmp_path: Path) -> None:
    """What makes the tables would load pandas, where it is installed, for column types that are not used."""
    code = (
        "import sys, pathlib\n"
        "from quartermaster.store.database import Database\n"
        "Database(pathlib.Path(sys.argv[1])).close()\n"
        "print('sqlite_utils' in sys.modules, 'pandas' in sys.modules, 'numpy' in sys.modules)\n"
        "import numpy, pandas\n"
        "print(pandas.DataFrame({'a': numpy.arange(3)}).a.sum())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "new.db")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True False False\n3\n", "")


class Part:
    """A part of a daemon that fails as often as it is told to, then runs."""

    def __init__(self, failures: int, *, before_start: bool = False) -> None:
        self.failures = failures
        self.before_start = before_start
        self.starts = 0
        self.running = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        self.starts += 1
        failing = self.starts <= self.failures
        if failing and self.before_start:
            raise OSError("cannot begin")
        task_status.started()
        if failing:
            raise OSError("broke")
        self.running.set()
        await anyio.sleep_forever()


@pytest.mark.anyio
async def test_a_part_that_fails_is_started_again_and_readiness_tells(tmp_path: Path):
    with Database(tmp_path / "quartermaster.db") as database:
        health = Health(database, anyio.Event())
        part = Part(failures=1)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                await tasks.start(keep_running, "ingester", part.run, health)
                await anyio.sleep(0.1)
                assert health.reasons() == ["the ingester is being restarted"]
                await part.running.wait()
                assert health.reasons() == []
                tasks.cancel_scope.cancel()
    assert part.starts == 2


@pytest.mark.anyio
async def test_a_part_that_cannot_begin_fails_the_start(tmp_path: Path):
    with Database(tmp_path / "quartermaster.db") as database:
        part = Part(failures=1, before_start=True)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as tasks:
                await tasks.start(keep_running, "ingester", part.run, Health(database, anyio.Event()))
        assert caught.group_contains(OSError, match="cannot begin")


@pytest.mark.anyio
async def test_a_part_that_fails_five_times_in_a_minute_stops_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(daemon_module, "_FIRST_PAUSE", 0.01)
    stop = anyio.Event()
    with Database(tmp_path / "quartermaster.db") as database:
        health = Health(database, stop)
        part = Part(failures=100)
        with anyio.fail_after(5):
            await keep_running("ingester", part.run, health)
    assert part.starts == 5
    assert health.hopeless == "ingester"
    assert stop.is_set()


def test_readiness_tells_the_state_of_each_part_and_no_path(start_daemon, home: Path):
    daemon = start_daemon()
    told = daemon.request("GET", "/readyz").json
    assert told["status"] == "ready"
    assert str(home) not in json.dumps(told)
    assert sqlite_version() not in json.dumps(told)
    sqlite = told["parts"].pop("sqlite")
    assert (
        ("doctor" in sqlite)
        == (sqlite_fault() is not None)
        == ("quartermaster[sqlite]" in daemon.log.read_text())
    )
    assert {"database", "disk", "ingester", "supervisor", "retention"} <= set(told["parts"])
    assert set(told["parts"].values()) == {"ok"}


def test_a_start_leaves_out_what_its_libraries_would_load_beside_themselves():
    code = (
        "import sys\n"
        "from quartermaster.imports import without\n"
        "with without('rich'):\n"
        "    import quartermaster.daemon\n"
        "print('rich' in sys.modules, 'structlog' in sys.modules)\n"
        "import rich.console\n"
        "print(rich.console.Console.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "Console"]


@pytest.mark.anyio
async def test_readiness_names_a_stop_and_a_database_that_cannot_be_written(tmp_path: Path):
    database = Database(tmp_path / "quartermaster.db")
    stop = anyio.Event()
    health = Health(database, stop)
    assert health.reasons() == []
    stop.set()
    assert health.reasons() == ["the daemon is stopping"]
    database.close()
    assert health.reasons() == ["the daemon is stopping", "the database cannot be written"]


async def _empty(scope, receive, send) -> None:
    """Answers every request with nothing, after reading its whole body."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(server, "BODY_SECONDS", 0.6)


_MORE_THAN_KERNELS_HOLD = 32 * 2**20


async def _endless(scope, receive, send) -> None:
    """Answers every request with bytes until the client has gone."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})

    async def flow() -> None:
        while True:
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flow)
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()


async def _served(use: Callable[[int], bytes], application: Any = _empty) -> bytes:
    """What a client in a thread gets from a server on a free port."""
    listener = listeners.bind("127.0.0.1", 0, guarded=False)
    running = server.Server(application)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            await tasks.start(running.run_on, [listener])
            answer = await anyio.to_thread.run_sync(use, listener.getsockname()[1])
            running.should_exit = True
    return answer


def _drip(pieces: list[bytes], pause: float) -> Callable[[int], bytes]:
    def use(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            try:
                for piece in pieces:
                    client.sendall(piece)
                    time.sleep(pause)
                return client.recv(4096)
            except ConnectionError:
                return b"closed"

    return use


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_head_that_drips_in_is_cut_off_at_its_deadline():
    pieces = [b"GET / HTTP/1.1\r\n"] + [b"x: y\r\n"] * 10
    answer = await _served(_drip(pieces, 0.1))
    assert answer.startswith(b"HTTP/1.1 408") or answer == b"closed"


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_connection_that_says_nothing_is_closed():
    assert await _served(_drip([], 0)) in (b"", b"closed")


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_body_that_drips_in_is_cut_off_at_its_deadline():
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    answer = await _served(_drip([head] + [b"."] * 12, 0.1))
    assert b"204" not in answer


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_connection_that_is_kept_open_is_not_measured_while_nothing_is_asked():
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await _served(_drip([request, request, request], 0.45))
    assert answer.count(b"204 No Content") == 3


@pytest.mark.anyio
async def test_a_client_that_leaves_unread_what_it_is_sent_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "STALLED_SECONDS", 0.5)
    buffered: list[int] = []

    def use(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1.5)
            try:
                while sum(buffered) < _MORE_THAN_KERNELS_HOLD and (data := client.recv(65_536)):
                    buffered.append(len(data))
            except ConnectionError:
                return b"closed"
        return b"ended"

    assert await _served(use, _endless) in (b"closed", b"ended")
    assert sum(buffered) < _MORE_THAN_KERNELS_HOLD


@pytest.mark.anyio
@pytest.mark.parametrize(
    "head", [b"x: " + b"y" * 70_000, b"\r\n".join(b"x%d: y" % number for number in range(20_000))]
)
async def test_a_head_over_the_limit_is_refused_in_the_one_error_shape(head: bytes):
    answer = await _served(_drip([b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n"], 0))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request") or answer == b"closed"
    assert b"application/problem+json" in answer or answer == b"closed"


@pytest.mark.anyio
async def test_more_connections_than_the_limit_are_turned_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "CONNECTION_LIMIT", 2)

    def use(port: int) -> bytes:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(3)]
        answer = clients[2].recv(4096)
        for client in clients:
            client.close()
        return answer

    answer = await _served(use)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer


def test_requests_while_the_daemon_stops_are_answered_or_refused_and_none_hangs(start_daemon):
    daemon = start_daemon()
    place = urlsplit(daemon.url)
    kept = http.client.HTTPConnection(place.netloc, timeout=5)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read()
    daemon.process.send_signal(signal.SIGTERM)
    told = set()
    while True:
        try:
            kept.request("GET", "/api/v1/missions", headers={"Authorization": f"Bearer {daemon.token}"})
            answer = kept.getresponse()
            answer.read()
            told.add(answer.status)
        except (ConnectionError, http.client.HTTPException):  # a time-out is neither
            break
    kept.close()
    assert told <= {200, 503}
    assert daemon.process.wait(5) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname, place.port), timeout=5)


def test_the_daemon_listens_on_sixth_version_loopback_too(start_daemon):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert start_daemon("--host", "::1").url.startswith("http://[::1]:")


def test_settings_come_from_the_home_and_are_checked_before_anything_starts(quartermaster, home: Path):
    home.mkdir()
    (home / "config.toml").write_text("colour = 'red'")
    refused = quartermaster("serve", "--port", "0")
    assert refused.returncode == 2
    assert "config.toml: unknown setting 'colour'" in refused.stderr
    assert not (home / "quartermaster.db").exists()


def test_a_home_that_cannot_be_made_is_told_in_words(quartermaster, tmp_path: Path):
    (tmp_path / "file").touch()
    refused = quartermaster("serve", "--home", tmp_path / "file" / "home", "--port", "0")
    assert refused.returncode == 10
    assert "cannot be made" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_no_child_process_outlives_a_stopped_daemon(start_daemon, samples: Path):
    daemon = start_daemon()
    shutil.copy(samples / "native" / "login_fix.ndjson", daemon.home / "inbox" / "local")
    daemon.wait_for(lambda: daemon.get("/api/v1/missions")["count"] == 2)
    daemon.request("POST", "/api/v1/eval/replay", {"mission_id": "demo-login-fix-baseline"})
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not list the children of a process")
    daemon.wait_for(lambda: children.read_text().split())
    pids = [int(pid) for pid in children.read_text().split()]
    daemon.stop()
    deadline = time.monotonic() + 2
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
