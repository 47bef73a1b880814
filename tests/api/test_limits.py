"""What a client may do at most, and what is no request: over real sockets, byte by byte."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_world import MISSION, OWNER, World

from quartermaster import server
from quartermaster.api import guesses
from quartermaster.api.problems import problem_of
from quartermaster.core.tokens import new_token
from quartermaster.errors import TookTooLong

RUNS = "/api/v1/eval/runs"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    created = World(Path(tmp_path_factory.mktemp("limits")))
    yield created
    created.database.close()


@pytest.fixture(scope="module")
def port(shared: World) -> Iterator[int]:
    with shared.server() as address:
        yield int(address.rsplit(":", 1)[1])


def exchanged(port: int, raw: bytes) -> bytes:
    """Everything that comes back until the server closes or, once it has begun, is silent for a while."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(raw)
            while chunk := connection.recv(65536):
                answer += chunk
                connection.settimeout(1)
        except OSError:
            pass
    return answer


def wrong_token(number: int) -> str:
    return new_token(number.to_bytes(32, "big"))[0]


def test_what_takes_too_long_is_refused_for_now_with_what_to_do() -> None:
    problem = problem_of(TookTooLong("narrow it down"))
    assert (problem.status, problem.error, problem.detail) == (503, "took too long", "narrow it down")
    assert int(problem.headers["Retry-After"]) > 0


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NO_REQUEST = {
    "a length and chunks": b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\n" + CHUNKED,
    "two lengths": b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "a signed length": b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: +2\r\n\r\n{}",
    "a negative length": b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: -1\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: {h}\r\nX: a\r\n b\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: {h}\n\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: {h}\r\nX: a\0b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : {h}\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "all methods": b"OPTIONS * HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "another server in the request line": b"GET http://evil.example/healthz HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "a chunk without end": b"POST {p} HTTP/1.1\r\nHost: {h}\r\n" + CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n",
    "an address of 70,000 bytes": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "a method nobody knows": b"BREW / HTTP/1.1\r\nHost: {h}\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("what", NO_REQUEST)
def test_what_is_no_request_is_answered_with_400_and_closed(port: int, what: str) -> None:
    raw = NO_REQUEST[what].replace(b"{h}", b"localhost:%d" % port).replace(b"{p}", b"/api/v1/eval/replay")
    answer = exchanged(port, raw)
    assert answer.startswith(b"HTTP/1.1 400 ") or (answer == b"" and "70,000" in what)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b"connection: close" in answer.lower() or not answer
    assert b"content-security-policy" in answer or not answer


def test_trace_is_no_method_of_any_route(port: int) -> None:
    answer = exchanged(port, b"TRACE /healthz HTTP/1.1\r\nHost: localhost:%d\r\nX-Secret: s\r\n\r\n" % port)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"X-Secret" not in answer


def test_ranges_and_conditions_of_the_api_are_ignored(port: int) -> None:
    raw = (
        b'GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\nRange: bytes=0-,5-\r\nIf-None-Match: "\r\n\r\n'
        % port
    )
    assert exchanged(port, raw).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/healthz", "/schema", "/", "/nowhere"])
def test_head_is_get_without_a_body(port: int, path: str) -> None:
    def asked(method: str) -> tuple[bytes, bytes]:
        raw = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        head, _, body = exchanged(port, raw.encode()).partition(b"\r\n\r\n")
        return head.splitlines()[0], body

    status, body = asked("HEAD")
    assert body == b""
    assert status == asked("GET")[0]


def test_a_stream_has_no_head(shared: World) -> None:
    with shared.client() as client:
        assert client.head(RUNS + "/stream").status_code == 405


def test_a_few_pipelined_requests_are_answered_in_order_and_a_flood_is_not(port: int) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port
    assert exchanged(port, 5 * one).count(b"HTTP/1.1 200 OK") == 5
    assert exchanged(port, 1_000 * one).count(b"HTTP/1.1 200 OK") <= server.PIPELINE_LIMIT + 1


def test_pages_and_data_have_their_own_policy(shared: World) -> None:
    with shared.client() as client:
        page = client.get("/").headers["content-security-policy"]
        data = client.get("/healthz").headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in page
    assert "script-src 'self'" in page
    assert "unsafe" not in page + data
    assert "sandbox" in data


def test_an_address_that_guesses_is_told_to_wait_and_its_neighbours_go_on(world: World) -> None:
    with world.client() as client:
        assert client.get(RUNS).status_code == 200
        for number in range(guesses.GUESSES):
            guessed = client.get(RUNS, headers={"Authorization": f"Bearer {wrong_token(number)}"})
            assert guessed.status_code == 401
        refused = client.get(RUNS, headers={"Authorization": f"Bearer {wrong_token(99)}"})
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= guesses.SECONDS
        time.sleep(1.1)  # what is remembered of valid tokens is forgotten
        assert client.get(RUNS).status_code == 200
        assert client.get("/login", params={"code": "guess"}, follow_redirects=False).status_code == 429
        assert client.get("/healthz").status_code == 200


def test_what_is_no_token_and_the_same_wrong_token_are_no_guesses(world: World) -> None:
    with world.client() as client:
        for number in range(2 * guesses.GUESSES):
            for text in (f"Bearer x{number}", f"Bearer {wrong_token(1)}"):
                assert client.get(RUNS, headers={"Authorization": text}).status_code == 401


def test_an_address_holds_a_number_of_connections_and_whoever_waits_longest_makes_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ADDRESS_LIMIT", 4)
    monkeypatch.setattr(server, "YIELD_SECONDS", 0.3)
    with world.server() as address:
        port = int(address.rsplit(":", 1)[1])
        silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(4)]
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % port
        assert exchanged(port, request).startswith(b"HTTP/1.1 503 ")
        time.sleep(0.4)
        assert exchanged(port, request).startswith(b"HTTP/1.1 200 ")
        assert silent[0].recv(10) == b""
        for one in silent:
            one.close()


def test_a_refused_body_is_not_read_for_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.3)
    with world.server() as address:
        port = int(address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            head = f"POST /api/v1/journal HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 9999\r\n\r\n"
            connection.sendall(head.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
            began = time.monotonic()
            while connection.recv(4096):
                pass
    assert time.monotonic() - began < 3


def test_work_of_a_client_that_has_gone_is_done_and_told_again(shared: World, port: int) -> None:
    body = b'{"mission_id": "%s"}' % MISSION.encode()
    head = (
        f"POST /api/v1/eval/replay HTTP/1.1\r\nHost: localhost:{port}\r\nX-Workspace-ID: crew\r\n"
        f"Authorization: Bearer {shared.tokens[OWNER]}\r\nIdempotency-Key: gone\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(head.encode() + body)
    answers = {exchanged(port, head.encode() + body).rpartition(b"\r\n\r\n")[2] for _ in range(2)}
    assert len(answers) == 1
    assert b"run_id" in answers.pop()
