"""The pytest plugin: tests record missions, are run several times as trials, and hold what they recorded
against a baseline.

Everything heavy is imported when it is first used, so that a test run without it starts as fast as before.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from quartermaster.library import Missions, Policy, Report
    from quartermaster.recorder import Recorder

_BASELINE: Final = "--quartermaster-baseline"
_REPORT: Final = "--quartermaster-report"
_POLICY: Final = "--quartermaster-policy"
_MISSIONS: Final = "--quartermaster-missions"
_FOLDER: Final = "quartermaster_folder"
_SHOWN_LINES: Final = 12
_MARKER: Final = (
    "trials(n): run the test n times, each as one trial of one task (`quartermaster.trial` counts from 0)"
)

_folder = pytest.StashKey[Path]()
_session = pytest.StashKey["_Outcome"]()
_recorders = pytest.StashKey[list["Recorder"]]()
_failed = pytest.StashKey[bool]()


class Quartermaster:
    """What a test gets as `quartermaster`."""

    def __init__(self, folder: Path, item: pytest.Item, recorders: "list[Recorder]", trial: int) -> None:
        self.folder = folder
        """Where this run's missions are recorded, those of all tests and workers together."""
        self.trial = trial
        self._item = item
        self._recorders = recorders

    @property
    def task(self) -> str:
        """The test's own name, the same for each of its trials."""
        return _task_of(self._item)

    def record(self, *, task: str | None = None, variant: str | None = None, **facts: Any) -> "Recorder":
        """Begin a mission. It ends with the test at the latest; where nobody told its outcome, that of the
        test is it."""
        from quartermaster.recorder import record  # noqa: PLC0415 - see above

        task = task or self.task
        trial = facts.pop("trial", self.trial)
        several = sum(one.mission_id.startswith(f"{task}-{trial}") for one in self._recorders)
        mission_id = facts.pop("mission_id", f"{task}-{trial}" + (f"-{several}" if several else ""))
        recorder = record(
            self.folder, task=task, variant=variant, trial=trial, mission_id=mission_id, **facts
        )
        self._recorders.append(recorder)
        return recorder

    def read(self, paths: Any) -> "Missions":
        """Missions of files, folders and archives."""
        from quartermaster.library import read  # noqa: PLC0415 - see above

        return read(paths)

    def compare(
        self,
        baseline: Any,
        candidate: Any,
        policy: "Policy | None" = None,
    ) -> "Report":
        """The report of two sides, each as `quartermaster.compare` takes them."""
        from quartermaster.library import compare  # noqa: PLC0415 - see above

        return compare(baseline, candidate, policy)

    def assert_no_regression(
        self,
        baseline: Any,
        candidate: Any,
        policy: "Policy | None" = None,
    ) -> "Report":
        """The report of two sides; the test fails with its first lines where the candidate is worse."""
        __tracebackhide__ = True
        report = self.compare(baseline, candidate, policy)
        if report.fails:
            pytest.fail(_first_lines(report), pytrace=False)
        return report


class _Outcome:
    """What the comparison at the end of a run came to."""

    def __init__(self, missions: int, report: "Report | None" = None, error: str | None = None) -> None:
        self.missions = missions
        self.report = report
        self.error = error


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("quartermaster", "missions of AI agents")
    group.addoption(
        _BASELINE,
        metavar="PATH",
        help="Hold the missions that the tests record against these; the run fails where they are worse.",
    )
    group.addoption(
        _REPORT,
        metavar="FILE",
        help="Write the report of that comparison (.json, .md, .xml, .sarif or .html by its suffix).",
    )
    group.addoption(_POLICY, metavar="FILE", help="The policy of that comparison.")
    group.addoption(
        _MISSIONS, metavar="DIR", help="Keep the recorded missions there, as a baseline for a later run."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    if config.getoption(_REPORT) and not config.getoption(_BASELINE):
        raise pytest.UsageError(f"{_REPORT} needs {_BASELINE}: without one there is nothing to compare")
    baseline = config.getoption(_BASELINE)
    if baseline and not os.path.exists(baseline):
        raise pytest.UsageError(f"{_BASELINE}: there is no file or folder {baseline!r}")
    _require_suffix(config.getoption(_REPORT))


def _require_suffix(report: str | None) -> None:
    if report and not report.endswith((".json", ".md", ".xml", ".sarif", ".html")):
        raise pytest.UsageError(f"{_REPORT}: {report!r} must end in .json, .md, .xml, .sarif or .html")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of xdist records into a folder of the one who started it."""
    node.workerinput[_FOLDER] = str(_folder_of(node.config))


def _folder_of(config: pytest.Config) -> Path:
    """Where this run records; made when it is first asked for."""
    if _folder not in config.stash:
        given = getattr(config, "workerinput", {}).get(_FOLDER)
        made = Path(given) if given else Path(tempfile.mkdtemp(prefix="quartermaster-pytest-"))
        config.stash[_folder] = made
    return config.stash[_folder]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("trials")
    if marker is None:
        return
    if "n" in marker.kwargs or len(marker.args) == 1:
        n = marker.kwargs.get("n", marker.args[0] if marker.args else None)
        if isinstance(n, int) and n > 0:
            metafunc.fixturenames.append("_quartermaster_trial")
            metafunc.parametrize("_quartermaster_trial", range(n), ids=[f"trial{one}" for one in range(n)])
            return
    raise pytest.UsageError(f"{metafunc.definition.nodeid}: trials(n) takes one whole number above zero")


@pytest.fixture
def _quartermaster_trial() -> int:
    return 0


@pytest.fixture
def quartermaster(request: pytest.FixtureRequest) -> "Iterator[Quartermaster]":
    """Records missions, reads and compares them. `quartermaster.record()` begins one."""
    item = request.node
    recorders: list[Recorder] = []
    item.stash[_recorders] = recorders
    yield Quartermaster(_folder_of(request.config), item, recorders, _trial_of(item))
    failed = item.stash.get(_failed, False)
    for recorder in recorders:
        if recorder.open and recorder.told is None:
            recorder.outcome("failed" if failed else "succeeded", origin="verifier")
        recorder.end()


def _trial_of(item: Any) -> int:
    return int(item.callspec.params.get("_quartermaster_trial", 0)) if hasattr(item, "callspec") else 0


def _task_of(item: Any) -> str:
    """The node's id without the number of the trial."""
    nodeid: str = item.nodeid
    head, bracket, inside = nodeid.rstrip("]").partition("[")
    kept = [part for part in inside.split("-") if part != f"trial{_trial_of(item)}"]
    return head + (f"[{'-'.join(kept)}]" if bracket and kept else "")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_failed] = True
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Once, where the run was started: the missions of all workers are kept and compared."""
    config = session.config
    if hasattr(config, "workerinput") or _folder not in config.stash:
        return
    folder = config.stash[_folder]
    missions = sorted(folder.glob("*.ndjson"))
    kept = config.getoption(_MISSIONS)
    try:
        config.stash[_session] = outcome = _compared(config, folder, len(missions))
        if kept and missions:
            shutil.copytree(folder, kept, dirs_exist_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    worse = outcome.error is not None or (outcome.report is not None and outcome.report.fails)
    if worse and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _compared(config: pytest.Config, folder: Path, missions: int) -> _Outcome:
    baseline = config.getoption(_BASELINE)
    if not baseline:
        return _Outcome(missions)
    from quartermaster.errors import QuartermasterError  # noqa: PLC0415 - see above
    from quartermaster.library import compare  # noqa: PLC0415

    try:
        report = compare(baseline, folder, config.getoption(_POLICY))
        if config.getoption(_REPORT):
            report.save(config.getoption(_REPORT))
    except QuartermasterError as error:
        return _Outcome(missions, error=str(error))
    return _Outcome(missions, report)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    outcome = config.stash.get(_session, None)
    if outcome is None or not (outcome.missions or outcome.error):
        return
    terminalreporter.section("quartermaster")
    terminalreporter.line(f"{outcome.missions} missions recorded")
    if outcome.error is not None:
        terminalreporter.line(f"not compared: {outcome.error}", red=True)
    elif outcome.report is not None:
        terminalreporter.line(_first_lines(outcome.report), red=outcome.report.fails)


def _first_lines(report: "Report") -> str:
    lines = [line for line in report.text(width=100).splitlines() if line]
    return "\n".join(lines[:_SHOWN_LINES])
