"""A report as a terminal shows it: no line wider than the window, colour where it is wanted."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final
from unicodedata import combining, east_asian_width

_COLOURS: Final = {
    "regressed": "31",
    "breach": "31",
    "inconclusive": "33",
    "drift": "33",
    "not comparable": "33",
    "improved": "32",
    "unchanged": "32",
    "no regression": "32",
}
_GAP: Final = "  "


def lay_out(markdown: str, *, width: int | None = None, colour: bool = False) -> str:
    """A report in Markdown, for people who read it in a terminal. `width` None wraps nothing."""
    blocks: list[str] = []
    for is_table, lines in groupby(markdown.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            head, _, *rows = ([plain(cell) for cell in line[2:-2].split(" | ")] for line in lines)
            blocks += _table(head, rows, width, colour=colour)
        else:
            blocks += (shown for line in lines for shown in _line(line, width, colour=colour))
    return "\n".join(blocks).strip("\n")


def plain(markdown: str) -> str:
    """A text without its markup, and without characters that could steer a terminal."""
    text, escaped = "", False
    for char in markdown.replace("**", ""):
        if escaped or char not in "\\`":
            text += char if char.isprintable() else "\ufffd"
            escaped = False
        else:
            escaped = char == "\\"
    return text


def _line(line: str, width: int | None, *, colour: bool) -> Iterator[str]:
    text = plain(line.lstrip("# "))
    if line.startswith("#"):
        code = _COLOURS.get(text.lower()) if colour else None
        yield from (
            _painted(one, f"1;{code}" if code else "1" if colour else None) for one in wrap(text, width)
        )
        return
    bullet = len(text) - len(text.lstrip(" -"))
    yield from wrap(text, width, indent=bullet)


def wrap(text: str, width: int | None, *, indent: int = 0) -> list[str]:
    """The text in lines of at most so many columns; those after the first begin with `indent` blanks.

    A word that is wider than a line is cut, so that nothing hangs out.
    """
    if width is None or columns(text) <= width:
        return [text]
    lines, line = [], ""
    for word in _words(text, max(width - indent, 1)):
        joined = f"{line}{word}"
        if columns(joined.rstrip()) <= width or not line.strip():
            line = joined
        else:
            lines.append(line.rstrip())
            line = " " * indent + word.lstrip()
    return [*lines, line.rstrip()]


def _words(text: str, width: int) -> Iterator[str]:
    """Words with the blanks before them, none wider than a line."""
    word = ""
    for char in text:
        starts = char == " " and word.strip()
        if starts or columns(word.strip() + char) > width:
            yield word
            word = ""
        word += char
    if word:
        yield word


def columns(text: str) -> int:
    """How many columns a terminal needs for it."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, *, colour: bool
) -> list[str]:
    """Aligned columns; where they are too wide, each row as a block of its own."""
    widths = [max(columns(row[index]) for row in (head, *rows)) for index in range(len(head))]
    if width is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
        return [_aligned(row, widths, colour=colour) for row in (head, *rows)]
    return [line for row in rows for line in _block(head, row, width)]


def _aligned(row: Sequence[str], widths: Sequence[int], *, colour: bool) -> str:
    cells = (
        _painted(cell, _COLOURS.get(cell) if colour else None) + " " * (wide - columns(cell))
        for cell, wide in zip(row, widths, strict=True)
    )
    return _GAP.join(cells).rstrip()


def _block(head: Sequence[str], row: Sequence[str], width: int) -> Iterator[str]:
    yield from wrap(row[0], width)
    for name, cell in zip(head[1:], row[1:], strict=True):
        if cell:
            yield from wrap(f"{_GAP}{name}: {cell}" if name else f"{_GAP}{cell}", width, indent=4)


def _painted(text: str, code: str | None) -> str:
    return text if code is None else f"\x1b[{code}m{text}\x1b[0m"
