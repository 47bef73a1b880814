"""Messages to a program of this machine: its arguments as they are, without a shell, JSON on its input.

Such a rule is a program that runs whenever something happens, with the rights of the daemon. Only whoever
owns the machine may say which: no door of the daemon makes one.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import CancelScope
from anyio.abc import Process

from quartermaster.alerting.attempt import Attempt
from quartermaster.core.alerts import Command
from quartermaster.errors import UsageError


def check_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """The command, its program as a whole path; UsageError where there is no such program."""
    if not argv or any("\0" in argument for argument in argv):
        raise UsageError("a command is a program and its arguments")
    program = shutil.which(argv[0])
    if program is None:
        raise UsageError(f"{argv[0]!r} is no program that can be started; name one, or its whole path")
    return (str(Path(program).absolute()), *argv[1:])


async def run(command: Command, body: bytes, *, folder: Path, seconds: float) -> Attempt:
    """One attempt: done when the program ends with 0 in time. Its output is nobody's."""
    try:
        with CancelScope(shield=True):  # a program that was started must come to somebody who ends it
            process = await anyio.open_process(
                list(command.argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                start_new_session=True,
            )
    except OSError as error:
        return Attempt(delivered=False, said=f"the program cannot be started: {error.strerror}")
    try:
        with anyio.fail_after(seconds):
            await _tell(process, body)
            code = await process.wait()
    except TimeoutError:
        return Attempt(delivered=False, said=f"the program was ended after {seconds:g} seconds")
    finally:
        with CancelScope(shield=True):
            await _end(process)
    if code < 0:
        return Attempt(delivered=False, said=f"the program was ended by signal {-code}")
    return Attempt(delivered=code == 0, said=f"the program ended with {code}")


async def _tell(process: Process, body: bytes) -> None:
    """A program that does not read its input is none the worse for it."""
    assert process.stdin is not None
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(body)
    with suppress(OSError):
        await process.stdin.aclose()


async def _end(process: Process) -> None:
    """Nothing of it is left behind, whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()
