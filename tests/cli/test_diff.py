"""`diff` and `similar` at the command line, on the home and through a daemon."""

import json
from pathlib import Path

import pytest


def mission(folder: Path, name: str, commands: list[tuple[str, int]], cost: float = 0.01) -> None:
    entries = []
    for number, (command, code) in enumerate(commands):
        ts = f"2026-01-01T00:{number:02d}:00Z"
        call = {"model": "m", "total_tokens": 10, "cost_usd": cost}
        payload = {"command": command, "exit_code": code}
        for order, (kind, told) in enumerate((("llm.call", call), ("exec.command", payload))):
            key = int.from_bytes(name.encode()[-3:], "big") * 1000 + 10 * number + order
            known = {"id": f"j_{key:016x}", "mission_id": name, "ts": ts}
            entries.append(json.dumps(known | {"entry_type": kind, "payload": told}))
    (folder / f"{name}.ndjson").write_text("\n".join(entries) + "\n")


@pytest.fixture
def recorded(tmp_path: Path, quartermaster) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    mission(folder, "one", [("ls -a", 0), ("make x", 0), ("make y", 0)])
    mission(folder, "two", [("ls -a", 0), ("make x", 1), ("make y", 0)], cost=0.03)
    mission(folder, "six", [("ls -a", 0), ("make x", 0), ("make y", 0)])
    assert quartermaster("ingest", folder).returncode == 0


@pytest.mark.usefixtures("recorded")
def test_a_diff_says_what_changed_where_and_what_it_cost(quartermaster):
    shown = quartermaster("diff", "one", "two")
    assert shown.returncode == 0, shown.stderr
    assert "one tool result turned into a failure" in shown.stdout
    assert "cost +$0.06: +$0.06 from another price of the same tokens at three steps 0-4" in shown.stdout
    assert "make x (failed)" not in shown.stdout.split("BASELINE")[0]
    assert "3 tool call make (failed): make x" in shown.stdout


@pytest.mark.usefixtures("recorded")
def test_of_two_equal_missions_nothing_is_said(quartermaster):
    shown = quartermaster("diff", "one", "six")
    assert shown.stdout.splitlines()[0] == "the same recording, step by step"
    assert "BASELINE" not in shown.stdout


@pytest.mark.usefixtures("recorded")
def test_similar_missions_come_with_how_they_ended(quartermaster):
    found = json.loads(quartermaster("similar", "one", "--format", "json").stdout)
    assert [(row["mission_id"], row["level"]) for row in found["rows"]] == [
        ("six", "outcomes"), ("two", "arguments"),
    ]  # fmt: skip
    assert found["outcomes"] == {"unknown": 2}
    assert "2 of 2 missions are like it: 2 unknown" in quartermaster("similar", "one").stdout
    same = json.loads(quartermaster("similar", "one", "--level", "outcomes", "--format", "json").stdout)
    assert [row["mission_id"] for row in same["rows"]] == ["six"]


@pytest.mark.usefixtures("recorded")
def test_a_daemon_answers_the_same(quartermaster, start_daemon):
    asked = (("diff", "one", "two"), ("similar", "one"))
    local = [quartermaster(*words, "--format", "json").stdout for words in asked]
    daemon = start_daemon()
    at = ("--format", "json", "--url", daemon.url, "--token", daemon.token)
    remote = [quartermaster(*words, *at).stdout for words in asked]
    assert remote == local
    assert all(local)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("mode", ["exact", "in-order", "any-order", "subset", "superset"])
def test_the_calls_of_one_mission_are_held_against_those_of_another(quartermaster, mode: str):
    same = quartermaster("diff", "one", "six", "--match", mode, "--arguments", "exact")
    assert (same.returncode, same.stdout.splitlines()[0]) == (0, f"matches ({mode})")
    assert "precision 1.00, recall 1.00, F1 1.00" in same.stdout


@pytest.mark.usefixtures("recorded")
def test_calls_that_are_missing_or_too_many_are_named_and_the_exit_code_tells(quartermaster, tmp_path: Path):
    folder = tmp_path / "more"
    folder.mkdir()
    mission(folder, "ten", [("ls -a", 0), ("git log", 0), ("make y", 0)])
    assert quartermaster("ingest", folder).returncode == 0
    shown = quartermaster("diff", "one", "ten", "--match", "in-order")
    assert shown.returncode == 1
    assert "does not match (in-order)" in shown.stdout
    assert "2 of 3 expected and 3 made calls; precision 0.67, recall 0.67, F1 0.67" in shown.stdout
    rows = json.loads(quartermaster("diff", "one", "ten", "--match", "exact", "--format", "json").stdout)
    assert [one["tool"] for one in rows["match"]["missing"]] == ["make"]
    assert [one["tool"] for one in rows["match"]["extra"]] == ["git"]
    without = ("--ignore-tool", "make", "--ignore-tool", "git")
    assert quartermaster("diff", "one", "ten", "--match", "exact", *without).returncode == 0
