"""Every command of the program with the words that name it, and command lines parsed as the program does."""

import re
import shlex
from collections.abc import Iterator

import click

from quartermaster.cli import COMMANDS, cli
from quartermaster.cli.nameless import NAMELESS


def every_command() -> dict[str, click.Command]:
    """Groups too, by their words, such as `eval replay`."""
    context = click.Context(cli)
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            inner = {f"{name} {word}": one for word, one in command.commands.items() if word != NAMELESS}
            found |= inner
    return found


def lines_of_program(text: str) -> Iterator[list[str]]:
    """The arguments of each `quartermaster ...` in the lines of a shell."""
    for found in re.finditer(r"(?:^|[\s(])quartermaster ((?:'[^']*'|\"[^\"]*\"|[^|>)&;\"'\n])*)", text):
        yield shlex.split(found[1], comments=True)


def parse(arguments: list[str]) -> str:
    """The words of the command that these arguments run; click.UsageError where they are none."""
    context, command = cli.make_context("quartermaster", list(arguments)), cli
    words: list[str] = []
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        assert name is not None
        words += [name] if name else []
        context, command = found.make_context(name, rest, parent=context), found
    return " ".join(words)
