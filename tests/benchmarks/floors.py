"""The least that each kind of work can cost here: what stands beside our numbers, run as a child process.

`python floors.py insert RECORDING FOLDER`, `walk DATABASE MISSION`, or `asgi PORT DATABASE`.
"""

import json
import secrets
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

BATCH = 2_000
_STEP_COLUMNS = (
    "kind", "tool", "success", "tokens", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_tokens", "cost", "duration_ms", "pairing", "ledger", "arguments",
)  # fmt: skip


def _open(path: Path) -> sqlite3.Connection:
    """A connection with the pragmas of the daemon's writer."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (
        "page_size = 8192",
        "journal_mode = wal",
        "synchronous = full",
        "wal_autocheckpoint = 4000",
        "cache_size = -49152",
    ):
        connection.execute(f"pragma {pragma}")
    return connection


def insert(recording: Path, folder: Path) -> None:
    """Bare executemany of rows that are decoded already: raw text and slim columns, two indexes."""
    from quartermaster.core.journal import read_entry
    from quartermaster.core.trajectory import step_of

    rows = []
    for line in recording.read_bytes().splitlines():
        entry = read_entry(line)
        step = step_of(entry)
        slim = (None,) * 13 if step is None else (step.kind, step.tool, step.success, *step[5:14], None)
        rows.append(
            (
                1, entry.mission_id, entry.instant, entry.id, entry.entry_type, entry.severity,
                entry.actor_type, entry.actor_id, entry.trace_id, *slim, line.decode(),
            )
        )  # fmt: skip
    connection = _open(folder / "floor.db")
    connection.execute(
        "create table entry (workspace integer, mission text, ts integer, id text, type text,"
        f" severity integer, actor_type text, actor text, trace text, {', '.join(_STEP_COLUMNS)}, raw text)"
    )
    connection.execute("create index entry_by_time on entry (mission, ts, id)")
    connection.execute("create unique index entry_by_id on entry (workspace, id)")
    statement = f"insert into entry values ({','.join('?' * len(rows[0]))})"
    began = time.process_time()
    for start in range(0, len(rows), BATCH):
        connection.execute("begin immediate")
        connection.executemany(statement, rows[start : start + BATCH])
        connection.execute("commit")
    print(time.process_time() - began)


def walk(database: Path, mission: str) -> None:
    """Bare walk over the rows of one mission, hashing what a signature is made of."""
    connection = sqlite3.connect(database)
    key = connection.execute("select id from mission where mission_id = ?", (mission,)).fetchone()[0]
    began = time.process_time()
    cursor = connection.execute(
        f"select type, severity, {', '.join(_STEP_COLUMNS)} from entry"
        " where mission = ? and kind is not null order by instant, entry_id",
        (key,),
    )
    digest = sha256()
    while page := cursor.fetchmany(1024):
        digest.update("".join([f"{row[2]}|{row[3]}\0" for row in page]).encode())
    print(time.process_time() - began)


def asgi(port: int, database: Path) -> None:
    """A bare handler that checks nothing and inserts one row, on the loop; any GET is answered at once."""
    connection = _open(database)
    connection.execute(
        "create table run (id integer primary key, run_id text not null unique, workspace integer,"
        " kind text, status text, seed integer, mission_id text, created_by text, created_at integer)"
    )
    respond = _responder(connection)
    _serve(respond, port)


def _responder(connection: sqlite3.Connection) -> Callable[..., Awaitable[None]]:
    fields = [(b"content-type", b"application/json")]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, answer = 200, b"{}"
        if scope["method"] == "POST":
            asked = json.loads((await receive())["body"])
            run_id = "er_" + secrets.token_hex(8)
            connection.execute(
                "insert into run values (null, ?, 1, 'replay', 'queued', ?, ?, 'local', ?)",
                (run_id, asked.get("seed", 0), asked["mission_id"], time.time_ns()),
            )
            status, answer = 202, json.dumps({"run_id": run_id, "status": "queued"}).encode()
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*fields, length]})
        await send({"type": "http.response.body", "body": answer})

    return application


def _serve(application: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(
        application,
        port=port,
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["insert", recording, folder]:
            insert(Path(recording), Path(folder))
        case ["walk", database, mission]:
            walk(Path(database), mission)
        case ["asgi", port, database]:
            asgi(int(port), Path(database))
