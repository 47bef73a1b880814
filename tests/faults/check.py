"""The verdict: what a database, and the daemon over it, say of the promises that were made."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from faults.promises import Promises, Violation
from running import Daemon

TERMINAL = ("completed", "failed")
METRICS = 8
_SAMPLED = 50


def check_database(database: Path, promises: Promises) -> list[Violation]:
    """What is wrong in the file itself; nothing of the program that wrote it is trusted for this."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        damage = _damage(connection)
        if damage:
            return [Violation("database damaged", line) for line in damage]
        checks: Iterable[Callable[[sqlite3.Connection, Promises], Iterator[Violation]]] = (
            _stored_entries,
            _keys,
            _raws,
            _totals,
            _files,
            _stored_runs,
            _announcements,
        )
        return [violation for check in checks for violation in check(connection, promises)]


def check_api(daemon: Daemon, promises: Promises) -> list[Violation]:
    """What is wrong in what clients are told."""
    entries = list(_pages(daemon, "/api/v1/journal?limit=500", "entries"))
    runs = list(_pages(daemon, "/api/v1/eval/runs?limit=200", "rows"))
    found = [*_told_entries(daemon, entries, promises), *_told_runs(runs, promises)]
    told: dict[str | None, list[dict[str, Any]]] = {}
    for entry in entries:
        told.setdefault(_run_of(entry), []).append(entry)
    for run in runs:
        found += _told_in_journal(run, told.get(run["id"], []))
    return [*found, *_signatures(runs)]


def check_processes(database: Path) -> list[Violation]:
    """What still runs on a database that nobody should have open; nothing is found where /proc is missing."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = command.read_bytes().split(b"\0")
            if os.fsencode(database) in words:
                found.append(Violation("process left behind", f"{command.parent.name}: {words!r}"))
    return found


def entry_id_of(stored: int | str) -> str:
    """Ids of the usual form are stored as numbers of the same order."""
    return stored if isinstance(stored, str) else f"j_{stored + 2**63:016x}"


def _damage(connection: sqlite3.Connection) -> list[str]:
    try:
        told = [row[0] for row in connection.execute("pragma integrity_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [line for line in told if line != "ok"]


def _stored_entries(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    own = connection.execute(
        "select entry_id from entry join name on name.id = type where text like 'eval.%'"
    ).fetchall()
    stored = Counter(entry_id_of(row[0]) for row in connection.execute("select entry_id from entry"))
    yield from _counted(stored, promises, {entry_id_of(row[0]) for row in own})


def _counted(stored: Counter[str], promises: Promises, own: set[str]) -> Iterator[Violation]:
    yield from (Violation("entry lost", entry_id) for entry_id in promises.expected if not stored[entry_id])
    for entry_id, times in stored.items():
        if times > 1:
            yield Violation("entry doubled", f"{entry_id} is there {times} times")
        if entry_id not in promises.numbers and entry_id not in own:
            yield Violation("entry invented", entry_id)


def _keys(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    """Every entry is found by its id, and every id leads to its entry."""
    without_entry = connection.execute(
        "select count(*) from entry_key k where not exists (select 1 from entry e"
        " where e.mission = k.mission and e.instant = k.instant and e.entry_id = k.entry_id)"
    ).fetchone()[0]
    without_key = connection.execute(
        "select count(*) from entry e join mission m on m.id = e.mission where not exists (select 1"
        " from entry_key k where k.workspace = m.workspace and k.entry_id = e.entry_id)"
    ).fetchone()[0]
    if without_entry or without_key:
        yield Violation(
            "key astray", f"{without_entry} keys without entry, {without_key} entries without key"
        )


def _raws(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    """Every entry has its raw bytes: as many are kept as sequences were given out."""
    for mission, given, blocks, tails in connection.execute(
        "select mission_id, next_sequence,"
        " (select coalesce(sum(entries), 0) from block where mission = mission.id),"
        " (select count(*) from tail where mission = mission.id) from mission"
    ):
        if given != blocks + tails:
            yield Violation("raw lost", f"{mission}: {given} given out, {blocks} + {tails} kept")


def _totals(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    """The running totals of a mission are those of its entries."""
    for mission, *pairs in connection.execute(
        "select m.mission_id, m.entries, count(*), m.model_calls, sum(n.text = 'llm.call'),"
        " m.total_tokens, coalesce(sum(e.tokens) filter (where n.text = 'llm.call'), 0),"
        " m.cost, coalesce(sum(e.cost) filter (where n.text = 'llm.call'), 0)"
        " from mission m join entry e on e.mission = m.id join name n on n.id = e.type group by m.id"
    ):
        if pairs[::2] != pairs[1::2]:
            yield Violation("total wrong", f"{mission}: {pairs[::2]} told, {pairs[1::2]} counted")


def _files(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    """Each file was read to its end, and no line of it twice."""
    ledgers = {
        row[0]: row[1:]
        for row in connection.execute(
            "select path, accepted, duplicate, conflicting, rejected, position from source"
        )
    }
    for path, ids in promises.lines.items():
        expected = (len(ids), 0, 0, 0, path.stat().st_size)
        ledger = ledgers.get(os.fsencode(path.resolve()))
        if ledger != expected:
            yield Violation("file misread", f"{path.name}: {expected} expected, {ledger} in the ledger")


def _stored_runs(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    runs = {
        row[0]: row[1:]
        for row in connection.execute(
            "select r.run_id, r.status, count(e.id) from eval_run r left join eval_event e"
            " on e.run = r.id and e.status in ('completed', 'failed') group by r.id"
        )
    }
    yield from (Violation("run lost", run_id) for run_id in promises.runs if run_id not in runs)
    for run_id, (status, ends) in runs.items():
        if run_id not in promises.runs:
            yield Violation("run invented", run_id)
        if status not in TERMINAL:
            yield Violation("run unfinished", f"{run_id} is {status}")
        elif ends != 1:
            yield Violation("run ended twice", f"{run_id} ended {ends} times")


def _announcements(connection: sqlite3.Connection, promises: Promises) -> Iterator[Violation]:
    """Each run has one start and one end in the journal."""
    for run_id, started, ended in connection.execute(
        "select r.run_id, sum(t.text = 'eval.run_started'),"
        " sum(t.text in ('eval.run_completed', 'eval.run_failed')) from eval_run r"
        " left join name n on n.text = r.run_id left join entry e on e.run = n.id"
        " left join name t on t.id = e.type group by r.id"
    ):
        if started != 1:
            yield Violation("start not told once", f"{run_id}: {started or 0} times")
        if ended != 1:
            yield Violation("end not told once", f"{run_id}: {ended or 0} times")


def _pages(daemon: Daemon, path: str, member: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        page = daemon.get(path + (f"&cursor={cursor}" if cursor else ""))
        yield from page[member]
        cursor = page.get("next_cursor")


def _run_of(entry: dict[str, Any]) -> str | None:
    if not entry["entry_type"].startswith("eval."):
        return None
    run_id: str = entry["payload"]["run_id"]
    return run_id


def _told_entries(daemon: Daemon, entries: list[dict[str, Any]], promises: Promises) -> Iterator[Violation]:
    told = Counter(entry["id"] for entry in entries)
    yield from _counted(told, promises, {entry["id"] for entry in entries if _run_of(entry)})
    for entry in entries:
        number = promises.numbers.get(entry["id"])
        if number is not None and entry["payload"]["number"] != number:
            yield Violation("entry changed", f"{entry['id']} came with {number}: {json.dumps(entry)}")
    counted = daemon.get("/api/v1/journal/count")["count"]
    if counted != len(entries):
        yield Violation("count wrong", f"{counted} counted, {len(entries)} listed")
    for entry_id in sorted(promises.expected)[::_SAMPLED]:
        answer = daemon.request("GET", f"/api/v1/journal/{entry_id}")
        if answer.status != 200 or answer.json["id"] != entry_id:
            yield Violation("entry lost", f"{entry_id} is not found by its id: {answer.status}")


def _told_runs(runs: list[dict[str, Any]], promises: Promises) -> Iterator[Violation]:
    listed = Counter(run["id"] for run in runs)
    yield from (Violation("run lost", run_id) for run_id in promises.runs if run_id not in listed)
    yield from (Violation("run doubled", run_id) for run_id, times in listed.items() if times > 1)
    for run in runs:
        asked = promises.runs.get(run["id"])
        if asked is None:
            yield Violation("run invented", run["id"])
        elif any(run.get(name) != value for name, value in asked.items()):
            yield Violation("run changed", f"{asked} was asked, {run} is listed")
        if run["status"] not in TERMINAL:
            yield Violation("run unfinished", f"{run['id']} is {run['status']}")
        if run["status"] == "failed" and run["reason"] != "interrupted":
            yield Violation("run failed", f"{run['id']}: {run['reason']}: {run['result']}")


def _told_in_journal(run: dict[str, Any], newest_first: list[dict[str, Any]]) -> Iterator[Violation]:
    types = [entry["entry_type"] for entry in reversed(newest_first)]
    if types.count("eval.run_started") != 1 or types[:1] != ["eval.run_started"]:
        yield Violation("start not told once", f"{run['id']}: {types}")
    if types.count("eval.run_completed") + types.count("eval.run_failed") != 1:
        yield Violation("end not told once", f"{run['id']}: {types}")
    elif types[-1:] != [f"eval.run_{run['status']}"]:
        yield Violation("end not told last", f"{run['id']} {run['status']}: {types}")
    told = [entry["payload"] for entry in newest_first if entry["entry_type"] == "eval.metric"]
    if len({(one["metric"], one.get("side")) for one in told}) != len(told):
        yield Violation("metric told twice", f"{run['id']}: {told}")
    sides = 2 if run["kind"] == "regression" else 1
    if len(told) != (METRICS * sides if run["status"] == "completed" else 0):
        yield Violation("metrics not told", f"{run['id']} {run['status']}: {len(told)} metrics")


def _signatures(runs: list[dict[str, Any]]) -> Iterator[Violation]:
    """Replays of a mission that did not change, with one seed, have one signature."""
    first: dict[tuple[str, int], str] = {}
    for run in runs:
        if "signature" in run:
            known = first.setdefault((run["mission_id"], run["seed"]), run["signature"])
            if known != run["signature"]:
                yield Violation(
                    "signature changed", f"{run['id']} of {run['mission_id']}, seed {run['seed']}"
                )
