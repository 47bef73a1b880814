"""`quartermaster sources` and what `ingest` prints: the ledger, locally and through the API."""

import json
from pathlib import Path

import pytest

from quartermaster.cli.sources import _STATES
from quartermaster.store.sources import STATES

GOOD = '{"entry_type": "llm.call", "ts": "2026-01-01T00:00:01Z", "mission_id": "m"}\n'
STRANGE = '{"entry_type": "robot.danced", "ts": "2026-01-01T00:00:02Z", "mission_id": "m"}\n'


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    (folder / "day").mkdir(parents=True)
    (folder / "day" / "a.ndjson").write_text(GOOD + STRANGE + "{broken\n")
    (folder / "diary.txt").write_text("dear diary\n")
    return folder


def test_the_states_of_the_option_are_those_of_the_store():
    assert _STATES == STATES


def test_sources_are_listed_with_their_paths_on_this_machine(quartermaster, recordings: Path):
    quartermaster("ingest", recordings)
    rows = json.loads(quartermaster("sources", "--format", "json").stdout)
    assert {row["name"]: row["path"] for row in rows} == {
        "day/a.ndjson": str(recordings / "day" / "a.ndjson"),
        "diary.txt": str(recordings / "diary.txt"),
    }
    (left,) = json.loads(quartermaster("sources", "--state", "unrecognised", "--format", "json").stdout)
    assert (left["name"], left["unread"]) == ("diary.txt", 11)
    shown = quartermaster("sources", "--trace-format", "native").stdout
    assert "robot.danced 1" in shown
    assert "diary" not in shown


def test_through_the_api_a_file_is_known_by_its_name_alone(quartermaster, start_daemon, recordings: Path):
    daemon = start_daemon()
    quartermaster("ingest", recordings)
    remote = {"QUARTERMASTER_URL": daemon.url, "QUARTERMASTER_TOKEN": daemon.token}
    done = quartermaster("sources", "--q", "day/", **remote)
    assert done.returncode == 0, done.stderr
    assert "day/a.ndjson" in done.stdout
    assert str(recordings) not in done.stdout
    shown = json.loads(quartermaster("show", "m", "--format", "json", **remote).stdout)
    assert [source["name"] for source in shown["sources"]] == ["day/a.ndjson"]
    assert str(recordings) not in json.dumps(shown)


def test_ingest_names_unknown_types_and_rejected_lines(quartermaster, recordings: Path):
    done = quartermaster("ingest", recordings)
    assert done.returncode == 0
    heading = done.stdout.splitlines()[0]
    assert "UNKNOWN TYPES" in heading
    assert "robot.danced 1" in done.stdout
    assert "a.ndjson: line 3: " in done.stderr
    assert "diary.txt: no known format" in done.stderr


def test_a_ledger_without_unknown_types_and_secrets_has_no_columns_for_them(quartermaster, tmp_path: Path):
    (tmp_path / "plain.ndjson").write_text(GOOD)
    heading = quartermaster("ingest", tmp_path / "plain.ndjson").stdout.splitlines()[0]
    assert "UNKNOWN" not in heading
    assert "MASKED" not in heading


def test_ingest_says_how_many_secrets_it_has_masked(quartermaster, tmp_path: Path):
    token = "ghp_" + "a1B2c3D4e5" * 4
    entry = json.loads(GOOD) | {"payload": {"note": f"export GH={token}"}}
    (tmp_path / "leak.ndjson").write_text(json.dumps(entry) + "\n")
    done = quartermaster("ingest", tmp_path / "leak.ndjson")
    assert "github_token 1" in done.stdout
    assert token not in done.stdout
