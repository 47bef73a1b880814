"""`quartermaster eval`: replay missions, compare them, and read the results."""

from pathlib import Path
from typing import Final

import click
import msgspec

from quartermaster.cli import completing, output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target, find_mission_id, find_run_id
from quartermaster.errors import UsageError

REGRESSED: Final = 1
NO_VERDICT: Final = 3
FAILED: Final = 10

_LEAST_SEED: Final = -(2**63)
_seed_option = click.option(
    "--seed",
    type=click.IntRange(_LEAST_SEED, 2**63 - 1),
    default=0,
    metavar="N",
    help="Enters the signature.",
)
_wait_option = click.option("--wait", is_flag=True, help="Wait for the result and print its report.")
_strict_option = click.option("--strict", is_flag=True, help="Exit with 3 when there is no verdict.")


@click.group("eval")
def command() -> None:
    """Replay missions, compare them, and read the results.

    A replay is observational: it puts together what was recorded. No agent is run, no model is called.
    """


@command.command("replay")
@click.argument("mission", shell_complete=completing.missions)
@_seed_option
@_wait_option
@target_options()
@output.format_option
def replay(target: Target, mission: str, seed: int, wait: bool, form: str) -> int:
    """Rebuild MISSION from its journal and measure it."""
    body = {"mission_id": find_mission_id(target, mission), "seed": seed}
    return print_run(form, target.evaluate("replay", body, wait=wait), strict=False)


@command.command("regression")
@click.argument("baseline", shell_complete=completing.missions)
@click.argument("candidate", shell_complete=completing.missions)
@_seed_option
@_wait_option
@_strict_option
@target_options()
@output.format_option
def regression(  # noqa: PLR0917 - click passes them by name
    target: Target, baseline: str, candidate: str, seed: int, wait: bool, strict: bool, form: str
) -> int:
    """Say whether CANDIDATE is worse than BASELINE. Exits with 1 when it is."""
    body = {
        "baseline_mission_id": find_mission_id(target, baseline),
        "candidate_mission_id": find_mission_id(target, candidate),
        "seed": seed,
    }
    return print_run(form, target.evaluate("regression", body, wait=wait), strict=strict)


@command.command("runs")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@target_options()
@output.format_option
def runs(target: Target, limit: int, form: str) -> None:
    """List runs, newest first."""
    output.print_rows(form, target.runs(limit), _COLUMNS)


@command.command("get")
@click.argument("run", shell_complete=completing.runs)
@_strict_option
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also keep what `verify` needs: one .json file, or a folder of report and capsules.",
)
@target_options()
@output.format_option
def get(target: Target, run: str, strict: bool, evidence: Path | None, form: str) -> int:
    """Print RUN with its report. Exits like the command that would have waited for it."""
    row = target.run(find_run_id(target, run))
    if evidence is not None:
        _write_evidence(target, row, evidence)
    return print_run(form, row, strict=strict)


def _write_evidence(target: Target, row: Row, path: Path) -> None:
    from quartermaster.cli.capsules import write_evidence
    from quartermaster.cli.local import Local

    if not isinstance(target, Local):
        raise UsageError("the capsules of a run are in its home; run this on its machine, without --url")
    provenance = (row.get("report") or {}).get("provenance")
    if provenance is None:
        raise UsageError("this run has no capsules: only verdicts on two sides of a usual size have")
    wanted = {provenance["baseline"], provenance["candidate"]}
    capsules = {digest: target.capsule(digest) for digest in wanted}
    write_evidence(path, row["report"], {digest: data for digest, data in capsules.items() if data})


def print_run(form: str, row: Row, *, strict: bool) -> int:
    """A run and its report; the exit code that its result deserves."""
    output.print_document(form, row, lambda: _as_text(row, form))
    if row["status"] not in ("completed", "failed"):
        output.tell(f"read the result with: quartermaster eval get {row['id']}")
    return exit_code(row, strict=strict)


def exit_code(row: Row, *, strict: bool) -> int:
    """0, or what went wrong; a run that has not ended yet is nothing wrong."""
    if row["status"] == "failed":
        return FAILED
    if row["regressed"]:
        return REGRESSED
    verdict = (row.get("report") or {}).get("verdict")
    return NO_VERDICT if strict and verdict in ("inconclusive", "not comparable") else 0


def _as_text(row: Row, form: str) -> str:
    said = ": ".join(str(row[key]) for key in ("status", "reason", "result") if row.get(key))
    head = f"{row['id']}  {row['kind']}  {said}"
    if not row.get("report"):
        return output.printable(head)
    return output.printable(head) + "\n\n" + report_text(row["report"], form)


def report_text(report: object, form: str) -> str:
    """A report for people."""
    from quartermaster.core.report import REPORTS, render_markdown

    kind = report.get("kind") if isinstance(report, dict) else None
    markdown = render_markdown(msgspec.convert(report, REPORTS[str(kind)]))
    return markdown if form == "markdown" else output.without_markup(markdown)


_COLUMNS = (
    output.field("RUN", "id"),
    output.field("KIND", "kind"),
    output.field("STATUS", "status"),
    output.Column("MISSION", lambda row: row.get("mission_id") or row.get("candidate_mission_id")),
    output.field("BASELINE", "baseline_mission_id"),
    output.field("TOKENS", "total_tokens", right=True),
    output.field("COST USD", "total_cost_usd", right=True),
    output.field("CREATED", "created_at"),
    output.field("RESULT", "result"),
)
