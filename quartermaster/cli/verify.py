"""`quartermaster verify`: a verdict given again, from its capsules alone."""

from pathlib import Path
from typing import Any, Final

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.capsules import find_capsules, read_bytes
from quartermaster.cli.target import Row
from quartermaster.errors import UsageError

DIFFERS: Final = 1


@click.command("verify")
@click.argument("report", type=click.Path(path_type=Path))
@output.format_option
def command(report: Path, form: str) -> int:
    """Compute the verdict of REPORT (JSON) again, and say whether it comes out the same, bit by bit.

    The capsules are inside of the report or lie beside it, as `compare --evidence` and `eval get
    --evidence` leave them. No home, no daemon and no network are needed. Exit codes: 0 identical,
    1 something differs, 2 it cannot be verified.
    """
    from quartermaster.core.frozen import read_report, verify

    document, embedded = _read(report)
    provenance = read_report(document).provenance
    assert provenance is not None
    wanted = {provenance.baseline, provenance.candidate}
    capsules = find_capsules(wanted, report.parent, embedded, lambda digest: None)
    verified = verify(document, capsules[provenance.baseline], capsules[provenance.candidate])
    row: Row = msgspec.to_builtins(verified)
    output.print_document(form, row, lambda: "\n".join(_lines(form, row)))
    return 0 if verified.identical else DIFFERS


def _read(path: Path) -> tuple[bytes, Row]:
    """The report, taken out of its run where it is shown with one, and the capsules inside of the file."""
    try:
        document: Any = msgspec.json.decode(read_bytes(path))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UsageError(f"{path} is no report: not valid JSON") from None
    if isinstance(document, dict) and isinstance(document.get("report"), dict):
        document = document["report"]
    if not isinstance(document, dict):
        raise UsageError(f"{path} is no report of a comparison")
    embedded = document.pop("capsules", {})
    if not isinstance(embedded, dict):
        raise UsageError("the capsules inside of the report are damaged")
    return msgspec.json.encode(document), embedded


def _lines(form: str, row: Row) -> list[str]:
    if row["identical"]:
        return [f"Identical: {row['verdict']}. {row['result']}"]
    return [
        f"It differs; recomputed, the verdict is: {row['verdict']}. {row['result']}",
        *(f"- {reason}" for reason in row["reasons"]),
        "",
        output.table(form, row["differences"], _COLUMNS),
    ]


_COLUMNS = (
    output.field("FIELD", "field"),
    output.field("IN THE REPORT", "told"),
    output.field("RECOMPUTED", "recomputed"),
)
