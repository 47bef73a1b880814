"""Quartermaster as a library: recordings are read and compared, and handed on as frames."""

import gc
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from suites import mission, suite, write

import quartermaster as qm

ROOT = Path(__file__).resolve().parents[1]
BASELINE, CANDIDATE = "demo-login-fix-baseline", "demo-login-fix-candidate"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def login_fix(samples: Path) -> qm.Missions:
    return qm.read(samples / "native")


def test_missions_are_read_with_what_is_known_of_them(login_fix):
    assert login_fix.ids == (BASELINE, CANDIDATE)
    baseline = login_fix.find(BASELINE)
    assert (baseline.task, baseline.trial, baseline.commit) == ("fix-flaky-login-test", 0, "5f2c81d")
    assert baseline.started_at is not None
    assert baseline.started_at.isoformat() == "2026-03-02T09:14:03.250000+00:00"
    assert baseline.metrics["total_cost_usd"].value == pytest.approx(0.169095)
    assert login_fix[1].findings[0].failure_mode == "tool_loop"


def test_steps_and_words_of_a_mission_are_read_when_they_are_asked_for(login_fix):
    steps = login_fix[0].steps()
    assert len(steps) == login_fix[0].metrics["steps_to_goal"].value == 23
    assert [step.index for step in steps] == list(range(23))
    assert "git status --short" in {event.command for event in login_fix[0].events()}


def test_missions_are_narrowed_by_their_facts(login_fix):
    assert login_fix.where(mission_id=CANDIDATE).ids == (CANDIDATE,)
    assert login_fix[:1].ids == (BASELINE,)
    with pytest.raises(qm.UsageError, match="a mission has no colour; it has mission_id"):
        login_fix.where(colour="red")


def test_a_mission_does_not_change(login_fix):
    with pytest.raises(AttributeError):
        login_fix[0].outcome = "succeeded"


def test_what_was_read_is_gone_with_the_last_mission(temporary: Path, samples: Path, capfd):
    missions = qm.read(samples / "native")
    one = missions[0]
    del missions
    gc.collect()
    assert len(one.steps()) == 23
    del one
    gc.collect()
    assert list(temporary.iterdir()) == []
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("as_missions", [False, True], ids=["paths", "missions"])
def test_a_comparison_says_what_the_command_says(quartermaster, tmp_path: Path, as_missions: bool):
    before = write(tmp_path / "before.ndjson", *suite("v1"))
    after = write(tmp_path / "after.ndjson", *suite("v2", failing=range(8)))
    report = qm.compare(qm.read(before), qm.read(after)) if as_missions else qm.compare(before, after)
    assert (report.verdict, report.regressed, report.fails) == ("regressed", True, True)
    if not as_missions:
        done = quartermaster("compare", before, after, "--format", "json")
        assert json.loads(report.json()) == json.loads(done.stdout)
    assert report.markdown().splitlines()[1] == "> [!CAUTION]"
    assert report.text().startswith("Regressed")


def test_one_recording_may_hold_both_sides(tmp_path: Path):
    both = qm.read(write(tmp_path / "both.ndjson", *suite("v1"), *suite("v2", failing=range(8))))
    report = qm.compare(both.where(variant="v1"), both.where(variant="v2"))
    assert "Mission success fell 67 pp (100 % -> 33 %, 12 tasks" in report.text()


def test_a_policy_is_a_file_or_its_content_and_a_typing_mistake_is_an_error(tmp_path: Path):
    before = write(tmp_path / "before.ndjson", mission("m", commands=10))
    after = write(tmp_path / "after.ndjson", mission("m", commands=10, failed=3))
    (tmp_path / "policy.toml").write_text("[thresholds]\ntool_success_rate = 0.5\n")
    assert qm.compare(before, after).fails
    assert not qm.compare(before, after, {"thresholds": {"tool_success_rate": 0.5}}).fails
    assert not qm.compare(before, after, tmp_path / "policy.toml").fails
    with pytest.raises(qm.ConfigurationError, match="unknown key 'thresold'"):
        qm.compare(before, after, {"thresold": {}})


def test_a_frozen_baseline_is_a_side(quartermaster, tmp_path: Path):
    before = write(tmp_path / "before.ndjson", mission("m", commands=10))
    after = write(tmp_path / "after.ndjson", mission("m", commands=10, failed=3))
    frozen = tmp_path / "main.qmb"
    done = quartermaster("baseline", "freeze", "main", before, "--output", frozen)
    assert done.returncode == 0, done.stderr
    for candidate in (after, qm.read(after)):
        assert qm.compare(frozen, candidate).sentence == "m: tool success dropped 30.0% (> 5% threshold)"


@pytest.mark.parametrize("package", ["pandas", "polars", "pyarrow"])
def test_missions_and_reports_are_frames_of_installed_packages(login_fix, package: str):
    pytest.importorskip(package)
    convert = f"to_{package.removeprefix('py')}"
    missions = getattr(login_fix, convert)()
    report = getattr(qm.compare(login_fix[:1], login_fix[1:]), convert)()
    assert missions.shape[0] == 2
    assert report.shape[0] == 5
    columns = missions.column_names if package == "pyarrow" else list(missions.columns)
    assert columns[:3] == ["mission_id", "task", "variant"]
    assert all(cost is not None for cost in missions["total_cost_usd"])


@pytest.mark.parametrize("package", ["pandas", "polars", "pyarrow"])
def test_a_frame_of_a_package_that_is_not_there_is_an_error_that_says_what_to_do(
    login_fix, package: str, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(qm.NotInstalled, match=f"`pip install {package}` brings it"):
        getattr(login_fix, f"to_{package.removeprefix('py')}")()


def test_a_report_is_saved_in_the_form_that_its_name_says(login_fix, tmp_path: Path):
    report = qm.compare(login_fix[:1], login_fix[1:])
    for name, start in (
        ("r.json", '{"schema"'),
        ("r.md", "<!--"),
        ("r.xml", "<?xml"),
        ("r.html", "<!doctype"),
    ):
        report.save(tmp_path / name)
        assert (tmp_path / name).read_text().lower().startswith(start), name
    with pytest.raises(qm.UsageError, match="the suffix must be one of"):
        report.save(tmp_path / "r.docx")


@pytest.mark.parametrize(
    ("path", "words"), [("nowhere", "there is no file or folder"), ("empty", "holds no files")]
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path: Path, path: str, words: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(qm.NotFound, match=words):
        qm.read(tmp_path / path)


def test_a_recorded_mission_is_read_back(tmp_path: Path):
    with qm.record(tmp_path, task="checkout", variant="v2", trial=1, agent="shopper") as recorder:
        recorder.message("buy a book", role="user")
        recorder.model_call("gpt-5", input_tokens=100, output_tokens=20, cost_usd=0.25)
        recorder.tool_call("search", {"q": "book"}, output="one found")
        recorder.tool_call("pay", error="card refused")
        recorder.outcome("failed", reward=0.0)
    (one,) = qm.read(tmp_path)
    assert (one.task, one.variant, one.trial, one.outcome) == ("checkout", "v2", 1, "failed")
    assert (one.total_tokens, one.total_cost_usd) == (120, 0.25)
    assert [step.tool for step in one.steps() if step.entry_type == "exec.command"] == ["search", "pay"]
    assert one.metrics["tool_success_rate"].value == 0.5
    assert [event.text for event in one.events() if event.text == "buy a book"] == ["buy a book"]


def test_a_mission_that_an_error_leaves_has_failed_and_takes_no_more(tmp_path: Path):
    recorder = qm.record(tmp_path, task="t")
    with pytest.raises(ZeroDivisionError), recorder:
        _ = 1 / 0
    assert qm.read(tmp_path)[0].outcome == "failed"
    with pytest.raises(qm.UsageError, match="has ended"):
        recorder.message("more")


def test_a_mission_may_have_any_name(tmp_path: Path):
    names = ["../../up", "a/b", "x" * 400, ".hidden", "ä"]
    for name in names:
        with qm.record(tmp_path, mission_id=name) as recorder:
            recorder.tool_call("ls")
        assert recorder.path.parent == tmp_path
    assert set(qm.read(tmp_path).ids) == set(names)


PUBLIC = [
    "AsyncClient", "Client", "ConfigurationError", "DaemonUnreachable", "Mission", "Missions", "NotAllowed",
    "NotFound", "NotInstalled", "QuartermasterError", "Recorder", "Report", "Step", "UsageError",
    "__version__", "compare", "read", "record",
]  # fmt: skip


def test_the_public_names_are_these_and_each_is_there():
    assert sorted(qm.__all__) == PUBLIC
    assert all(getattr(qm, name) is not None for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(qm))
    with pytest.raises(AttributeError):
        _ = qm.nothing_of_that_name


def test_the_import_of_the_package_loads_nothing_else():
    listed = "import sys; a = set(sys.modules); import quartermaster; print(sorted(set(sys.modules) - a))"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['quartermaster']"


USERS_CODE = """
import quartermaster as qm


def worst(path: str) -> str | None:
    missions = qm.read(path)
    report = qm.compare(missions.where(variant="v1"), missions.where(variant="v2"), {"strict": True})
    costs: list[float] = [one.total_cost_usd for one in missions if one.total_cost_usd is not None]
    report.save("report.html")
    return report.sentence if report.regressed and max(costs) > 1 else None


async def ask(url: str) -> list[str]:
    async with qm.AsyncClient(url) as client:
        run = await client.regression("a", "b", seconds=10)
        return [row.mission_id async for row in client.missions(limit=3)] + [run.status]


with qm.record("folder", task="t") as recorder, qm.Client() as client:
    recorder.tool_call("ls", exit_code=0)
    for event in client.stream():
        print(event.status.upper())
"""


def test_the_types_hold_in_a_users_project(tmp_path: Path):
    (tmp_path / "user.py").write_text(USERS_CODE)
    (tmp_path / "wrong.py").write_text("import quartermaster as qm\n\nnumber: int = qm.read('x')[0].task\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "user.py", "wrong.py"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **({} if _is_installed() else {"MYPYPATH": str(ROOT)})},
        timeout=110,
    )
    told = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(told) == 1, done.stdout
    assert told[0].startswith("wrong.py:3: error: Incompatible types in assignment")


def _is_installed() -> bool:
    try:
        importlib.metadata.distribution("quartermaster")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
