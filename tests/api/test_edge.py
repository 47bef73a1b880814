"""Whom a request names, where it comes from, and what every answer carries."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_world import ADMIN, MISSION, OWNER, World

REPLAY = "/api/v1/eval/replay"
BODY = json.dumps({"mission_id": MISSION})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    created = World(Path(tmp_path_factory.mktemp("edge")))
    yield created
    created.database.close()


@pytest.fixture(scope="module")
def port(world: World) -> Iterator[int]:
    with world.server(allowed_hosts=("Quartermaster.example", "proxy.example:8443")) as address:
        yield int(address.rsplit(":", 1)[1])


def statuses(port: int, raw: bytes) -> int:
    """The status of one request, byte by byte as given."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(raw)
        line = connection.makefile("rb").readline()
    return int(line.split()[1])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}", "[::1]:{port}", "quartermaster.example"],
)
def test_the_names_of_this_server_are_served(port: int, host: str) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: {host.format(port=port)}\r\n\r\n"
    assert statuses(port, request.encode()) == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:{port}",
            "127.0.0.1",
            "localhost",
            "localhost:1",
            "localhost:{port}0",
        ),
        *("localhost.:{port}", "user@localhost:{port}", "0.0.0.0:{port}", "[::ffff:127.0.0.1]:{port}"),
        *("proxy.example", "proxy.example:443", "quartermaster.example:{port}", "", "localhost:{port}, evil"),
    ],
)
@pytest.mark.parametrize("target", ["GET /healthz", "GET /nowhere", "GET /", "OPTIONS /healthz"])
def test_every_other_host_is_refused_on_every_path(port: int, host: str, target: str) -> None:
    request = (
        f"{target} HTTP/1.1\r\nHost: {host.format(port=port)}\r\nX-Forwarded-Host: localhost:{port}\r\n\r\n"
    )
    assert statuses(port, request.encode()) == 400


def test_no_host_and_two_hosts_are_refused(port: int) -> None:
    name = f"Host: localhost:{port}\r\n".encode()
    assert statuses(port, b"GET /healthz HTTP/1.1\r\n\r\n") == 400
    assert statuses(port, b"GET /healthz HTTP/1.1\r\n" + 2 * name + b"\r\n") == 400
    assert statuses(port, b"GET /healthz HTTP/1.1\r\n" + name + b"Host: evil.example\r\n\r\n") == 400


def test_an_absolute_address_in_the_request_line_is_fine(port: int) -> None:
    request = f"GET http://localhost:{port}/healthz HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
    assert statuses(port, request.encode()) == 200


ORIGINS = (
    ({}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": ""}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"}, False),
    ({"Origin": "http://127.0.0.1:{port}"}, True),
    ({"Origin": "http://127.0.0.1:3000"}, False),
    ({"Origin": "http://localhost:{port}"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "http://[bad"}, False),
)


@pytest.mark.parametrize(("sent", "fine"), ORIGINS)
def test_what_has_effects_is_refused_for_pages_of_other_sites(
    world: World, port: int, sent: dict[str, str], fine: bool
) -> None:
    headers = world.headers(ADMIN) | {name: value.format(port=port) for name, value in sent.items()}
    for method, path, good in (
        ("POST", REPLAY, 202),
        ("DELETE", "/api/v1/session", 204),
        ("GET", "/login?code=x", 401),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(method, path, BODY if method == "POST" else None, headers)
        assert connection.getresponse().status == (good if fine else 403)
        connection.close()


def test_streams_are_refused_for_pages_of_other_sites_and_reads_are_not(world: World, port: int) -> None:
    headers = world.headers(OWNER) | {"Sec-Fetch-Site": "cross-site"}
    for path, expected in (("/api/v1/eval/runs/stream", 403), ("/api/v1/eval/runs", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().status == expected
        connection.close()


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", "/api/v1/eval/runs", "/schema"])
@pytest.mark.parametrize("host", [None, "evil.example"])
def test_every_answer_is_protected_and_has_a_number(port: int, path: str, host: str | None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == ("no-cache" if path == "/" and host is None else "no-store")
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-request-id"]
    assert not [name for name in headers if name.startswith("access-control") or name == "server"]


@pytest.mark.parametrize(("sent", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 129, False)])
def test_the_number_of_a_request_may_come_from_the_client_when_it_is_plain(
    port: int, sent: str, kept: bool
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/healthz", headers={"X-Request-ID": sent})
    assert (connection.getresponse().getheader("x-request-id") == sent) is kept
    connection.close()


def test_a_header_that_decides_may_be_sent_once(world: World, port: int) -> None:
    token = world.tokens[OWNER]
    start = f"GET /api/v1/missions HTTP/1.1\r\nHost: localhost:{port}\r\n"
    authorization = f"Authorization: Bearer {token}\r\n"
    assert statuses(port, (start + authorization + "\r\n").encode()) == 200
    assert statuses(port, (start + 2 * authorization + "\r\n").encode()) == 401
    twice = "X-Workspace-ID: crew\r\n" * 2
    assert statuses(port, (start + authorization + twice + "\r\n").encode()) == 400
