"""The snippets of the README for continuous integration do what they say, step by step as they stand."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import check_jsonschema
import jsonschema
import pytest
from ruamel.yaml import YAML

from quartermaster.core.gate import gate_of

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "README.md").read_text().split("\n## In CI\n", 1)[1].split("\n## ", 1)[0]
GITHUB, GITLAB = (
    YAML(typ="safe").load(text) for text in re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
)
[POLICY] = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
SCHEMAS = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"

GH = """#!/bin/sh
printf '%s\\n' "$*" >>gh-calls
case "$*" in *per_page*) cat known-comment ;; *PATCH*|*POST*) test -s report.md ;; esac
"""


def mission(name, failed):
    entries = [("mission.created", {"task": name})]
    entries += [("exec.command", {"command": f"make {n}", "exit_code": int(n < failed)}) for n in range(10)]
    entries += [("mission.outcome", {"outcome": "failed" if failed else "succeeded", "origin": "verifier"})]
    return "".join(
        json.dumps(
            {
                "mission_id": name,
                "ts": f"2027-01-01T00:00:{number:02d}Z",
                "entry_type": entry_type,
                "payload": payload,
            }
        )
        + "\n"
        for number, (entry_type, payload) in enumerate(entries)
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", folder, ROOT],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture
def repository(tmp_path: Path, wheel: Path) -> Path:
    """A user's repository with recordings, policy and wheel."""
    for side in ("baseline", "candidate"):
        folder = tmp_path / "recordings" / side
        folder.mkdir(parents=True)
        for task in range(12):
            text = mission(f"t{task}", failed=4 if side == "candidate" and task < 8 else 0)
            (folder / f"t{task}.ndjson").write_text(text)
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / wheel.name).symlink_to(wheel)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "gh").write_text(GH)
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def run(step: str, repository: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A step as the build runs it; what pip installs goes into the repository's own folder."""
    installed = repository / "installed"
    path = os.pathsep.join([str(repository / "programs"), str(installed / "bin"), os.environ["PATH"]])
    own = {
        "PATH": path,
        "PYTHONPATH": str(installed),
        "PIP_TARGET": str(installed),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
    }
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step],
        check=False,
        cwd=repository,
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def steps() -> dict[str, str]:
    return {step["name"]: step["run"] for step in GITHUB["jobs"]["compare"]["steps"] if "run" in step}


def test_the_snippets_are_what_github_and_gitlab_accept():
    for snippet, schema in ((GITHUB, "github-workflows"), (GITLAB, "gitlab-ci")):
        rules = json.loads((SCHEMAS / f"{schema}.json").read_text())
        checker = jsonschema.validators.validator_for(rules)(rules)
        assert list(checker.iter_errors(snippet)) == []


def test_the_policy_of_the_readme_is_one():
    gate = gate_of(tomllib.loads(POLICY))
    assert (gate.fail_on, gate.ignore.tasks, gate.policy().families[1].metrics) == (
        "regressed",
        ("flaky-*",),
        ("work_steps", "wall_time"),
    )


def test_the_steps_for_github_install_compare_and_keep_one_comment(repository: Path):
    workflow = steps()
    wheel = {"QUARTERMASTER": GITHUB["jobs"]["compare"]["env"]["QUARTERMASTER"]}
    installed = run(workflow["Install"], repository, **wheel)
    assert installed.returncode == 0, installed.stderr
    summary = repository / "summary.md"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    compared = run(workflow["Compare"], repository, **github)
    assert compared.returncode == 1, compared.stderr
    assert compared.stdout.startswith("Regressed")
    assert "::error file=recordings/candidate,line=1,title=sets%3A mission_success::" in compared.stderr
    assert summary.read_text() == (repository / "report.md").read_text()
    assert "> [!CAUTION]" in summary.read_text()

    (repository / "known-comment").touch()
    pull_request = {"GITHUB_REPOSITORY": "us/agent", "NUMBER": "7"}
    assert run(workflow["Comment"], repository, **pull_request).returncode == 0
    (repository / "known-comment").write_text("42\n43\n")
    assert run(workflow["Comment"], repository, **pull_request).returncode == 0
    calls = (repository / "gh-calls").read_text().splitlines()
    assert [call for call in calls if "-X" in call] == [
        "api -X POST repos/us/agent/issues/7/comments -F body=@report.md",
        "api -X PATCH repos/us/agent/issues/comments/42 -F body=@report.md",
    ]


def test_the_steps_for_gitlab_install_and_compare(repository: Path):
    install, compare = GITLAB["agent"]["script"]
    assert run(install, repository, **GITLAB["agent"]["variables"]).returncode == 0
    compared = run(compare, repository)
    assert compared.returncode == 1, compared.stderr
    for artifact in (
        *GITLAB["agent"]["artifacts"]["paths"],
        GITLAB["agent"]["artifacts"]["reports"]["junit"],
    ):
        assert (repository / artifact).is_file()
