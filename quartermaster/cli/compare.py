"""`quartermaster compare`: is the candidate worse than the baseline?"""

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from quartermaster import __version__
from quartermaster.cli import completing
from quartermaster.cli.capsules import (
    BASELINE,
    freeze_recordings,
    head_for,
    is_there,
    judge,
    names_capsule,
    read_capsule,
    write_evidence,
)
from quartermaster.cli.options import home_option, open_target, settings_for
from quartermaster.cli.policy import read_gate, require_plain
from quartermaster.cli.reporting import Wanted, deliver, report_options
from quartermaster.cli.target import Row, Target, find_mission_id
from quartermaster.config import Settings, profile_of
from quartermaster.core.gate import FAIL_ON, FailOn, Gate
from quartermaster.core.selection import Selection, selection_of
from quartermaster.errors import NotFound, UsageError

if TYPE_CHECKING:
    from quartermaster.freezing import Side

REGRESSED: Final = 1
NO_VERDICT: Final = 3
FAILED: Final = 10

_LISTED: Final = "`quartermaster missions` lists what there is"


@click.command("compare")
@click.argument("baseline", shell_complete=completing.sides)
@click.argument("candidate", shell_complete=completing.sides)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    help="What makes the exit code 1. Default: a breach between two missions, a regression of two sets.",
)
@click.option("--strict", is_flag=True, help="Exit with 3 when there is no verdict.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Thresholds, families, what is ignored, what fails (TOML). Default: [policy] of quartermaster.toml.",
)
@click.option("--baseline-variant", metavar="NAME", help="Only this variant of the recordings BASELINE.")
@click.option("--candidate-variant", metavar="NAME", help="Only this variant of the recordings CANDIDATE.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also keep what `verify` needs: one .json file, or a folder of report and capsules.",
)
@home_option
@click.option("--url", metavar="URL", help="A daemon elsewhere (QUARTERMASTER_URL).")
@click.option("--token", metavar="TOKEN", help="The token for it (QUARTERMASTER_TOKEN).")
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@report_options
def command(
    *,
    baseline: str,
    candidate: str,
    fail_on: FailOn | None,
    strict: bool,
    baseline_variant: str | None,
    candidate_variant: str | None,
    evidence: Path | None,
    home: Path | None,
    url: str | None,
    token: str | None,
    workspace: str | None,
    policy: Path | None,
    wanted: Wanted,
) -> int:
    """Say whether CANDIDATE is worse than BASELINE.

    Each is a file or folder of recordings (no daemon and no home are needed then), a frozen baseline (a
    .qmb file, or baseline:NAME of a home), a mission id, or what is known of missions:
    task=checkout,variant=v2,since=2027-01-01T00:00:00Z. One mission against one is
    held against thresholds; sets are paired by task and tested, so that noise is told from regression.
    Result files of test programs (promptfoo, DeepEval, Inspect, pytest, JUnit XML) are recordings too;
    one file of two variants is held against itself with --baseline-variant and --candidate-variant.
    """
    from quartermaster.cli.recorded import Compared, compare_recorded
    from quartermaster.core.report import REPORTS
    from quartermaster.core.reports.cases import Context

    settings, sides = settings_for(home), (baseline, candidate)
    gate, variants = read_gate(policy, settings), (baseline_variant, candidate_variant)
    if evidence is None and all(map(_is_recorded, sides)):
        paths = Path(baseline), Path(candidate)
        compared = compare_recorded(*paths, settings, gate, with_steps=wanted.shows_steps, variants=variants)
    elif any(variants):
        raise UsageError("--baseline-variant and --candidate-variant are for recordings; write variant=NAME")
    else:
        require_plain(gate, settings)
        opened = partial(open_target, home=home, url=url, token=token, workspace=workspace, create=False)
        row = compare_sides(sides, settings, opened, evidence)
        compared = Compared(report=msgspec.convert(row, REPORTS[row["kind"]]))
    context = Context(
        version=__version__,
        fail_on=fail_on or gate.fail_on,
        candidate=Path(candidate).as_posix() if _is_recorded(candidate) else None,
        files=compared.files,
        steps=compared.steps,
    )
    deliver(compared.report, context, wanted)
    return exit_code(_row(compared.report), context.fail_on, strict=strict or gate.strict)


def _is_recorded(side: str) -> bool:
    return is_there(side) and not names_capsule(side)


def compare_sides(
    sides: tuple[str, str], settings: Settings, opened: Callable[[], Target], evidence: Path | None
) -> Row:
    """The report of two sides, whatever each of them is; `opened` opens the home or daemon if need be."""
    recorded = [is_there(side) for side in sides]
    frozen = [names_capsule(side) for side in sides]
    kept = [side.startswith(BASELINE) for side in sides]
    if any(frozen) or evidence is not None or (any(kept) and any(recorded)):
        return _compare_frozen(sides, settings, opened, evidence)
    if not any(recorded):
        with closing(opened()) as target:
            return _compare_known(target, *sides)
    if not all(recorded):
        missing = sides[recorded.index(False)]
        raise NotFound(f"there is no file or folder {missing!r}; compare recordings with recordings")
    return compare_recordings(Path(sides[0]), Path(sides[1]), settings)


def _compare_frozen(
    sides: tuple[str, str], settings: Settings, opened: Callable[[], Target], evidence: Path | None
) -> Row:
    before, after = (
        freeze_side(text, side, settings, opened)
        for text, side in zip(sides, ("baseline", "candidate"), strict=True)
    )
    report: Row = msgspec.to_builtins(judge(before.capsule, after.capsule, settings))
    if evidence is not None:
        write_evidence(evidence, report, {one.sealed.digest: one.sealed.data for one in (before, after)})
    return report


def freeze_side(text: str, side: str, settings: Settings, opened: Callable[[], Target]) -> "Side":
    """What a person named, as a capsule: a file of one, recordings, or missions and baselines of a home."""
    if names_capsule(text):
        return read_capsule(Path(text))
    if is_there(text):
        return freeze_recordings(Path(text), side, settings, head_for(settings))
    with closing(opened()) as target:
        from quartermaster.cli.local import Local

        if not isinstance(target, Local):
            raise UsageError(f"{side}: {text!r} lies in a daemon elsewhere; run this on its machine")
        described = text if "=" in text or text.startswith(BASELINE) else f"{text},"
        return target.side(selection_of(described_side(target, described, side), side))


def compare_recordings(baseline: Path, candidate: Path, settings: Settings) -> Row:
    """The report of two files or folders; nothing is left behind."""
    from quartermaster.cli.recorded import compare_recorded

    gate = Gate(thresholds=profile_of(settings))
    return _row(compare_recorded(baseline, candidate, settings, gate).report)


def _row(report: Any) -> Row:
    document: Row = msgspec.json.decode(msgspec.json.encode(report))
    return document


def _compare_known(target: Target, baseline: str, candidate: str) -> Row:
    sides = {"baseline": baseline, "candidate": candidate}
    for text in sides.values():
        if "/" in text and not any(mark in text for mark in "=,:") and not target.mission_ids(text, 1):
            raise NotFound(f"there is no file, folder or mission {text!r}")
    alone = not any(mark in candidate for mark in "=,:")
    if baseline.startswith(BASELINE) and alone:
        one = find_mission_id(target, candidate)
        body: dict[str, Any] = {"baseline": baseline.removeprefix(BASELINE), "candidate_mission_id": one}
        row = target.evaluate("regression", body, wait=True)
    elif not any(mark in text for text in sides.values() for mark in "=,") and not _any_baseline(sides):
        body = {f"{side}_mission_id": find_mission_id(target, text) for side, text in sides.items()}
        row = target.evaluate("regression", body, wait=True)
    else:
        body = {side: described_side(target, text, side) for side, text in sides.items()}
        row = target.evaluate("comparisons", body, wait=True)
    if row["status"] == "failed":
        raise UsageError(f"the comparison failed: {row.get('result') or row.get('reason')}")
    report: Row = row["report"]
    if report["kind"] == "comparison":
        for side, described in sides.items():
            if not report["comparison"]["population"][side]["missions"]:
                raise NotFound(f"{side}: no mission is selected by {described!r}; {_LISTED}")
    return report


def _any_baseline(sides: Mapping[str, str]) -> bool:
    return any(text.startswith(BASELINE) for text in sides.values())


def described_side(target: Target, text: str, side: str) -> Any:
    """Ids with commas between them, or fields as `name=value`; other names are those of labels."""
    if text.startswith(BASELINE):
        return {"baseline": text.removeprefix(BASELINE)}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not any("=" in part for part in parts):
        return [find_mission_id(target, part) for part in parts]
    fields: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{side}: {part!r} is not of the form name=value")
        known = name in Selection.__struct_fields__ and name not in ("mission_ids", "labels")
        (fields if known else fields.setdefault("labels", {}))[name] = value
    selection_of(fields, side)
    return fields


def exit_code(report: Row, fail_on: FailOn | None, *, strict: bool) -> int:
    """1 where what is asked for went wrong, 3 where nothing can be said and that is asked for."""
    wanted = fail_on or ("regressed" if report["kind"] == "comparison" else "breach")
    if wanted != "never" and _wrong(report, wanted):
        return REGRESSED
    unsaid = report["verdict"] in ("inconclusive", "not comparable", "not_comparable")
    return NO_VERDICT if strict and unsaid else 0


def _wrong(report: Row, wanted: FailOn) -> bool:
    if report["kind"] == "comparison":
        metrics = report["comparison"]["metrics"]
        if wanted == "breach":
            return any(metric["breach"] for metric in metrics)
        return bool(report["comparison"]["fails"])
    pairs = [pair for pair in report.get("pairs", [report]) if not _continued(pair)]
    if wanted == "breach":
        return any(pair["regressed"] for pair in pairs)
    grades = {evidence["grade"] for pair in pairs for evidence in pair["evidence"].values()}
    return bool(grades & {"outside-noise", "within-run"})


def _continued(pair: Row) -> bool:
    changes = (pair.get("difference") or {}).get("changes", ())
    return any(change["kind"] == "continuation" for change in changes)


def as_text(report: Row, form: str) -> str:
    """A report for people."""
    from quartermaster.cli.eval import report_text

    return report_text(report, form)
