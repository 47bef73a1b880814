"""What the writing thread does when nobody writes."""

import threading
import time
from pathlib import Path

import pytest

from quartermaster.errors import TookTooLong
from quartermaster.store import database as module
from quartermaster.store.database import Connection, Database, connect


def _note(connection: Connection) -> None:
    connection.execute(
        "insert into workspace (workspace_id, slug, name, created_at)"
        " values (hex(randomblob(8)), hex(randomblob(8)), '', 0)"
    )


def _log_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def test_the_log_is_emptied_once_nothing_is_written_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.1)
    path = tmp_path / "quartermaster.db"
    with Database(path) as database:
        database.write_blocking(_note)
        assert _log_bytes(path) > 0
        deadline = time.monotonic() + 10
        while _log_bytes(path):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_long_reader_does_not_hold_up_those_who_write_after_a_rest(tmp_path: Path) -> None:
    path = tmp_path / "quartermaster.db"
    with Database(path) as database:
        reader = connect(path, writable=False)
        reader.execute("begin")
        reader.execute("select count(*) from workspace").fetchone()
        database.write_blocking(_note)
        database.checkpoint()
        began = time.monotonic()
        database.write_blocking(_note)
        assert time.monotonic() - began < 2
        assert reader.execute("select count(*) from workspace").fetchone()[0] == 0
        reader.close()


def test_a_process_beside_the_daemon_leaves_the_log_to_it(tmp_path: Path) -> None:
    path = tmp_path / "quartermaster.db"
    with Database(path) as daemon, Database(path, checkpoints=False) as beside:
        daemon.write_blocking(_note)
        beside.write_blocking(_note)
        beside.checkpoint()
        beside.write_blocking(_note)  # answered after the rest before it
        assert _log_bytes(path) > 0


def test_a_question_that_takes_too_long_ends_with_what_to_do(tmp_path: Path) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    with Database(tmp_path / "quartermaster.db") as database:
        with pytest.raises(TookTooLong, match="narrow it down"):
            database.read_blocking(lambda connection: connection.execute(endless).fetchone(), 0.05)
        assert database.read_blocking(lambda connection: connection.execute("select 1").fetchone()) == (1,)


def test_a_change_that_reads_first_never_meets_a_database_that_moved_on(tmp_path: Path):
    """Two processes that read and then write: a transaction that begins as a reader would fail at once."""
    path = tmp_path / "quartermaster.db"
    with Database(path) as one, Database(path, checkpoints=False) as other:
        one.write_blocking(lambda connection: connection.execute("create table counter (n integer)") and None)
        one.write_blocking(lambda connection: connection.execute("insert into counter values (0)") and None)

        def count(connection: Connection) -> None:
            (n,) = connection.execute("select n from counter").fetchone()
            connection.execute("update counter set n = ?", (n + 1,))

        def count_often(database: Database) -> None:
            for _ in range(50):
                database.write_blocking(count)

        threads = [threading.Thread(target=count_often, args=(database,)) for database in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.read_blocking(
            lambda connection: connection.execute("select n from counter").fetchone()
        ) == (100,)
