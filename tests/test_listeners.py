"""Where a real daemon listens: TLS, a Unix socket, a socket that was opened for it, and what it refuses."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quartermaster import listeners
from quartermaster.cli.client import Client
from quartermaster.errors import ConfigurationError

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not there")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {key} -out {cert}"
    )
    subprocess.run(
        made.split(),
        check=True,
        capture_output=True,
    )
    return cert, key


def served(home: Path, *arguments: object, **more: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "quartermaster", "serve", "--home", home, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=home.with_name("log").open("ab"),
        env={**os.environ, "QUARTERMASTER_STORAGE_BALLAST_BYTES": "0"},
        **more,  # type: ignore[call-overload]
    )


def address_of(home: Path, process: "subprocess.Popen[bytes]") -> str:
    ends_at = time.monotonic() + 40
    while not (home / "address").exists():
        assert process.poll() is None, home.with_name("log").read_text()
        assert time.monotonic() < ends_at, "the daemon did not say where it listens"
        time.sleep(0.05)
    return (home / "address").read_text().strip()


def stopped(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(15)
    finally:
        process.kill()


@needs_openssl
def test_a_certificate_makes_a_daemon_speak_tls_and_nothing_else(certificate: tuple[Path, Path], home: Path):
    cert, key = certificate
    process = served(home, "--host", "0.0.0.0", "--port", 0, "--tls-cert", cert, "--tls-key", key)
    try:
        url = address_of(home, process)
        assert url.startswith("https://")
        port = int(url.rsplit(":", 1)[1])
        trusted = ssl.create_default_context(cafile=str(cert))
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trusted)
        token = (home / "token").read_text().strip()
        connection.request("POST", "/api/v1/session", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        assert answer.status == 201
        assert "Secure" in answer.getheader("set-cookie", "")
        connection.close()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP")
        assert "http.allowed_hosts" in home.with_name("log").read_text()
    finally:
        assert stopped(process) == 0


@needs_openssl
def test_a_certificate_without_its_own_key_is_refused(certificate: tuple[Path, Path], tmp_path: Path):
    cert, key = certificate
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    for wrong in ((cert, broken), (cert, None), (None, key), (tmp_path / "nowhere.pem", key)):
        with pytest.raises(ConfigurationError):
            listeners.tls_context(*wrong)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_host_that_others_reach_is_refused_with_the_reason_and_the_ways_out(host: str):
    try:
        with pytest.raises(ConfigurationError, match="unencrypted") as refused:
            listeners.bind(host, 0, guarded=False)
    except OSError:
        pytest.skip("this machine has no such address")
    if "is not an address" not in str(refused.value):
        assert "--tls-cert" in str(refused.value)
        assert "--behind-proxy" in str(refused.value)


@pytest.mark.parametrize(("mode", "bits"), [("0600", 0o600), ("0660", 0o660)])
def test_a_unix_socket_is_private_and_goes_with_its_daemon(tmp_path: Path, mode: str, bits: int):
    path = tmp_path / "socket"
    with listeners.bind_unix(path, mode):
        assert stat.S_IMODE(path.stat().st_mode) == bits
        with pytest.raises(ConfigurationError, match="in use"), listeners.bind_unix(path, mode):
            pass
    assert not path.exists()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with listeners.bind_unix(path, mode):
        assert path.exists()
    path.write_text("a file of somebody")
    with pytest.raises(ConfigurationError, match="another kind"), listeners.bind_unix(path, mode):
        pass
    assert path.read_text() == "a file of somebody"


def test_a_daemon_on_a_unix_socket_is_asked_by_the_command_line(home: Path, tmp_path: Path, quartermaster):
    process = served(home, "--socket", tmp_path / "qm.sock")
    try:
        url = address_of(home, process)
        assert url == f"unix:{tmp_path / 'qm.sock'}"
        token = (home / "token").read_text().strip()
        client = Client(url, token, "local")
        assert client.get("/api/v1/journal/count")["count"] == 0
        client.close()
        elsewhere = {"QUARTERMASTER_URL": url, "QUARTERMASTER_TOKEN": token, "QUARTERMASTER_HOME": ""}
        assert json.loads(quartermaster("missions", "--format", "json", **elsewhere).stdout) == []
    finally:
        assert stopped(process) == 0
    assert not (tmp_path / "qm.sock").exists()


def started_on(listener: socket.socket, home: Path) -> "subprocess.Popen[bytes]":
    """A daemon that is given an open socket, as systemd does it."""
    script = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3);"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
        "command = [sys.executable, '-m', 'quartermaster', 'serve', '--home', sys.argv[2]];"
        "os.execv(sys.executable, command)"
    )
    with home.with_name("log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), str(home)],
            pass_fds=(listener.fileno(),),
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "QUARTERMASTER_STORAGE_BALLAST_BYTES": "0"},
        )


def test_a_request_that_came_before_the_daemon_was_ready_is_answered_by_it(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)
        connection.request("GET", "/readyz")
        process = started_on(listener, home)
        try:
            assert connection.getresponse().status == 200
            connection.close()
            assert address_of(home, process)
        finally:
            assert stopped(process) == 0


def test_a_socket_that_was_opened_for_the_daemon_is_taken(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = started_on(listener, home)
        try:
            assert address_of(home, process) == f"http://127.0.0.1:{port}"
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            assert stopped(process) == 0


def test_sockets_for_another_process_are_left_alone_and_several_are_refused():
    assert listeners.passed_on({}, guarded=False) is None
    assert listeners.passed_on({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, guarded=False) is None
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    with pytest.raises(ConfigurationError, match="passes on 2 sockets"):
        listeners.passed_on(mine, guarded=False)
