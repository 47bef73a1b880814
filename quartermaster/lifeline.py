"""What ties a child process to the one that started it: it must not go on when that one is gone."""

import os
import signal
import sys
import threading
from typing import Final

_END_WITH_PARENT: Final = 1
"""PR_SET_PDEATHSIG of Linux. It counts from the thread that started this process: the event loop's, which
lives as long as the daemon."""


def end_with_parent() -> None:
    """Be killed with the parent, where the system can do that; elsewhere nothing happens."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - nothing else needs it

        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)


def end_with_input() -> None:
    """End when the standard input does, which the parent holds open and never writes to."""
    threading.Thread(target=_read_until_end, daemon=True).start()


def _read_until_end() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)
