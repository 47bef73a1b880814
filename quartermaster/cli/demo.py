"""`quartermaster demo`: the whole way on recorded sample missions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from quartermaster.cli import output
from quartermaster.cli.eval import report_text
from quartermaster.cli.ingest import print_ledger
from quartermaster.cli.options import home_option, settings_for
from quartermaster.cli.packaged import packaged
from quartermaster.cli.target import Row, Target

BASELINE: Final = "demo-login-fix-baseline"
CANDIDATE: Final = "demo-login-fix-candidate"
FORMATS: Final = ("native", "claude_code", "codex_cli", "otlp_json", "tau_bench")
"""Of all formats that have samples, those that the demo shows."""


@click.command("demo")
@home_option
def command(home: Path | None) -> None:
    """Show the whole way on recorded sample missions: ingest, replay, regression, report."""
    from quartermaster.cli.local import open_local

    with _folder(home) as folder, packaged("samples") as recordings:
        target = open_local(settings_for(folder), None, create=True)
        try:
            _show(target, recordings)
        finally:
            target.close()
    output.write(_next_steps(home))


@contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    if home is not None:
        yield home
        return
    with TemporaryDirectory(prefix="quartermaster-demo-") as folder:
        yield Path(folder)


def _show(target: Target, recordings: Path) -> None:
    _step("1. Recordings become missions")
    folders = [recordings / name for name in FORMATS]
    ledgers = [_relative(ledger, recordings) for ledger in target.ingest(folders, lambda _: None)]
    print_ledger("table", ledgers)
    _step("2. A mission is replayed: put together again from its journal, and measured")
    _print_report(target.evaluate("replay", {"mission_id": BASELINE, "seed": 0}, wait=True))
    _step("3. Is the candidate worse than the baseline?")
    pair = {"baseline_mission_id": BASELINE, "candidate_mission_id": CANDIDATE, "seed": 0}
    _print_report(target.evaluate("regression", pair, wait=True))


def _step(title: str) -> None:
    output.write(f"\n{title}\n{'-' * len(title)}")


def _relative(ledger: Row, folder: Path) -> Row:
    return {**ledger, "path": str(Path(ledger["path"]).relative_to(folder))}


def _print_report(row: Row) -> None:
    output.write(report_text(row["report"], "table").rstrip())


def _next_steps(home: Path | None) -> str:
    kept = "" if home is None else f" --home {home}"
    look = f"\nlook around in what the demo has left:\n  quartermaster missions{kept}\n" if home else ""
    return f"""{look}
now with your own recordings, for example those of Claude Code:
  quartermaster ingest ~/.claude/projects{kept}
  quartermaster missions{kept}
  quartermaster eval regression BASELINE CANDIDATE --wait{kept}
or let the daemon watch them:
  quartermaster serve --inbox ~/.claude/projects{kept}"""
