"""Policies, archives and report files of `quartermaster compare`, and what happens when one is wrong."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from quartermaster.cli import execute
from quartermaster.cli.archives import unpack
from quartermaster.cli.reporting import write_file
from quartermaster.errors import StorageFull, UsageError


def mission(name, *, task=None, outcome="succeeded", commands=10, failed=0, cost=0.01):
    told = [
        ("mission.created", {"task": task}),
        ("llm.call", {"model": "m", "total_tokens": 10, "cost_usd": cost}),
        *(
            ("exec.command", {"command": f"make {n}", "exit_code": int(n >= commands - failed)})
            for n in range(commands)
        ),
        ("mission.outcome", {"outcome": outcome, "origin": "verifier"}),
    ]
    return "".join(
        json.dumps(
            {
                "mission_id": name,
                "ts": f"2027-01-01T00:{number // 60:02d}:{number % 60:02d}Z",
                "entry_type": entry_type,
                "payload": payload,
            }
        )
        + "\n"
        for number, (entry_type, payload) in enumerate(told)
    )


@pytest.fixture
def quartermaster(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    """One command in this process, which has loaded everything already."""

    def here(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name, value in {"QUARTERMASTER_HOME": str(home), **environment}.items():
                patch.setenv(name, value)
            code = execute(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return here


@pytest.fixture
def before(tmp_path: Path) -> Path:
    (tmp_path / "before.ndjson").write_text(mission("m"))
    return tmp_path / "before.ndjson"


@pytest.fixture
def after(tmp_path: Path) -> Path:
    (tmp_path / "after.ndjson").write_text(mission("m", failed=1, cost=0.02))
    return tmp_path / "after.ndjson"


def compared(quartermaster, *arguments, policy=None, folder: Path | None = None, **environment):
    if policy is not None and folder is not None:
        (folder / "policy.toml").write_text(policy)
        arguments = (*arguments, "--policy", "policy.toml")
    return quartermaster("compare", *arguments, **environment)


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ("", 1),
        ("[thresholds]\ntool_success_rate = 0.1\ntotal_cost_usd = 1.0", 0),
        ("[ignore]\nmetrics = ['tool_success_rate', 'total_cost_usd']", 0),
        ("[ignore]\nmetrics = ['tool_success_rate']", 1),
        ("fail_on = 'never'", 0),
        ("fail_on = 'outside-noise'", 0),
    ],
)
def test_a_policy_says_what_fails(quartermaster, tmp_path: Path, before, after, policy, code):
    done = compared(quartermaster, before, after, policy=policy, folder=tmp_path)
    assert done.returncode == code, done.stderr


def test_a_flag_wins_over_the_policy_and_the_policy_may_stand_in_the_project(
    quartermaster, tmp_path: Path, before, after
):
    (tmp_path / "quartermaster.toml").write_text("port = 1\n[policy]\nfail_on = 'never'\n")
    assert compared(quartermaster, before, after).returncode == 0
    assert compared(quartermaster, before, after, "--fail-on", "breach").returncode == 1


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("treshold = 1", "policy.toml: unknown key 'treshold'; known are thresholds"),
        ("[thresholds]\ncost = 1", "policy.toml: unknown key 'thresholds.cost'"),
        ("[tolerances]\nspeed = 1", "policy.toml: unknown key 'tolerances.speed'"),
        ("[families.q]\nmetrics = []\nblock = true", "policy.toml: unknown key 'families.q.block'"),
        ("alpha = 2", "policy.toml: alpha must lie between 0 and 0.5"),
        ("strict = 'yes'", "policy.toml: strict: expected `bool`, got `str`"),
        ("= 3", "policy.toml is not valid TOML"),
        ("[ignore]\nmissions = ['*']", "the policy ignores every mission of the baseline"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_in_one_line(
    quartermaster, tmp_path: Path, before, after, policy, words
):
    done = compared(quartermaster, before, after, policy=policy, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


def test_a_policy_that_is_missing_is_named(quartermaster, before, after):
    done = compared(quartermaster, before, after, "--policy", "none.toml")
    assert (done.returncode, done.stderr) == (2, "quartermaster: there is no policy file 'none.toml'\n")


def test_several_reports_are_written_at_once(quartermaster, tmp_path: Path, before, after):
    kinds = ("json", "markdown", "junit", "sarif", "github", "html")
    wanted = [part for kind in kinds for part in ("--report", f"{kind}=out.{kind}")]
    done = compared(quartermaster, before, after, *wanted, "--output", "out.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert (tmp_path / "out.txt").read_text().startswith("Regressed\n")
    assert json.loads((tmp_path / "out.json").read_text())["kind"] == "regression"
    sarif = json.loads((tmp_path / "out.sarif").read_text())
    place = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place.endswith("/after.ndjson")
    assert '<table class="steps">' in (tmp_path / "out.html").read_text()
    assert not list(tmp_path.glob(".*.part"))


def test_archives_are_sides_like_folders(quartermaster, tmp_path: Path, before, after):
    with tarfile.open(tmp_path / "before.tar.gz", "w:gz") as archive:
        archive.add(before, "runs/before.ndjson")
    with zipfile.ZipFile(tmp_path / "after.zip", "w") as packed:
        packed.write(after, "runs/after.ndjson")
    done = compared(quartermaster, "before.tar.gz", "after.zip", "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["regressed_metrics"] == ["tool_success_rate", "total_cost_usd"]


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "..\\out", "c:/out"])
def test_no_archive_writes_outside_of_its_folder(tmp_path: Path, name):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.addfile(info := tarfile.TarInfo(name), io.BytesIO(b"" * info.size))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr(name, b"x")
    folder = tmp_path / "a" / "b" / "folder"
    folder.mkdir(parents=True)
    for bad in ("bad.tar", "bad.zip"):
        with pytest.raises(UsageError, match="leads out of it"):
            unpack(tmp_path / bad, folder)
    assert not list(tmp_path.rglob("*out"))


def test_links_in_an_archive_are_left_out(tmp_path: Path):
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "folder").mkdir()
    unpack(tmp_path / "links.tar", tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", b"\0" * (64 << 20))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="more than 8 MiB"):
        unpack(tmp_path / "bomb.zip", tmp_path / "folder", most_bytes=8 << 20)
    assert (tmp_path / "folder" / "zeros").stat().st_size <= 10 << 20
    with pytest.raises(UsageError, match="more than 0 files"):
        unpack(tmp_path / "bomb.zip", tmp_path / "folder", most_files=0)


@pytest.mark.parametrize(("name", "data"), [("cut.tar.gz", b"\x1f\x8b\x08"), ("no.zip", b"PK nothing")])
def test_an_archive_that_is_none_is_said_in_one_line(quartermaster, tmp_path: Path, before, name, data):
    (tmp_path / name).write_bytes(data)
    done = compared(quartermaster, before, name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{name} cannot be unpacked" in done.stderr


def test_a_folder_in_which_nothing_can_be_read_is_said_in_one_line(quartermaster, tmp_path: Path, before):
    (tmp_path / "bad").mkdir()
    for number in range(3):
        (tmp_path / "bad" / f"{number}.bin").write_bytes(bytes(range(256)))
    done = compared(quartermaster, before, "bad")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no recorded mission in the candidate" in done.stderr


def test_recordings_of_two_formats_are_compared_all_the_same(quartermaster, samples: Path, tmp_path: Path):
    (tmp_path / "mixed").mkdir()
    for name in ("native/login_fix.ndjson", "codex_cli/tide_table.jsonl"):
        (tmp_path / "mixed" / Path(name).name).write_bytes((samples / name).read_bytes())
    done = compared(quartermaster, "mixed", "mixed", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["pairs"]) == 3


@pytest.mark.parametrize("wanted", ["html", "docx=x", "html="])
def test_a_report_that_is_none_is_refused(quartermaster, before, after, wanted):
    done = compared(quartermaster, before, after, "--report", wanted)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not of the form KIND=FILE" in done.stderr


def test_a_full_disk_is_told_and_no_regression(quartermaster, before, after):
    done = compared(quartermaster, before, after, "--output", "/dev/full")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (10, "", 1)
    assert "/dev/full cannot be written: No space left on device; free some space" in done.stderr


def test_a_place_that_cannot_be_written_keeps_what_was_there(quartermaster, tmp_path: Path, before, after):
    done = compared(quartermaster, before, after, "--output", "none/out.txt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "none/out.txt cannot be written" in done.stderr


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path):
    import resource

    file = tmp_path / "report.md"
    file.write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageFull, match=r"report\.md cannot be written"):
            write_file(file, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert file.read_text() == "before"


def test_a_reader_that_went_away_is_no_error_and_costs_no_file(tmp_path: Path, before, after):
    command = f"'{sys.executable}' -m quartermaster compare '{before}' '{after}' --report html=out.html"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "QUARTERMASTER_HOME": str(tmp_path / "home")},
    )
    assert done.stdout.strip() in ("141", "1")
    assert done.stderr == ""
    assert (tmp_path / "out.html").read_text().endswith("</html>\n")


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number}.ndjson").write_text(mission(f"m{number}", task=f"t{number}"))
    (tmp_path / "scratch").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "quartermaster", "compare", "many", "many", "--output", "out.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "QUARTERMASTER_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "scratch")},
    )
    deadline = time.monotonic() + 30
    while not list((tmp_path / "scratch").glob("*/quartermaster.db")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 130, error.decode()
    assert out == b""
    assert b"Traceback" not in error
    assert not (tmp_path / "out.txt").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_build_on_github_gets_annotations_and_a_summary_without_being_asked(
    quartermaster, tmp_path: Path, before, after
):
    summary = tmp_path / "summary.md"
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = compared(quartermaster, before, after, "--format", "json", **environment)
    assert json.loads(done.stdout)["verdict"] == "regressed"
    assert done.stderr.startswith("::error file=")
    assert "> [!CAUTION]" in summary.read_text()
    summary.unlink()
    assert compared(quartermaster, before, after, "--no-github", **environment).stderr == ""
    assert not summary.exists()


def test_the_schemas_are_printed(quartermaster):
    for name in ("report", "policy"):
        printed = quartermaster("schema", name)
        assert json.loads(printed.stdout)["$id"].startswith(f"urn:quartermaster:{name}:")
