"""`quartermaster help`: the documentation by topic, and the help of commands."""

import io
import shutil
import sys
from typing import cast

import click

from quartermaster.cli import PROGRAM, cli, output
from quartermaster.cli.topics import TOPICS, find_topic, readme, section
from quartermaster.errors import NotFound


def _words(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [topic.name for topic in TOPICS if topic.name.startswith(incomplete)]


@click.command("help")
@click.argument("words", nargs=-1, metavar="[TOPIC | COMMAND...]", shell_complete=_words)
def command(words: tuple[str, ...]) -> None:
    """Print a topic of the documentation, or the help of a command; without either, list the topics.

    On a terminal a topic is drawn, and paged where it is longer than the screen; elsewhere it is Markdown.
    """
    if not words:
        output.write(_contents())
        return
    topic = find_topic(words[0]) if len(words) == 1 else None
    if topic is None:
        output.write(_help_of(words))
        return
    text = section(readme(), topic.heading)
    if sys.stdout.isatty():
        _show(text)
    else:
        output.write(text)


def _contents() -> str:
    names = [", ".join((topic.name, *topic.also)) for topic in TOPICS]
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {topic.about}" for name, topic in zip(names, TOPICS, strict=True)]
    return "\n".join([f"Topics of `{PROGRAM} help TOPIC`:", *lines])


def _help_of(words: tuple[str, ...]) -> str:
    context, found = click.Context(cli, info_name=PROGRAM, **cli.context_settings), cast(click.Command, cli)
    for word in words:
        inner = found.get_command(context, word) if isinstance(found, click.Group) else None
        if inner is None:
            raise NotFound(f"no topic and no command {' '.join(words)!r}; `{PROGRAM} help` lists the topics")
        context, found = click.Context(inner, info_name=word, parent=context), inner
    return found.get_help(context)


def _show(text: str) -> None:
    size = shutil.get_terminal_size()
    drawn = _drawn(text, size.columns)
    if drawn.count("\n") < size.lines:
        click.echo(drawn, nl=False)
    else:
        click.echo_via_pager(drawn)


def _drawn(markdown: str, columns: int) -> str:
    """Drawn for a terminal; as it is in the single file, which comes without what rich colours code with."""
    try:
        from rich.console import Console
        from rich.markdown import Markdown
    except ImportError:
        return markdown + "\n"
    told = io.StringIO()
    console = Console(file=told, width=columns, force_terminal=True)
    console.print(Markdown(markdown, code_theme="ansi_dark", hyperlinks=False))
    return told.getvalue()
