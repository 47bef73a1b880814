"""The child process that computes: one request a line in, one answer a line out.

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
from typing import TYPE_CHECKING

import msgspec

from quartermaster.core.comparison import Profile
from quartermaster.core.pricing import OwnPrices
from quartermaster.core.run import Outcome, Run
from quartermaster.evaluate import nothing_to_check, outcome_of
from quartermaster.lifeline import end_with_parent
from quartermaster.store.database import Connection, closing_connection

if TYPE_CHECKING:
    from quartermaster.looking import Looked


class Evaluation(msgspec.Struct, frozen=True, tag="evaluation"):
    """The claimed run, the thresholds it is judged by and the user's own prices. The answer is an Outcome."""

    run: Run
    profile: Profile
    prices: OwnPrices


class Look(msgspec.Struct, frozen=True, tag="look"):
    """A mission that is to be examined, unless it has more entries than the limit. The answer is a `Looked`,
    or null where there is no such mission."""

    workspace: int
    mission_id: str
    limit: int
    prices: OwnPrices


def main(database: Path, memory_bytes: int, niceness: int) -> int:
    """Answer requests until they end. What would be printed goes to standard error.

    A request that needs more than `memory_bytes` fails; the file's pages and the program count in no way.
    """
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(niceness)
    gc.freeze()
    gc.disable()  # rows by the million, and none of them in a cycle: collecting between two requests does
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_until_end, args=(requests,), daemon=True).start()
    with closing_connection(database, writable=False) as connection:
        while True:
            request = msgspec.json.decode(requests.get(), type=Evaluation | Look)
            answer = _on_one_state(connection, request)
            try:
                answers.write(msgspec.json.encode(answer) + b"\n")
                answers.flush()
            except BrokenPipeError:
                os._exit(0)  # the parent is gone; an orderly exit would wait for the thread that reads
            gc.collect()


def _on_one_state(connection: Connection, request: Evaluation | Look) -> "Outcome | Looked | None":
    connection.execute("begin")
    try:
        if isinstance(request, Look):
            from quartermaster.looking import looked_at  # noqa: PLC0415 - detectors are slow to load

            return looked_at(
                connection, request.workspace, request.mission_id, request.prices, limit=request.limit
            )
        return outcome_of(
            connection, request.run, request.profile, check=nothing_to_check, prices=request.prices
        )
    finally:
        connection.execute("rollback")


def _read_until_end(requests: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)
