"""Who does the work: processes of this machine, or a cluster that is there. Each runs the same function.

An engine takes chunks of work and answers each piece as soon as it is done, in any order. Work whose
process died is answered as lost; whether it is tried again is for the caller to say.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from quartermaster.batch.evaluation import Chunk, Rules, Work, pack_chunk, perform_all
from quartermaster.errors import DaemonUnreachable, NotInstalled, QuartermasterError, RunFailed, UsageError

_CONNECT_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 5.0
_ALONE_SECONDS: Final = 60.0
"""How long a cluster may have no worker at all before it is given up."""
_AHEAD: Final = 3
"""Chunks a worker thread that are handed out, so that none waits for the next one."""


class Done(NamedTuple):
    """A piece of work and its packed answer."""

    work: Work
    answer: bytes


class Lost(NamedTuple):
    """A piece of work that a process had when it died."""

    work: Work


class Engine(Protocol):
    """Runs work somewhere. `close` ends what it started and leaves the cluster as it was.

    `chunk_files` are as many files as are handed out together; after `attempts` deaths work is given up.
    """

    chunk_files: int
    attempts: int

    def run(self, chunks: Iterable[Sequence[Work]]) -> Iterator[Done | Lost]: ...

    def close(self) -> None: ...


def check_name(name: str) -> None:
    """Raises UsageError for a name that stands for no cluster."""
    if not name.startswith(("dask://", "ray://")) and name != "ray":
        raise UsageError(
            f"no engine {name!r}; there are processes, dask://HOST:PORT, ray and ray://HOST:PORT"
        )


def cluster(name: str, rules: Rules) -> Engine:
    """The cluster of a name such as `dask://host:8786`, `ray` or `ray://host:10001`."""
    check_name(name)
    if name.startswith("dask://"):
        return Dask(name.removeprefix("dask://"), rules)
    return Ray(None if name == "ray" else name, rules)


class Dask:
    """Workers of a dask.distributed cluster, which itself hands a chunk on when a worker dies, several times
    (`distributed.scheduler.allowed-failures`) before it calls it lost."""

    chunk_files = 64
    attempts = 2

    def __init__(self, address: str, rules: Rules) -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise NotInstalled("dask is not installed: pip install 'quartermaster[batch]'") from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is told below
        self._distributed = distributed
        self._address = address
        self._rules = rules
        url = address if "://" in address else f"tcp://{address}"
        try:
            self._client: Any = distributed.Client(url, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise DaemonUnreachable(
                f"no dask scheduler answers at {address}: start one or name another"
            ) from error

    def run(self, chunks: Iterable[Sequence[Work]]) -> Iterator[Done | Lost]:
        source, running, alone_since = iter(chunks), dict[Any, Sequence[Work]](), time.monotonic()
        while True:
            for chunk in islice(source, max(0, _AHEAD * self._threads() - len(running))):
                packed = pack_chunk(Chunk(self._rules, tuple(chunk)))
                running[self._client.submit(perform_all, packed, pure=False, retries=0)] = chunk
            if not running:
                return
            done = self._wait(running)
            if done or self._threads(least=0):
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > _ALONE_SECONDS:
                raise DaemonUnreachable(f"the dask cluster at {self._address} has no workers; start some")
            for future in done:
                yield from self._answers(future, running.pop(future))

    def close(self) -> None:
        with suppress(Exception):  # a scheduler that is gone has nothing left to be told
            self._client.close(timeout=_LOOK_SECONDS)

    def _threads(self, least: int = 1) -> int:
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, KeyError, RuntimeError) as error:
            raise self._gone() from error
        threads: int = sum(one["nthreads"] for one in workers)
        return max(least, threads)

    def _wait(self, running: Iterable[Any]) -> list[Any]:
        try:
            with self._client.as_current():
                waited = self._distributed.wait(list(running), _LOOK_SECONDS, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return []
        except (OSError, self._distributed.CancelledError) as error:
            raise self._gone() from error
        return list(waited.done)

    def _answers(self, future: Any, chunk: Sequence[Work]) -> Iterator[Done | Lost]:
        if future.status == "finished":
            yield from map(Done, chunk, future.result())
            return
        if future.status == "cancelled":
            raise self._gone()
        error = future.exception()
        if not isinstance(error, self._distributed.KilledWorker):
            raise _told(error)
        yield from map(Lost, chunk)

    def _gone(self) -> DaemonUnreachable:
        told = f"the dask scheduler at {self._address} went away"
        return DaemonUnreachable(f"{told}; give the same command again to go on where it stopped")


class Ray:
    """Workers of a Ray cluster; without an address, of the one that runs on this machine."""

    chunk_files = 64
    attempts = 3

    def __init__(self, address: str | None, rules: Rules) -> None:
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise NotInstalled("ray is not installed: pip install 'quartermaster[batch,ray]'") from error
        self._ray = ray
        self._rules = rules
        try:
            ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            where = f"at {address}" if address else "on this machine; `ray start --head` starts one"
            raise DaemonUnreachable(f"no Ray cluster answers {where}") from error
        self._perform: Callable[[bytes], Any] = ray.remote(max_retries=0)(perform_all).remote

    def run(self, chunks: Iterable[Sequence[Work]]) -> Iterator[Done | Lost]:
        source, running, quiet_since = iter(chunks), dict[Any, Sequence[Work]](), time.monotonic()
        while True:
            for chunk in islice(source, max(0, _AHEAD * self._processors() - len(running))):
                running[self._perform(pack_chunk(Chunk(self._rules, tuple(chunk))))] = chunk
            if not running:
                return
            done, _ = self._ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS)
            if done or self._processors(least=0):
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > _ALONE_SECONDS:
                raise DaemonUnreachable("the Ray cluster has no processors; start nodes")
            for reference in done:
                yield from self._answers(reference, running.pop(reference))

    def close(self) -> None:
        with suppress(Exception):  # a cluster that is gone has nothing left to be told
            self._ray.shutdown()

    def _processors(self, least: int = 1) -> int:
        return max(least, int(self._ray.cluster_resources().get("CPU", 0)))

    def _answers(self, reference: Any, chunk: Sequence[Work]) -> Iterator[Done | Lost]:
        ray = self._ray.exceptions
        try:
            answers = self._ray.get(reference)
        except (ray.WorkerCrashedError, ray.OutOfMemoryError, ray.NodeDiedError, ray.ObjectLostError):
            yield from map(Lost, chunk)
        except ray.RayTaskError as error:
            raise _told(error.cause) from error
        except (ray.RayError, ConnectionError) as error:
            told = "the Ray cluster went away; give the same command again to go on where it stopped"
            raise DaemonUnreachable(told) from error
        else:
            yield from map(Done, chunk, answers)


def _told(error: BaseException | None) -> BaseException:
    """What a worker could not do at all, for people."""
    if isinstance(error, QuartermasterError):
        return error
    if isinstance(error, ImportError) or "deserializ" in str(error):
        told = "the scheduler or its workers cannot import Quartermaster"
        return UsageError(f"{told}; install the same version of it, Python and the engine on each")
    return RunFailed(f"a worker failed: {type(error).__name__}: {error}"[:300])
