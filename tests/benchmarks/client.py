"""A client in a process of its own: one request after the other at a fixed pace, its latencies as JSON.

`python client.py PORT SECONDS PAUSE METHOD PATH [TOKEN BODY]`. A request that is late because the one
before was slow counts from the moment at which it was due.
"""

import gc
import json
import socket
import sys
import time


def request_bytes(port: int, method: str, path: str, token: str, body: str) -> bytes:
    """One request as it travels."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


def latencies(port: int, seconds: float, pause: float, request: bytes) -> list[float]:
    """Seconds from the moment each request was due to its answer."""
    found: list[float] = []
    gc.disable()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.perf_counter()
        end = due + seconds
        while due < end:
            time.sleep(max(due - time.perf_counter(), 0))
            connection.sendall(request)
            _read_answer(connection)
            found.append(time.perf_counter() - due)
            due += pause
    return found


def _read_answer(connection: socket.socket) -> None:
    answer = connection.recv(65_536)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 202")):
        raise RuntimeError(head.decode())
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)


if __name__ == "__main__":
    port, seconds, pause, method, path, *rest = sys.argv[1:]
    token, body = rest or ("", "")
    request = request_bytes(int(port), method, path, token, body)
    print(json.dumps(latencies(int(port), float(seconds), float(pause), request)))
