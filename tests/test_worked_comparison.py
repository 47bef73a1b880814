"""The comparison that the README shows is what the program prints of those recordings."""

from pathlib import Path

from recorded import TRACES, needs_traces
from running import run_command

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


@needs_traces
def test_the_worked_comparison_is_what_the_command_prints(tmp_path: Path):
    shown = README.split("\n## A worked comparison\n", 1)[1].split("```markdown\n", 1)[1].split("\n```", 1)[0]
    names = ("retail_toolcalling__tasks00-39.json", "retail_assertions_0618__tasks00-39.json")
    paths = [str(TRACES / "tau_bench" / name) for name in names]
    printed = run_command(tmp_path, "compare", *paths, "--format", "markdown")
    assert printed.returncode == 1, printed.stderr
    assert shown in printed.stdout


@needs_traces
def test_the_comparison_without_a_verdict_is_what_the_command_prints(tmp_path: Path):
    shown = README.split("Two models of tau2-bench", 1)[1].split("```markdown\n", 1)[1].split("\n```", 1)[0]
    folder = TRACES / "tau2_bench"
    (before,) = folder.glob("*T11-33-36*_airline__agent_grok-3-mini_*.json")
    (after,) = folder.glob("*T11-40-16*_airline__agent_grok-3_*.json")
    printed = run_command(tmp_path, "compare", str(before), str(after), "--format", "markdown")
    assert printed.returncode == 0, printed.stderr
    for line in shown.splitlines():
        assert line in printed.stdout
