"""A secret in a recording never reaches the disk, by whatever door the recording comes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.core.secrets import Masker
from quartermaster.ingest import accept_entries, ingest_paths
from quartermaster.store import access
from quartermaster.store.database import Database
from quartermaster.store.journal import JournalFilter, list_entries

SAMPLES = Path(__file__).resolve().parent.parent / "data/samples"
SECRET = "ghp_aB3dE5gH7jK9mN2pQ4sT6vW8yZ1cF0xRaB3d"
MASKED = "[masked:github_token]"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "home" / "quartermaster.db") as database:
        yield database


@pytest.fixture
def workspace(database: Database) -> int:
    return database.write_blocking(
        lambda c: access.create_workspace(c, "local", workspace_id="local", now=1)
    ).key


def entry(number: int, text: str) -> bytes:
    payload = {"command": text, "exit_code": 0}
    fields = {
        "id": f"j_{number:016x}",
        "mission_id": "m",
        "ts": "2026-11-01T10:00:00Z",
        "entry_type": "exec.command",
    }
    return json.dumps({**fields, "payload": payload}).encode()


def bytes_on_disk(database: Database) -> bytes:
    """Everything that was written: the file after a checkpoint, and what compressed pieces unpack to."""
    import zstandard

    unpack = zstandard.ZstdDecompressor().decompress
    tables = (("data", "block"), ("data", "source_bytes"), ("raw", "rejected_line"))
    packed = [
        unpack(row[0])
        for column, table in tables
        for row in database.read_blocking(
            lambda c, q=f"select {column} from {table}": c.execute(q).fetchall()
        )
    ]
    database.close()
    return b"\n".join([database.path.read_bytes(), *packed])


def test_a_secret_in_a_journal_is_masked_and_counted_by_its_rule(
    database: Database, workspace: int, tmp_path: Path
) -> None:
    file = tmp_path / "journal.ndjson"
    lines = [
        entry(1, "ls"),
        entry(2, f"git push https://{SECRET}@host/x"),
        b'{"broken": "' + SECRET.encode() + b'"',
    ]
    file.write_bytes(b"\n".join([*lines, entry(3, "ls"), b""]))
    [ledger] = ingest_paths(database, workspace, [file])
    assert (ledger.accepted, ledger.rejected, ledger.unread) == (3, 1, 0)
    assert ledger.masked == {"github_token": 2}
    assert [(one.line, one.position) for one in ledger.rejected_lines] == [
        (3, len(lines[0]) + len(lines[1]) + 2)
    ]
    page = database.read_blocking(lambda c: list_entries(c, workspace, JournalFilter()))
    assert f"https://{MASKED}@host/x" in b"".join(page.entries).decode()
    assert SECRET.encode() not in bytes_on_disk(database)


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.iterdir() if path.name != "inspect_ai"))
def test_a_secret_in_any_format_is_masked(
    database: Database, workspace: int, tmp_path: Path, name: str
) -> None:
    [original, *_] = sorted(path for path in (SAMPLES / name).rglob("*") if path.is_file())
    file = tmp_path / original.name
    text = original.read_text()
    letter = next(word for word in text.split() if word.isalpha() and len(word) > 4)
    file.write_text(text.replace(f" {letter} ", f" {SECRET} "))
    if SECRET not in file.read_text():
        pytest.skip("the sample has no free text with spaces around a word")
    [ledger] = ingest_paths(database, workspace, [file])
    assert ledger.format == name
    assert ledger.masked["github_token"] >= 1
    assert SECRET.encode() not in bytes_on_disk(database)


def test_a_grown_file_is_read_the_same_way_masked_or_not(
    database: Database, workspace: int, tmp_path: Path
) -> None:
    file = tmp_path / "session.jsonl"
    whole = next((SAMPLES / "claude_code").iterdir()).read_bytes().replace(b"ferry", SECRET.encode())
    middle = whole.index(b"\n", len(whole) // 2) + 1
    file.write_bytes(whole[:middle])
    ingest_paths(database, workspace, [file])
    with file.open("ab") as stream:
        stream.write(whole[middle:])
    [grown] = ingest_paths(database, workspace, [file])
    other = database.write_blocking(lambda c: access.create_workspace(c, "other", now=1)).key
    [at_once] = ingest_paths(database, other, [file])
    assert grown.masked == at_once.masked
    assert grown.rejected == at_once.rejected == 0
    one = database.read_blocking(lambda c: list_entries(c, workspace, JournalFilter(limit=500)))
    two = database.read_blocking(lambda c: list_entries(c, other, JournalFilter(limit=500)))
    # an outcome told in between and taken back again is the only entry that may be told in other words
    assert {json.loads(raw)["id"] for raw in one.entries} == {json.loads(raw)["id"] for raw in two.entries}


def test_an_archive_that_cannot_be_masked_is_not_kept(
    database: Database, workspace: int, tmp_path: Path
) -> None:
    archives = list((SAMPLES / "inspect_ai").rglob("*.eval"))
    if not archives:
        pytest.skip("no packed sample")
    file = tmp_path / archives[0].name
    shutil.copy(archives[0], file)
    ingest_paths(database, workspace, [file])
    assert database.read_blocking(lambda c: c.execute("select count(*) from source_bytes").fetchone()) == (0,)


def test_entries_that_are_handed_in_are_masked_too(database: Database, workspace: int) -> None:
    assert accept_entries(database, workspace, entry(1, f"token {SECRET}")).accepted == 1
    assert SECRET.encode() not in bytes_on_disk(database)


def test_masking_can_be_switched_off_and_given_further_patterns(
    database: Database, workspace: int, tmp_path: Path
) -> None:
    plain, own = tmp_path / "plain.ndjson", tmp_path / "own.ndjson"
    plain.write_bytes(entry(1, SECRET) + b"\n")
    own.write_bytes(entry(2, "badge ACME-123456") + b"\n")
    [kept] = ingest_paths(database, workspace, [plain], masker=None)
    [custom] = ingest_paths(database, workspace, [own], masker=Masker([r"ACME-\d+"]))
    assert (kept.masked, custom.masked) == ({}, {"custom": 1})
    page = database.read_blocking(lambda c: list_entries(c, workspace, JournalFilter()))
    raws = b"".join(page.entries)
    assert SECRET.encode() in raws and b"[masked:custom]" in raws


def test_what_a_tool_answered_is_masked(database: Database, workspace: int, tmp_path: Path) -> None:
    called = {"function": {"name": "show_settings", "arguments": "{}"}, "id": "call_1"}
    messages = [
        {"role": "user", "content": "Show the settings."},
        {"role": "assistant", "content": "I look.", "tool_calls": [called]},
        {"role": "tool", "content": f"key = {SECRET}", "tool_call_id": "call_1"},
    ]
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(messages))
    [ledger] = ingest_paths(database, workspace, [file])
    assert (ledger.format, ledger.rejected) == ("chat_messages", 0)
    page = database.read_blocking(lambda c: list_entries(c, workspace, JournalFilter()))
    outputs = [json.loads(raw).get("payload", {}).get("output") for raw in page.entries]
    assert [output for output in outputs if output] == [f"key = {MASKED}"]
    assert SECRET.encode() not in bytes_on_disk(database)
