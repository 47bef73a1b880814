"""A group that does something itself: `backup FILE` beside `backup verify FILE`."""

from typing import Final

import click

NAMELESS: Final = ""
"""The name of the command that runs where the first argument is no command's name."""


class GroupOrCommand(click.Group):
    """A group with a nameless command, which takes every line that does not begin with a command's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self._is_meant(ctx, args):
            args = [NAMELESS, *args]
        return super().parse_args(ctx, args)

    def _is_meant(self, ctx: click.Context, args: list[str]) -> bool:
        if not args:
            return not any(one.required for one in self.commands[NAMELESS].params)
        return args[0] not in self.commands and args[0] not in ctx.help_option_names

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if name != NAMELESS]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the nameless command, and the others that there are."""
        click.Command.format_options(self.commands[NAMELESS], ctx, formatter)
        self.format_commands(ctx, formatter)
