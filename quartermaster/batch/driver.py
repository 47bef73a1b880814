"""A whole batch: what is left is done, put together and written. Killed anywhere, it goes on from there."""

import fcntl
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from quartermaster.batch import tables
from quartermaster.batch.engines import Done, Engine
from quartermaster.batch.evaluation import Evaluate, Evaluated, Judged, Merge, Rules, Work, answer_of
from quartermaster.batch.merging import Recorded, merges, name_of, recorded
from quartermaster.batch.parts import Key, Parts, write_whole
from quartermaster.batch.sources import Found, Unit, order_of
from quartermaster.batch.tables import COLUMNS, Table
from quartermaster.errors import StorageError, UsageError

_CHUNK_BYTES: Final = 8 << 20
_PART_ANSWERS: Final = 128
_PART_BYTES: Final = 16 << 20
_PART_SECONDS: Final = 5.0
_MANIFEST: Final = "manifest.json"
_SCRATCH: Final = ".scratch"
_TRIED_AGAIN: Final = frozenset({"failed", "poisoned"})
_REMEMBERED: Final = 64


class Progress(msgspec.Struct, frozen=True):
    """How far a batch has come. `phase` is `evaluating`, `merging` or `writing`."""

    phase: str
    done: int
    of: int
    lost: int = 0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What came out. `files` are recordings by state; `evaluated` and `reused` are files or archives,
    `merged` missions that several recordings tell of, `retried` are pieces of work whose process died.
    `homeless` are entries whose recording does not tell their mission. `complete` says that every recording
    was read whole."""

    out: str
    rules: str
    files: dict[str, int]
    missions: int
    findings: int
    rejected: int
    homeless: int
    merged: int
    evaluated: int
    reused: int
    retried: int
    poisoned: tuple[str, ...]
    complete: bool
    tables: dict[str, str]
    seconds: float = 0.0


class _Manifest(msgspec.Struct, frozen=True):
    inputs: str
    summary: Summary


def run_batch(
    found: Found,
    out: Path,
    rules: Rules,
    start: Callable[[Path], Engine],
    tell: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Evaluates recordings into the tables of a folder. `start` starts the engine, given a folder for
    copies, if there is anything to do."""
    began = time.monotonic()
    with _only_writer(out):
        digest = rules.digest()
        inputs = _inputs(found, digest)
        known = _finished(out, inputs)
        if known is not None:
            return msgspec.structs.replace(
                known.summary, evaluated=0, reused=len(found.units), seconds=_since(began)
            )
        batch = _Batch(found, out, Parts(out / "parts", digest), tell)
        with _started(out, start) as engine:
            batch.evaluate(engine)
            batch.merge(engine)
        summary = msgspec.structs.replace(batch.write(digest), seconds=_since(began))
        if not summary.files.keys() & _TRIED_AGAIN:
            write_whole(out / _MANIFEST, msgspec.json.encode(_Manifest(inputs, summary)))
        return summary


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _inputs(found: Found, rules: str) -> str:
    told = [(unit.name, unit.stamp) for unit in found.units]
    return sha256(msgspec.json.encode([rules, told, found.unreadable])).hexdigest()


def _finished(out: Path, inputs: str) -> _Manifest | None:
    """The manifest of a batch of the same inputs under the same rules, whose tables are all there."""
    try:
        manifest = msgspec.json.decode((out / _MANIFEST).read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    whole = all((out / name).is_file() for name in manifest.summary.tables.values())
    return manifest if whole and manifest.inputs == inputs else None


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(f"the folder {out} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(f"another batch writes into {out}; wait for it or name another folder") from error
    finally:
        os.close(lock)


@contextmanager
def _started(out: Path, start: Callable[[Path], Engine]) -> Iterator["_Lazy"]:
    """An engine that starts with the first work and is ended with the block."""
    scratch = out / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    engine = _Lazy(scratch, start)
    try:
        yield engine
    finally:
        engine.close()
        shutil.rmtree(scratch, ignore_errors=True)


class _Lazy:
    def __init__(self, scratch: Path, start: Callable[[Path], Engine]) -> None:
        self._scratch = scratch
        self._start = start
        self._engine: Engine | None = None

    def get(self) -> Engine:
        if self._engine is None:
            self._scratch.mkdir()
            self._engine = self._start(self._scratch.absolute())
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


class _Batch:
    """One run of a batch."""

    def __init__(self, found: Found, out: Path, parts: Parts, tell: Callable[[Progress], None]) -> None:
        self._found = found
        self._out = out
        self._parts = parts
        self._tell = tell
        self._failures: dict[Key, Evaluated] = {}
        self._merges: list[Merge] = []
        self._evaluated = 0
        self._lost = 0
        self._answer = lru_cache(maxsize=_REMEMBERED)(self._read_answer)

    def evaluate(self, engine: _Lazy) -> None:
        """Every file that has no answer yet."""
        work = [Evaluate(unit) for unit in self._found.units if _key(Evaluate(unit)) not in self._parts]
        self._evaluated = len(work)
        self._perform("evaluating", engine, work)

    def merge(self, engine: _Lazy) -> None:
        """Every mission that several recordings tell of."""
        self._merges = merges(list(self._recordings()))
        self._perform("merging", engine, [one for one in self._merges if _key(one) not in self._parts])

    def _perform(self, phase: str, engine: _Lazy, work: Sequence[Work]) -> None:
        """Work whose process died is tried again alone, after everything else, and at last given up."""
        if not work:
            return
        running, answers = engine.get(), _Collected(self._parts)
        deaths: Counter[Key] = Counter()
        lost: deque[Work] = deque()
        done = 0

        def run(chunks: Iterable[Sequence[Work]]) -> None:
            nonlocal done
            for one in running.run(chunks):
                if isinstance(one, Done):
                    done += 1
                    self._take(one, answers)
                else:
                    self._lost += 1
                    deaths[_key(one.work)] += 1
                    lost.append(one.work)
                self._tell(Progress(phase, done, len(work), self._lost))

        self._tell(Progress(phase, done, len(work), self._lost))
        try:
            run(_chunks(work, running.chunk_files))
            while lost:
                again = lost.popleft()
                if deaths[_key(again)] < running.attempts:
                    run([[again]])
                else:
                    done += 1
                    self._failures[_key(again)] = _poisoned(again)
        finally:
            answers.flush()  # what was done before an interrupt is not done again

    def _take(self, done: Done, answers: "_Collected") -> None:
        evaluated = answer_of(done.answer)
        failed = next((one for one in evaluated if one.state == "failed"), None)
        if failed is not None:
            self._failures[_key(done.work)] = failed
            return
        answers.add(_key(done.work), done.answer)

    def _read_answer(self, key: Key) -> tuple[Evaluated, ...]:
        failed = self._failures.get(key)
        return (failed,) if failed is not None else answer_of(self._parts.answer(key))

    def _recordings(self) -> Iterator[Recorded]:
        """Every recording that was read, in order; of several with the same bytes the first."""
        seen: set[str] = set()
        for unit in self._found.units:
            for one in self._ordered(unit):
                if one.state == "complete" and one.digest not in seen:
                    seen.add(one.digest)
                    yield recorded(unit, one)

    def _ordered(self, unit: Unit) -> list[Evaluated]:
        return sorted(self._answer(_key(Evaluate(unit))), key=lambda one: order_of(one.member or ""))

    def write(self, rules: str) -> Summary:
        """The tables, each whole or as it was before."""
        writing = _Tables(self._out)
        try:
            states, rejected, homeless = self._write_files(writing)
            merged = self._write_missions(writing)
            named = writing.close()
        except BaseException:
            writing.abandon()
            raise
        work: list[Work] = [*map(Evaluate, self._found.units), *self._merges]
        used = [_key(one) for one in work]
        self._parts.forget_all_but(used)
        return Summary(
            out=str(self._out),
            rules=rules,
            files=dict(sorted(states.items())),
            missions=writing.count("missions"),
            findings=writing.count("findings"),
            rejected=rejected,
            homeless=homeless,
            merged=merged,
            evaluated=self._evaluated,
            reused=len(self._found.units) - self._evaluated,
            retried=self._lost,
            poisoned=tuple(
                key.name for key, failure in sorted(self._failures.items()) if failure.state == "poisoned"
            ),
            complete=not rejected and set(states) <= {"complete", "duplicate"},
            tables=named,
        )

    def _write_files(self, writing: "_Tables") -> tuple[Counter[str], int, int]:
        states: Counter[str] = Counter()
        first: dict[str, str] = {}
        rejected = homeless = 0
        unreadable = {one.name: one for one in self._found.unreadable}
        units = {unit.name: unit for unit in self._found.units}
        for name in sorted({*units, *unreadable}, key=order_of):
            if name in unreadable:
                states["failed"] += 1
                told = {"file": name, "state": "failed", "reason": unreadable[name].reason}
                writing.add("files", [told])
            for one in self._ordered(units[name]) if name in units else ():
                row = _file_row(units[name], one, first)
                states[row["state"]] += 1
                rejected += len(one.rejected)
                homeless += one.homeless
                writing.add("files", [row])
                writing.add("rejected", _rejected_rows(row["file"], one))
        for merge in self._merges:
            failure = self._failures.get(_key(merge))
            if failure is not None:
                states[failure.state] += 1
                writing.add("files", [_unmerged_row(merge, failure)])
        return states, rejected, homeless

    def _write_missions(self, writing: "_Tables") -> int:
        """By id, each from the answer that knows it whole; how many were put together."""
        sources: dict[str, tuple[Key, str | None, str, int]] = {}
        for recording in self._recordings():
            key = _key(Evaluate(recording.unit))
            for mission in recording.missions:
                sources.setdefault(mission, (key, recording.member, recording.name, 1))
        for merge in self._merges:
            named = [name_of(part.unit, part.member) for part in merge.parts]
            for mission in merge.missions:
                sources[mission] = (_key(merge), None, named[0], len(named))
        merged = 0
        self._tell(Progress("writing", 0, len(sources), self._lost))
        for count, (mission, (key, member, name, files)) in enumerate(sorted(sources.items()), start=1):
            judged = self._judged(key, member, mission)
            if judged is not None:
                writing.add("missions", [{**judged.row, "file": name, "files": files}])
                writing.add("findings", judged.findings)
                merged += files > 1
            if count % 1_000 == 0:
                self._tell(Progress("writing", count, len(sources), self._lost))
        return merged

    def _judged(self, key: Key, member: str | None, mission: str) -> Judged | None:
        """None where a mission went into another one, or could not be put together."""
        for one in self._answer(key):
            if one.member == member:
                return next((judged for judged in one.missions if judged.mission_id == mission), None)
        return None


class _Collected:
    """Answers that wait to be written as one part."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._answers: list[tuple[Key, bytes]] = []
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, key: Key, answer: bytes) -> None:
        self._answers.append((key, answer))
        self._bytes += len(answer)
        full = len(self._answers) >= _PART_ANSWERS or self._bytes >= _PART_BYTES
        if full or time.monotonic() - self._since > _PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._parts.add(self._answers)
        self._answers, self._bytes, self._since = [], 0, time.monotonic()


class _Tables:
    """The tables while they are written beside those that are there."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._unfinished: dict[Table, Path] = {name: out / f".{name}.parquet.writing" for name in COLUMNS}
        self._writers = {name: tables.table_in(path, name) for name, path in self._unfinished.items()}

    def add(self, table: Table, rows: Iterable[dict[str, Any]]) -> None:
        self._writers[table].add(tables.in_order(table, rows))

    def count(self, table: Table) -> int:
        return self._writers[table].count

    def close(self) -> dict[str, str]:
        """Puts all of them in their places; their names."""
        try:
            for writer in self._writers.values():
                writer.close()
            (self._out / _MANIFEST).unlink(missing_ok=True)
            for name, path in self._unfinished.items():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                path.replace(self._out / f"{name}.parquet")
        except OSError as error:
            raise StorageError(f"the tables could not be written: {error.strerror or error}") from error
        return {name: f"{name}.parquet" for name in COLUMNS}

    def abandon(self) -> None:
        for path in self._unfinished.values():
            path.unlink(missing_ok=True)


def _key(work: Work) -> Key:
    return Key(work.unit.name, work.unit.stamp) if isinstance(work, Evaluate) else Key(work.key, "")


def _poisoned(work: Work) -> Evaluated:
    told = "every process that read it died; it may need more memory than there is"
    return Evaluated(state="poisoned", reason=told, bytes=work.unit.size if isinstance(work, Evaluate) else 0)


def _chunks(work: Iterable[Work], files: int) -> Iterator[Sequence[Work]]:
    """So many pieces at a time, fewer where they are large."""
    chunk: list[Work] = []
    size = 0
    for one in work:
        more = one.unit.size if isinstance(one, Evaluate) else sum(part.unit.size for part in one.parts)
        if chunk and (len(chunk) >= files or size + more > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += more
    if chunk:
        yield chunk


def _file_row(unit: Unit, one: Evaluated, first: dict[str, str]) -> dict[str, Any]:
    name = name_of(unit, one.member)
    state, reason = one.state, one.reason
    if state == "complete" and first.setdefault(one.digest, name) != name:
        state, reason = "duplicate", f"the same bytes as {first[one.digest]}"
    return {
        "file": name,
        "state": state,
        "reason": reason,
        "format": one.format,
        "digest": one.digest or None,
        "bytes": one.bytes,
        "missions": len(one.missions),
        "accepted": one.accepted,
        "duplicate": one.duplicate,
        "conflicting": one.conflicting,
        "rejected": len(one.rejected),
        "homeless": one.homeless,
        "masked": one.masked,
    }


def _unmerged_row(merge: Merge, failure: Evaluated) -> dict[str, Any]:
    first, others = merge.parts[0], len(merge.parts) - 1
    told = f"missions that it shares with {others:,} others could not be put together: {failure.reason}"
    return {
        "file": name_of(first.unit, first.member),
        "state": failure.state,
        "reason": told,
        "missions": len(merge.missions),
    }


def _rejected_rows(name: str, one: Evaluated) -> Iterator[dict[str, Any]]:
    for rejection in sorted(one.rejected, key=attrgetter("offset", "reason")):
        yield {"file": name, **msgspec.structs.asdict(rejection)}
