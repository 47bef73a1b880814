"""A workspace as one file: out of one home, into another, the same in every byte that counts."""

import json
import stat
from pathlib import Path

from quartermaster.store.database import Connection, closing_connection
from quartermaster.store.raw import RawReader


def contents(home: Path) -> dict[str, object]:
    """What a home knows of its missions, raw entries and files, without numbers and times of its own, and
    without what was done to this home alone."""
    with closing_connection(home / "quartermaster.db", writable=False) as connection:
        missions = connection.execute(
            "select mission_id, format, title, task, variant, trial, agent, model, outcome, reward, entries,"
            " model_calls, total_tokens, cost, first_instant, last_instant, labels from mission"
            " where mission_id is not null order by mission_id"
        ).fetchall()
        files = connection.execute(
            "select path, format, state, position, accepted, rejected,"
            " (select count(*) from source_mission where source = source.id) from source order by path"
        ).fetchall()
        return {"missions": missions, "files": files, "entries": raw_entries(connection)}


def raw_entries(connection: Connection) -> list[tuple[object, ...]]:
    raws = RawReader(connection)
    rows = connection.execute(
        "select mission.mission_id, instant, entry_id, mission, sequence from entry"
        " join mission on mission.id = mission"
    )
    return sorted(
        (
            (name, instant, str(key), raw)
            for name, instant, key, mission, sequence in rows
            if (raw := raws.read(mission, sequence)) is not None and b'"entry_type":"audit.' not in raw
        ),
        key=repr,
    )


def test_an_import_elsewhere_has_the_same_entries_facts_files_and_signatures(
    quartermaster, samples: Path, home: Path, tmp_path: Path
):
    assert quartermaster("ingest", samples).returncode == 0
    anonymous = tmp_path / "anonymous.jsonl"
    entry = '{"entry_type":"note","ts":"2027-01-01T00:00:00Z","mission_id":"anonymous"}\n'
    anonymous.write_text(entry * 3)  # three entries without an id, of the same content
    assert quartermaster("ingest", anonymous).returncode == 0
    file = tmp_path / "local.export"
    done = quartermaster("workspace", "export", file, "--format", "json")
    assert done.returncode == 0, done.stderr
    (exported,) = json.loads(done.stdout)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = tmp_path / "other"
    done = quartermaster("workspace", "import", file, "--home", other, "--format", "json")
    assert done.returncode == 0, done.stderr
    (imported,) = json.loads(done.stdout)
    assert imported["accepted"] == exported["entries"]
    assert contents(other) == contents(home)
    missions = [one[0] for one in contents(home)["missions"] if one[0] is not None]
    for mission in missions[:3]:
        signatures = {
            json.loads(quartermaster("eval", "replay", mission, "--format", "json", "--home", place).stdout)[
                "signature"
            ]
            for place in (home, other)
        }
        assert len(signatures) == 1


def test_a_second_import_changes_nothing(quartermaster, samples: Path, tmp_path: Path):
    quartermaster("ingest", samples)
    file, other = tmp_path / "local.export", tmp_path / "other"
    quartermaster("workspace", "export", file)
    quartermaster("workspace", "import", file, "--home", other)
    before = contents(other)
    done = quartermaster("workspace", "import", file, "--home", other, "--format", "json")
    (imported,) = json.loads(done.stdout)
    assert (imported["accepted"], imported["sources"]) == (0, 0)
    assert contents(other) == before


def test_a_file_that_is_cut_off_damaged_or_none_changes_nothing(quartermaster, samples: Path, tmp_path: Path):
    quartermaster("ingest", samples)
    file, other = tmp_path / "local.export", tmp_path / "other"
    quartermaster("workspace", "export", file)
    whole = file.read_bytes()
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for content in (whole[:middle], damaged, b"", b"no export\n"):
        bad = tmp_path / "bad.export"
        bad.write_bytes(content)
        refused = quartermaster("workspace", "import", bad, "--home", other)
        assert refused.returncode == 2
        assert str(bad) in refused.stderr
        assert not other.exists()
    assert quartermaster("workspace", "export", file).returncode == 2
