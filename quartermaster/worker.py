"""The child process that evaluates: one request a line in, one outcome a line out.

It lives in a process of its own so that it can be killed at any moment, holds nothing but a reading
connection, and ends with its parent: when the requests end, so does the process, and where the system can
end it with the process that started it, it does, whatever it is doing.
"""

import gc
import os
import queue
import resource
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from quartermaster.core.comparison import Profile
from quartermaster.core.pricing import OwnPrices
from quartermaster.core.run import Outcome, Run
from quartermaster.evaluate import nothing_to_check, outcome_of
from quartermaster.lifeline import end_with_parent
from quartermaster.store.database import Connection, closing_connection

_NICENESS: Final = 10


class Request(msgspec.Struct, frozen=True):
    """One line of input: the claimed run, the thresholds it is judged by and the user's own prices."""

    run: Run
    profile: Profile
    prices: OwnPrices = OwnPrices()


def main(database: Path, memory_bytes: int) -> int:
    """Answer requests until they end. What would be printed goes to standard error.

    A request that needs more than `memory_bytes` fails; the file's pages and the program count in no way.
    """
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(_NICENESS)  # requests of people go first
    gc.freeze()
    gc.disable()  # rows by the million, and none of them in a cycle: collecting between two requests does
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_until_end, args=(requests,), daemon=True).start()
    with closing_connection(database, writable=False) as connection:
        while True:
            request = msgspec.json.decode(requests.get(), type=Request)
            outcome = _on_one_state(connection, request)
            try:
                answers.write(msgspec.json.encode(outcome) + b"\n")
                answers.flush()
            except BrokenPipeError:
                os._exit(0)  # the parent is gone; an orderly exit would wait for the thread that reads
            gc.collect()


def _on_one_state(connection: Connection, request: Request) -> Outcome:
    connection.execute("begin")
    try:
        return outcome_of(
            connection, request.run, request.profile, check=nothing_to_check, prices=request.prices
        )
    finally:
        connection.execute("rollback")


def _read_until_end(requests: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)
