"""The command line. Each command's module is imported when that command runs, and not before."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, shell_complete

from quartermaster import __version__
from quartermaster.errors import QuartermasterError

INTERNAL_ERROR: Final = 10
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

PROGRAM: Final = "quartermaster"
COMPLETION_VARIABLE: Final = "_QUARTERMASTER_COMPLETE"
"""Set by the script of `quartermaster completion`; the line that is typed comes in variables beside it."""

COMMANDS: Final = {
    "serve": "Run the daemon: watch the inboxes, serve the API, evaluate.",
    "demo": "Show the whole way on recorded sample missions.",
    "run": "Run an agent and record it as one mission.",
    "ingest": "Read recordings into the journal and print what became of each.",
    "sources": "List files that were offered and what became of each, last changed first.",
    "watch": "Watch folders in place, and stop watching them.",
    "missions": "List missions, last changed first.",
    "show": "Show one mission: facts, metrics, failures, claims, root cause and sources.",
    "metrics": "List the metrics of a mission, each with its definition, unit and direction.",
    "diff": "Show two missions step by step: what changed, and what each difference cost.",
    "similar": "Find missions of the same shape, and how they ended.",
    "journal": "List journal entries, newest first; verify that they are those that came.",
    "export": "Write missions for other programs: NDJSON, CSV, Parquet, OTLP, XES.",
    "batch": "Evaluate any number of recordings into Parquet tables, here or on a cluster.",
    "eval": "Replay missions, compare them, and read the results.",
    "compare": "Say whether one side is worse: recordings, missions, or sets of them.",
    "plan": "Say what changes a suite can see, and how many runs a change needs to be seen.",
    "watch-batch": "Say while a batch still runs whether it gets worse than its baseline.",
    "gate": "Hold the thresholds of the gate against history.",
    "selftest": "Measure the error rates of the installed rules and hold them against their bars.",
    "baseline": "Freeze missions as a baseline, accept others for it, compare with it.",
    "verify": "Compute a verdict again from its capsules, and say whether it comes out the same.",
    "recompute": "List verdicts that would come out otherwise today, and why.",
    "mcp": "Serve agents over the Model Context Protocol: tools that list, show, compare and explain.",
    "schema": "Print the JSON Schema of reports or of a policy file.",
    "trend": "Show how metrics went over many missions, and where they changed.",
    "alert": "Say who is told of regressions, failures and changes of trends, and see what became of it.",
    "workspace": "Create, list, export and import workspaces.",
    "member": "Add members to a workspace, change their role, remove them.",
    "token": "Create, list, rotate and revoke tokens.",
    "retention": "Say how long missions are kept, and remove those that are not.",
    "backup": "Write the whole database into one file, while it is written to; verify such a file.",
    "restore": "Put a backup back in the place of the database.",
    "service": "Have systemd run the daemon.",
    "doctor": "Check home, database, inboxes, disk and port.",
    "help": "Print a topic of the documentation, or the help of a command.",
    "completion": "Print the script by which a shell completes commands, options and values.",
}
"""Name and one line of help of every command; the module is `quartermaster.cli.<name>`, with `_` for `-`."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"quartermaster.cli.{cmd_name.replace('-', '_')}").command
        _show_examples(cmd_name, command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Names of commands with their lines, none of them loaded; options where a dash was typed."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_examples(name: str, command: click.Command) -> None:
    """Ends the help of a command, and of each one in it, with its examples."""
    from quartermaster.cli import examples

    command.epilog = examples.epilog(name)
    if isinstance(command, click.Group):
        for inner, one in command.commands.items():
            _show_examples(f"{name} {inner}".rstrip(), one)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", message="quartermaster %(version)s")
def cli() -> None:
    """Tells you whether your AI agent got worse, from the recordings it already leaves behind.

    Exit codes: 0 fine, 1 regressed, 2 usage or not found, 3 inconclusive or not comparable (only with
    --strict), 4 not allowed, 5 daemon not reachable, 10 internal.
    """


def execute(arguments: Sequence[str]) -> int:
    """One command; its exit code. Nothing but an exit code leaves this function."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except OSError as error:
        _drop_output()
        return _told(f"the output could not be written: {error.strerror}; make room for it", INTERNAL_ERROR)
    return code


def _drop_output() -> None:
    """What is left to be written goes nowhere, so that the last flush at exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: Sequence[str]) -> int:
    instruction = os.environ.get(COMPLETION_VARIABLE)
    try:
        if instruction:
            return _complete(instruction)
        result: Any = cli.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except QuartermasterError as error:
        return _told(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except SystemExit as ended:  # how click and rich say that nobody reads the output any more
        raise BrokenPipeError from ended
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        return _internal(error)
    return result if isinstance(result, int) else 0


def _complete(instruction: str) -> int:
    """What the line that is typed could go on with; a fault offers nothing and leaves the line alone."""
    try:
        return shell_complete(cli, {}, PROGRAM, COMPLETION_VARIABLE, instruction)
    except Exception:
        if os.environ.get("QUARTERMASTER_DEBUG") == "1":
            raise
        return INTERNAL_ERROR


def _told(message: str, code: int) -> int:
    sys.stderr.write(f"quartermaster: {message}\n")
    return code


def _internal(error: Exception) -> int:
    if os.environ.get("QUARTERMASTER_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    hint = "run again with QUARTERMASTER_DEBUG=1 to see where"
    return _told(f"internal error ({type(error).__name__}); {hint}", INTERNAL_ERROR)
