"""The pytest plugin, in test runs of its own: recording, trials, baselines, xdist."""

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import quartermaster as qm

pytest_plugins = ["pytester"]

AGENT = """
import pytest

@pytest.mark.trials(3)
@pytest.mark.parametrize("size", ["small", "large"])
def test_checkout(quartermaster, size):
    with quartermaster.record(variant="v1") as mission:
        mission.model_call("gpt-5", input_tokens=100, output_tokens=10, cost_usd=0.01)
        for number in range(10):
            mission.tool_call("search", exit_code=FAILS if number == 0 else 0)
    assert quartermaster.trial in (0, 1, 2)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs the tests of the folder in a process of its own, with this plugin and xdist alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def in_process(*arguments: object) -> pytest.RunResult:
        plugins = ("-p", "quartermaster.pytest_plugin", "-p", "xdist", "-p", "no:cacheprovider")
        return pytester.runpytest_subprocess(*plugins, *map(str, arguments))

    return in_process


def agent(pytester: pytest.Pytester, *, fails: int = 0) -> None:
    pytester.makepyfile(test_agent=AGENT.replace("FAILS", str(fails)))


def test_missions_are_recorded_as_trials_of_one_task_and_kept(pytester, run):
    agent(pytester)
    done = run("--quartermaster-missions", "kept", "--strict-markers")
    done.assert_outcomes(passed=6)
    done.stdout.fnmatch_lines(["*= quartermaster =*", "6 missions recorded"])
    missions = qm.read(pytester.path / "kept")
    assert {one.task for one in missions} == {
        f"test_agent.py::test_checkout[{size}]" for size in ("small", "large")
    }
    assert sorted(one.trial for one in missions) == [0, 0, 1, 1, 2, 2]
    assert {one.total_cost_usd for one in missions} == {0.01}


def test_the_outcome_of_the_test_is_that_of_a_mission_whose_outcome_nobody_told(pytester, run):
    pytester.makepyfile(
        """
        def test_good(quartermaster):
            quartermaster.record(task="good").tool_call("ls")

        def test_bad(quartermaster):
            quartermaster.record(task="bad").tool_call("ls")
            assert False

        def test_told(quartermaster):
            quartermaster.record(task="told").outcome("timed_out")
        """
    )
    run("--quartermaster-missions", "kept").assert_outcomes(passed=2, failed=1)
    outcomes = {one.task: one.outcome for one in qm.read(pytester.path / "kept")}
    assert outcomes == {"good": "succeeded", "bad": "failed", "told": "timed_out"}


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "two workers"])
def test_a_run_that_is_worse_than_its_baseline_fails_and_writes_the_report(pytester, run, workers: int):
    agent(pytester)
    run("-n", workers, "--quartermaster-missions", "baseline").assert_outcomes(passed=6)
    assert len(qm.read(pytester.path / "baseline")) == 6
    same = run("-n", workers, "--quartermaster-baseline", "baseline")
    assert same.ret == 0, same.stdout.str()
    agent(pytester, fails=1)
    policy = pytester.path / "policy.toml"
    policy.write_text('fail_on = "breach"\n')
    done = run(
        *("-n", workers, "--quartermaster-baseline", "baseline"),
        *("--quartermaster-report", "report.json", "--quartermaster-policy", policy),
    )
    done.assert_outcomes(passed=6)
    assert done.ret == 1
    done.stdout.fnmatch_lines(["6 missions recorded"])
    report = json.loads((pytester.path / "report.json").read_text())
    assert report["kind"] == "comparison"
    assert report["comparison"]["population"]["candidate"]["missions"] == 6


def test_a_test_holds_recordings_against_a_baseline(pytester, run, samples: Path):
    pytester.makepyfile(
        f"""
        def test_worse(quartermaster):
            both = quartermaster.read({str(samples / "native")!r})
            quartermaster.assert_no_regression(both[:1], both[1:])

        def test_same(quartermaster):
            both = quartermaster.read({str(samples / "native")!r})
            assert quartermaster.assert_no_regression(both[:1], both[:1]).verdict == "unchanged"

        def test_loose(quartermaster):
            both = quartermaster.read({str(samples / "native")!r})
            quartermaster.assert_no_regression(both[:1], both[1:], {{"fail_on": "never"}})
        """
    )
    done = run()
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["Regressed", "- tool success dropped 48.1% (> 5% threshold)"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--quartermaster-report", "r.json"), "*--quartermaster-report needs --quartermaster-baseline*"),
        (("--quartermaster-baseline", "nowhere"), "*there is no file or folder 'nowhere'*"),
        (("--quartermaster-baseline", ".", "--quartermaster-report", "r.doc"), "*must end in .json*"),
    ],
    ids=["report alone", "no baseline", "suffix"],
)
def test_options_that_cannot_be_meant_are_refused_before_any_test_runs(pytester, run, arguments, words):
    agent(pytester)
    done = run(*arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([words])


def test_a_marker_without_a_number_is_an_error(pytester, run):
    pytester.makepyfile("import pytest\n@pytest.mark.trials('many')\ndef test_it(): ...\n")
    done = run()
    assert done.ret != 0
    done.stdout.fnmatch_lines(["*trials(n) takes one whole number above zero*"])


def test_a_run_that_does_not_use_the_plugin_loads_nothing_of_it(pytester, run):
    pytester.makepyfile(
        """
        import sys

        def test_plain():
            loaded = {name for name in sys.modules if name.startswith("quartermaster")}
            assert loaded == {"quartermaster", "quartermaster.pytest_plugin"}
            assert not {"msgspec", "click", "httpx", "structlog", "numpy"} & set(sys.modules)
        """
    )
    done = run()
    done.assert_outcomes(passed=1)
    assert "missions recorded" not in done.stdout.str()


def test_the_example_of_the_readme_runs(tmp_path: Path, samples: Path):
    (tmp_path / "recordings").symlink_to(samples / "native")
    done = subprocess.run(
        [sys.executable, "-c", example(0)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demo-login-fix-candidate: tool success dropped 48.1%")
    assert (tmp_path / "report.html").is_file()


MY_AGENT = """
class Answer:
    tokens, cost, found = 120, 0.01, 'a book'


def ask(_):
    return Answer()
"""


def test_the_test_of_the_readme_runs(pytester, run):
    pytester.makepyfile(test_readme=example(1), my_agent=MY_AGENT)
    run("--quartermaster-missions", "baseline").assert_outcomes(passed=5)
    again = run("--quartermaster-baseline", "baseline", "--quartermaster-report", "report.md")
    again.assert_outcomes(passed=5)
    assert again.ret == 0
    assert (pytester.path / "report.md").read_text().startswith("<!-- quartermaster-report -->")


def example(number: int) -> str:
    """A block of Python of the README's section."""
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    section = readme.split("\n## From Python and pytest\n", 1)[1].split("\n## ", 1)[0]
    return section.split("```python\n")[number + 1].split("\n```", 1)[0] + "\n"


@pytest.mark.skipif(
    os.environ.get("QUARTERMASTER_TEST_INSTALLED") != "1", reason="only where an installed wheel is tested"
)
def test_pytest_finds_the_plugin_by_itself(pytestconfig: pytest.Config):
    (found,) = entry_points(group="pytest11", name="quartermaster")
    assert found.value == "quartermaster.pytest_plugin"
    assert pytestconfig.pluginmanager.has_plugin("quartermaster")
