"""`quartermaster watch`: folders that are read where they lie, from one command on."""

import json
import time
from pathlib import Path

import pytest

ENTRY = '{"entry_type": "llm.call", "ts": "2026-01-01T00:00:01Z", "mission_id": "watched"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "agents" / "sessions"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("user")


def listed(quartermaster) -> list[dict]:
    return json.loads(quartermaster("watch", "list", "--format", "json").stdout)


def test_a_running_daemon_reads_a_folder_that_is_added_and_leaves_one_that_is_removed(
    quartermaster, start_daemon, folder: Path
):
    daemon = start_daemon(QUARTERMASTER_INGEST_SCAN_SECONDS="0.2")
    (folder / "old.ndjson").write_text(ENTRY)
    assert quartermaster("watch", "add", folder).returncode == 0

    def names() -> set[str]:
        return {row["name"] for row in daemon.get("/api/v1/sources")["rows"]}

    daemon.wait_for(lambda: names() == {"old.ndjson"})
    (folder / "deep").mkdir()
    (folder / "deep" / "new.ndjson").write_text(ENTRY.replace("watched", "later"))
    daemon.wait_for(lambda: names() == {"old.ndjson", "deep/new.ndjson"})
    assert sorted(path.name for path in folder.rglob("*")) == ["deep", "new.ndjson", "old.ndjson"]

    assert quartermaster("watch", "remove", folder).returncode == 0
    assert listed(quartermaster) == []
    time.sleep(1)  # five scans
    (folder / "unseen.ndjson").write_text(ENTRY.replace("watched", "unseen"))
    (daemon.home / "inbox" / "local" / "seen.ndjson").write_text(ENTRY.replace("watched", "seen"))
    daemon.wait_for(lambda: "seen.ndjson" in names())
    assert names() == {"old.ndjson", "deep/new.ndjson", "seen.ndjson"}
    kept = {row["mission_id"] for row in daemon.get("/api/v1/missions")["rows"]}
    assert kept == {"watched", "later", "seen"}


def test_missions_of_a_folder_go_to_the_workspace_that_was_named(quartermaster, start_daemon, folder: Path):
    quartermaster("workspace", "create", "crew")
    assert quartermaster("watch", "add", folder, "--workspace", "crew").returncode == 0
    (row,) = listed(quartermaster)
    assert (row["path"], row["workspace"], row["state"]) == (str(folder), "crew", "ok")
    (folder / "one.ndjson").write_text(ENTRY)
    daemon = start_daemon()
    daemon.wait_for(
        lambda: json.loads(quartermaster("sources", "--workspace", "crew", "--format", "json").stdout)
    )
    assert json.loads(quartermaster("sources", "--workspace", "local", "--format", "json").stdout) == []


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/", "name the folder of the recordings"),
        ("~", "name the folder of the recordings"),
        ("{tmp}/nowhere", "check the spelling"),
        ("{tmp}/agents/file.txt", "is no folder"),
        ("{tmp}", "contains the data folder"),
        ("{tmp}/home/inbox", "is watched anyway"),
    ],
)
def test_a_folder_that_should_not_be_watched_is_refused_with_what_to_do(
    quartermaster, folder: Path, tmp_path: Path, user: Path, path: str, advice: str
):
    (folder.parent / "file.txt").write_text("")
    quartermaster("workspace", "list")
    done = quartermaster("watch", "add", path.replace("{tmp}", str(tmp_path)), HOME=str(user))
    assert done.returncode == 2
    assert advice in done.stderr
    assert listed(quartermaster) == []


def test_two_folders_that_overlap_are_refused(quartermaster, folder: Path, tmp_path: Path):
    inner = folder / "inner"
    inner.mkdir()
    link = tmp_path / "link"
    link.symlink_to(inner)
    assert quartermaster("watch", "add", folder).returncode == 0
    assert quartermaster("watch", "add", folder).returncode == 0, "asking twice for the same is harmless"
    for other in (inner, folder.parent, link):
        done = quartermaster("watch", "add", other)
        assert done.returncode == 2
        assert "stop watching one of them" in done.stderr
    quartermaster("workspace", "create", "crew")
    done = quartermaster("watch", "add", folder, "--workspace", "crew")
    assert done.returncode == 2
    assert "is watched already" in done.stderr
    assert len(listed(quartermaster)) == 1


def test_a_folder_of_the_settings_is_listed_and_only_leaves_with_them(
    quartermaster, home: Path, folder: Path
):
    quartermaster("workspace", "list")
    (home / "config.toml").write_text(f"[[inbox]]\npath = '{folder}'")
    (row,) = listed(quartermaster)
    assert (row["path"], row["added_by"]) == (str(folder), "settings")
    assert "is watched already" in quartermaster("watch", "add", folder).stderr
    done = quartermaster("watch", "remove", folder)
    assert done.returncode == 2
    assert "inbox of the settings" in done.stderr


def test_removing_what_is_not_watched_says_so_and_a_folder_that_is_gone_can_be_removed(
    quartermaster, folder: Path
):
    assert "is not watched" in quartermaster("watch", "remove", folder).stderr
    quartermaster("watch", "add", folder)
    folder.rmdir()
    assert listed(quartermaster)[0]["state"] == "missing"
    assert quartermaster("watch", "remove", folder).returncode == 0
    assert listed(quartermaster) == []
