"""Makes the manual page from the program: python tests/manual_page.py > data/man/quartermaster.1"""

import re
import sys
from collections.abc import Iterator
from itertools import groupby

import click
from command_tree import every_command

from quartermaster import __version__
from quartermaster.cli import PROGRAM, cli
from quartermaster.cli.examples import EXAMPLES
from quartermaster.cli.nameless import NAMELESS
from quartermaster.cli.topics import readme, section

FILES = (
    (
        "~/.local/share/quartermaster",
        "The home folder, where neither an option nor a variable names one.",
    ),
    ("config.toml", "In the home folder: settings of this home."),
    ("inbox/WORKSPACE/", "In the home folder: what is dropped here is read."),
    ("token", "In the home folder: the token of its owner."),
    ("quartermaster.toml", "In the folder of a project: settings, and the policy of its gate."),
)


def page() -> str:
    """The whole page, in the macros of man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by tests/manual_page.py; a test holds it to the program.'
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"'
    about = (cli.help or "").split("\n\n")[0]
    yield from (".SH NAME", f"{PROGRAM} \\- tells you whether your AI agent got worse")
    yield from (".SH SYNOPSIS", f".B {PROGRAM}", r"\fICOMMAND\fR [\fIARGUMENT\fR ...]", ".br")
    yield from (f".B {PROGRAM}", r"\fICOMMAND\fR \fB\-\-help\fR", ".br")
    yield from (f".B {PROGRAM} help", r"[\fITOPIC\fR]")
    yield from (".SH DESCRIPTION", _text(about))
    yield from (".PP", _text(_prose(section(readme(), "Command line"))))
    yield ".SH COMMANDS"
    for name, command in every_command().items():
        yield from _command(name, command)
    yield ".SH EXIT STATUS"
    yield from _rows(_table(section(readme(), "Exit codes")))
    yield ".SH ENVIRONMENT"
    yield from _rows(row for row in _table(section(readme(), "Settings")) if len(row) == 2)
    yield from (".PP", _text("Every setting has a variable too: quartermaster help settings."))
    yield ".SH FILES"
    yield from _rows(FILES)
    yield from (".SH SEE ALSO", _text("quartermaster help lists the topics of the documentation."))


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"{PROGRAM} {name}", **cli.context_settings)
    yield f".SS {_escaped(' '.join((name, *_usage(command, context))))}"
    first, *others = (command.help or "").replace("\b\n", "").split("\n\n")
    yield _text(first)
    for paragraph in others:
        yield from (".PP", _text(paragraph))
    for option, about in _options(command, context):
        yield from (".TP", f"\\fB{_escaped(option)}\\fR", _text(about))
    yield from (".PP", "Examples:", ".PP", ".EX")
    yield from (f"  {_escaped(line)}" for line in EXAMPLES[name])
    yield ".EE"


def _usage(command: click.Command, context: click.Context) -> list[str]:
    return [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    shown = command.commands.get(NAMELESS, command) if isinstance(command, click.Group) else command
    for parameter in shown.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield record


def _prose(markdown: str) -> str:
    """The first paragraph below the heading."""
    return markdown.split("\n\n")[1]


def _table(markdown: str) -> Iterator[list[str]]:
    """The rows of each table, without its head."""
    for is_table, lines in groupby(markdown.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            _, _, *rows = lines
            yield from ([cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows)


def _rows(rows: Iterator[list[str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, about in rows:
        yield from (".TP", f"\\fB{_escaped(name.strip('`'))}\\fR", _text(about))


def _text(markdown: str) -> str:
    """A paragraph, each line safe from being taken for a request; what stands between backticks is bold."""
    flowing = re.sub(r"\s+", " ", markdown).strip()
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _escaped(flowing))


WRITTEN = {"\\": "\\e", "-": "\\-", "…": "...", "~": "\\(ti", "'": "\\(aq", "^": "\\(ha"}
"""How signs are written that a formatter would take for something else, or draw otherwise."""


def _escaped(text: str) -> str:
    written = text.translate(str.maketrans(WRITTEN))
    return f"\\&{written}" if written.startswith(".") else written


if __name__ == "__main__":
    sys.stdout.write(page())
