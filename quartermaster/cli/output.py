"""What a command prints: rows as a table, as JSON, as one JSON object a line, or as Markdown."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

import click
import msgspec

Row = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

FORMATS: Final = ("table", "json", "ndjson", "markdown")
_ID_WIDTH: Final = 20
_GAP: Final = 3


class Column(msgspec.Struct, frozen=True):
    """One column of a table: its heading and how a row's cell is written."""

    heading: str
    cell: Callable[[Row], object]
    right: bool = False


def format_option(function: F) -> F:
    """Adds `--format`."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="How to print.",
    )(function)


def field(heading: str, key: str, *, right: bool = False) -> Column:
    """A column that shows one field of the row."""
    return Column(heading, lambda row: row.get(key), right)


def print_rows(form: str, rows: Iterable[Row], columns: Sequence[Column]) -> None:
    """Rows in the wanted form; the JSON forms hold whole rows, whatever the columns."""
    if form == "ndjson":
        for row in rows:
            write(_json(row))
        return
    rows = list(rows)
    if form == "json":
        write(_json(rows))
        return
    if form == "table" and sys.stdout.isatty():
        _print_for_terminal(*_cells(rows, columns))
    else:
        write(table(form, rows, columns))


def print_document(form: str, document: Row, as_text: Callable[[], str]) -> None:
    """One document: JSON in the JSON forms, else its text."""
    write(_json(document) if form in ("json", "ndjson") else as_text().rstrip("\n"))


def table(form: str, rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """Rows as a text: a pipe table in Markdown, else aligned columns."""
    draw = markdown_table if form == "markdown" else plain_table
    return draw(*_cells(rows, columns))


_MARKUP: Final = re.compile(r"\\([\\`*_\[\]<>|#])|\*\*|`")


def _plain(text: str) -> str:
    return _MARKUP.sub(lambda found: found[1] or "", text)


def without_markup(markdown: str) -> str:
    """A Markdown report as it reads well in a terminal: tables aligned, headings and quotes without signs."""
    blocks: list[str] = []
    for is_table, lines in groupby(markdown.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            headings, _, *cells = [line[2:-2].split(" | ") for line in lines]
            cells = [[_plain(cell) for cell in row] for row in cells]
            blocks.append(plain_table(headings, cells, [False] * len(headings)))
        else:
            blocks.extend(printable(_plain(line.lstrip("# "))) for line in lines)
    return "\n".join(blocks)


def _cells(rows: Iterable[Row], columns: Sequence[Column]) -> tuple[list[str], list[list[str]], list[bool]]:
    cells = [[text(column.cell(row)) for column in columns] for row in rows]
    return [column.heading for column in columns], cells, [column.right for column in columns]


def plain_table(headings: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Aligned columns, two spaces apart."""
    lines = [list(headings), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def markdown_table(headings: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A pipe table."""
    rule = ["---:" if is_right else "---" for is_right in right]
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in line] for line in cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(headings), rule, *escaped])


def text(value: object) -> str:
    """A value as one printable line: control characters of a recording must not reach a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    said = value if isinstance(value, str) else _json(value)
    return printable(said.replace("\n", " "))


def printable(line: str) -> str:
    """The line with every character that could steer a terminal replaced."""
    return line if line.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in line)


def write(line: str) -> None:
    """One line of data on stdout."""
    data = (line + "\n").encode("utf-8", "replace")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def tell(line: str) -> None:
    """One line of talk on stderr."""
    sys.stderr.write(printable(line) + "\n")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _print_for_terminal(
    headings: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(no_color="NO_COLOR" in os.environ or None)
    if cells and _least_width(headings, cells) > console.width:
        write(_records(headings, cells))
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading, is_right in zip(headings, right, strict=True):
        drawn.add_column(heading, justify="right" if is_right else "left", overflow="fold")
    for line in cells:
        drawn.add_row(*(Text(cell) for cell in line))
    console.print(drawn)


def _least_width(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Columns that a drawn table takes when only words longer than an id are folded."""
    widest = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    return sum(min(width, _ID_WIDTH) + _GAP for width in widest) - _GAP


def _records(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A block of lines a row, for a terminal that is too narrow for a table; empty cells are left out."""
    width = max(map(len, headings))
    blocks = (
        "\n".join(f"{name.ljust(width)}  {cell}" for name, cell in zip(headings, line, strict=True) if cell)
        for line in cells
    )
    return "\n\n".join(blocks)
