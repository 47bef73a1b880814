"""Hostile requests against a real daemon: raw bytes, mutated JSON, odd paths and queries, foreign pages.

    python tests/faults/hostile_http.py --cases 100000

A promise that is broken is printed, and the exit code is 1. Promises: no answer of 5xx, no request
without an answer or an end, health answers in between, no answer tells a traceback, a path or the token.
"""

import argparse
import json
import random
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from running import Daemon

SEEDS = (
    {"mission_id": "m-1"},
    {"mission_id": "m-1", "seed": 5},
    {"baseline_mission_id": "m-1", "candidate_mission_id": "m-2", "items": [1, {"k": None}]},
    {"entry_type": "note", "ts": "2026-01-01T00:00:00Z", "payload": {"n": 1.5, "ok": True}},
    {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0" * 32, "spanId": "1" * 16}]}]}]},
    [],
)
ATOMS = (
    *(b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e400", b"9223372036854775808", b"1" * 5000, b'""'),
    *(b'"\\ud800"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"' + b"a" * 70_000 + b'"'),
    *(b"[" * 100_000, b"[" * 3000 + b"]" * 3000, b'{"a":' * 20_000, b'{"a":1,"a":2}', b'{"__proto__":1}'),
    *(b'"../../etc/passwd"', b'"\'; drop table mission; --"', b'"%s%n{}${x}"', b"\xef\xbb\xbf{}", b"", b"{"),
    *(b'{"a":}', b"[1,]", b"{}{}", b"0x10", b"1_000", b'"\\u202e\\u001b[31m"', b" ", b'{"a"'),
)
TEXTS = (
    *("%00", "%ff", "%ed%a0%80", "9" * 30, "9223372036854775808", "-1", "1e309", "NaN", "%22", "NEAR(", "a*"),
    *("-x", "col:val", "%0d%0aX-A:b", "..%2f..%2fetc", "x" * 9000, "[]", "a&a=b&a", "%F0%9F%92%A9", "%2e%2e"),
)
READS = (
    *("/api/v1/missions", "/api/v1/journal", "/api/v1/journal/count", "/api/v1/eval/runs", "/api/v1/sources"),
    *("/api/v1/eval/trends", "/", "/schema", "/api/v1/session"),
)
WRITES = (
    *("/api/v1/eval/replay", "/api/v1/eval/regression", "/api/v1/eval/comparisons", "/api/v1/journal"),
    *("/v1/traces", "/v1/logs"),
)
RAW = (
    *(b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 64, b"GET"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    b"POST {p} HTTP/1.1\r\nHost: {h}\r\nContent-Length: -1\r\n\r\n",
    b"POST {p} HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n",
    b"GET {g} HTTP/1.1\r\nHost: {h}\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    b"GET {g} HTTP/1.1\r\nHost: {h}\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(10_000)) + b"\r\n",
    b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\nHost: {h}\r\n\r\n",
    b"GET {g} HTTP/1.1\r\nHost: {h}\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    b'GET {g} HTTP/1.1\r\nHost: {h}\r\nCookie: =;a=;"\r\nRange: bytes=0-,5-\r\nAccept: ;;;\r\n\r\n',
    b"GET //evil.example/%2e%2e HTTP/1.1\r\nHost: {h}\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
    *(b"OPTIONS * HTTP/1.1\r\nHost: {h}\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: {h}\r\n\r\n"),
    b"GET {g} HTTP/1.1\r\nHost: {h}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
)
FOREIGN = (
    ("Content-Type", "text/plain"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Origin", "http://evil.example"),
    ("Host", "evil.example"),
)
LEAK = re.compile(rb'Traceback \(most recent|File "/|site-packages|sqlite3?\.\w*Error|/home/|\.db\b')
PAUSE_OF_HEALTH = 2.0


@dataclass
class Told:
    """What came of it."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


class Attacker:
    """Sends to one daemon and looks at what comes back. Raw bytes get a connection of their own."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon = daemon
        self.random = random.Random(seed)
        self.told = Told()
        self._place = urlsplit(daemon.url)
        self._host = self._place.netloc.encode()

    def run(self, cases: int) -> Told:
        for number in range(cases):
            if number % 500 == 0:
                self._look_at_health()
            what, raw = self._next()
            self._judge(what, raw, self._exchange(raw, whole=what != "raw"))
        self._look_at_health()
        return self.told

    def _next(self) -> tuple[str, bytes]:
        kind = self.random.random()
        if kind < 0.02:
            raw = self.random.choice(RAW).replace(b"{h}", self._host)
            raw = raw.replace(b"{p}", self.random.choice(WRITES).encode())
            return "raw", raw.replace(b"{g}", self.random.choice(READS).encode())
        if kind < 0.2:
            path, text = self.random.choice(READS), self.random.choice(TEXTS)
            target = self.random.choice((f"{path}?limit={text}&q={text}&cursor={text}", f"{path}/{text}"))
            return "read", self._request("GET", target)
        if kind < 0.24:
            name, value = self.random.choice(FOREIGN)
            return "foreign", self._request(
                "POST", self.random.choice(WRITES), b'{"mission_id":"m-1"}', {name: value}
            )
        return "body", self._request("POST", self.random.choice(WRITES), self._body())

    def _request(
        self, method: str, target: str, body: bytes = b"", changed: dict[str, str] | None = None
    ) -> bytes:
        fields = {
            "Host": self._place.netloc,
            "Authorization": f"Bearer {self.daemon.token}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        } | (changed or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body

    def _body(self) -> bytes:
        kind = self.random.random()
        if kind < 0.3:
            return self.random.choice(ATOMS)
        body = bytearray(json.dumps(self.random.choice(SEEDS)).encode())
        if kind < 0.6:
            place = self.random.randrange(len(body) + 1)
            return bytes(body[:place]) + self.random.choice(ATOMS) + bytes(body[place:])
        if kind < 0.8:
            name = self.random.choice(("mission_id", "seed", "entry_type", "ts", "resourceSpans", "baseline"))
            return b'{"%s":%s}' % (name.encode(), self.random.choice(ATOMS))
        for _ in range(self.random.randint(1, 6)):
            body[self.random.randrange(len(body))] = self.random.randrange(256)
        return bytes(body)

    def _exchange(self, raw: bytes, *, whole: bool) -> bytes | None:
        """What came back until the server closed; None when it did not. What is not whole is ended by us."""
        answer = b""
        try:
            with socket.create_connection((self._place.hostname, self._place.port), timeout=20) as connection:
                try:
                    connection.sendall(raw)
                    if not whole:
                        connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                while chunk := connection.recv(1 << 16):
                    answer += chunk
        except TimeoutError:
            return None
        except OSError:
            return answer
        return answer

    def _judge(self, what: str, raw: bytes, answer: bytes | None) -> None:
        self.told.cases += 1
        if answer is None:
            self._complain(f"{what}: no end", raw)
            return
        found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
        status = int(found[1]) if found else 0
        self.told.statuses[status] += 1
        if status >= 500:
            self._complain(f"{what}: {status}", raw)
        if what == "foreign" and not 400 <= status < 500:
            self._complain(f"foreign page: {status}", raw)
        if what in ("read", "body") and not status:
            self._complain(f"{what}: no answer", raw)
        secret = self.daemon.token.split("_")[2].encode()
        if secret in answer or (what != "read" and LEAK.search(answer)):
            self._complain(f"{what}: a leak", raw)

    def _look_at_health(self) -> None:
        began = time.monotonic()
        status = self.daemon.request("GET", "/healthz").status
        if status != 200 or time.monotonic() - began > PAUSE_OF_HEALTH:
            self._complain(f"health: {status} after {time.monotonic() - began:.1f} s", b"")

    def _complain(self, what: str, raw: bytes) -> None:
        self.told.broken.append(f"{what}: {raw[:200]!r}")


def attack(home: Path, cases: int, seed: int) -> Told:
    """All of it against a daemon that is started for it and has to be whole afterwards."""
    with Daemon.start(home) as daemon:
        note = {"id": "j_00000000000000a1", "mission_id": "m-1", "entry_type": "note"}
        sent = daemon.request("POST", "/api/v1/journal", note | {"ts": "2026-01-01T00:00:00Z"})
        assert sent.json["accepted"] == 1
        told = Attacker(daemon, seed).run(cases)
        kept = daemon.get("/api/v1/journal/j_00000000000000a1")
        if kept["mission_id"] != "m-1" or daemon.request("GET", "/readyz").status != 200:
            told.broken.append("the daemon is not what it was")
        if daemon.token.split("_")[2] in daemon.log.read_text(errors="replace"):
            told.broken.append("the log holds the token")
    return told


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quartermaster-hostile-") as folder:
        told = attack(Path(folder) / "home", arguments.cases, arguments.seed)
    print(
        f"{told.cases:,} requests in {time.monotonic() - began:.0f} s: {dict(sorted(told.statuses.items()))}"
    )
    print(f"{len(told.broken)} promises broken", *told.broken[:20], sep="\n")
    return 1 if told.broken else 0


if __name__ == "__main__":
    sys.exit(main())
