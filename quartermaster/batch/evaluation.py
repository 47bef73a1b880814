"""The pure function of a batch: the bytes of one recording in, what is known of its missions out.

It knows no home, no database and no other recording, and gives the same answer wherever it runs. What
comes and goes is bytes, so that pipes and clusters carry it alike.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec
import zstandard

from quartermaster import __version__
from quartermaster.adapters import adapters
from quartermaster.batch.gathering import Added, Gathered, Gathering
from quartermaster.batch.sources import Unit, opened
from quartermaster.cli.archives import unpack
from quartermaster.core.assessment import Assessment, Assessor, PlainTexts
from quartermaster.core.capsule import RULES_OF_PAIRS
from quartermaster.core.catalogue import context_window
from quartermaster.core.claims import Verdict
from quartermaster.core.examination import Examination, examine, rules_version, too_large
from quartermaster.core.failure_modes import Context
from quartermaster.core.metrics import METRICS, Metric
from quartermaster.core.mission_metrics import CATALOGUE, MissionMetric
from quartermaster.core.mission_metrics.registry import Known, Partial
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.core.secrets import Masker
from quartermaster.core.transcript import Teller
from quartermaster.errors import QuartermasterError, RunFailed, UsageError
from quartermaster.evaluate import edition_of
from quartermaster.ingest import files_below
from quartermaster.recording import Batch, Recording, Refused
from quartermaster.store.sources import printable_path

FORMAT: Final = 1
"""Of what is kept of an evaluation; raised when it holds something else."""

State = Literal["complete", "duplicate", "unrecognised", "refused", "failed", "poisoned"]
"""complete: read to its end · duplicate: the same bytes as another one · unrecognised: no known format ·
refused: no regular file · failed: it cannot be read · poisoned: it killed every process that read it."""

_KNOWN: Final = Context(context_window=context_window)
_PIECE: Final = 1 << 20
_LEVEL: Final = 3


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """All that an evaluation depends on beside the bytes."""

    prices: OwnPrices = OwnPrices()
    masked: bool = True
    secret_patterns: tuple[str, ...] = ()
    line_limit_bytes: int
    workspaces: tuple[str, ...] = ()
    version: str = __version__

    def digest(self) -> str:
        """Two evaluations of the same bytes are the same where this is."""
        formats = [(one.name, one.revisable) for one in adapters()]
        rules = rules_version(edition_of(self.prices))
        framed = msgspec.json.encode([FORMAT, self, RULES_OF_PAIRS, rules, formats])
        return sha256(framed).hexdigest()[:16]


class Ties(msgspec.Struct, frozen=True, kw_only=True):
    """What may join the missions of a recording to those of others: whose entries it could not place by
    which links, which links it knows, which missions it puts into which."""

    homeless: tuple[tuple[int, ...], ...] = ()
    links: dict[int, str] = {}
    absorbed: tuple[tuple[str, str], ...] = ()


class Rejection(msgspec.Struct, frozen=True):
    """A range of a recording that was not understood. `line` counts from 1; None in a document."""

    line: int | None
    offset: int
    length: int
    reason: str


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One mission: its row by column, and its findings."""

    mission_id: str
    row: dict[str, Any]
    findings: tuple[dict[str, Any], ...]


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """What one recording says. `member` is its name inside of an archive; `homeless` are entries that it does
    not tell the mission of."""

    member: str | None = None
    digest: str = ""
    bytes: int = 0
    format: str | None = None
    state: State = "complete"
    reason: str | None = None
    accepted: int = 0
    duplicate: int = 0
    conflicting: int = 0
    homeless: int = 0
    masked: int = 0
    rejected: tuple[Rejection, ...] = ()
    missions: tuple[Judged, ...] = ()
    ties: Ties = Ties()


class Evaluate(msgspec.Struct, frozen=True, tag="evaluate"):
    """The recordings of one file or archive, each by itself."""

    unit: Unit


class Part(msgspec.Struct, frozen=True):
    """A recording that a mission is told by, as it was when it was evaluated."""

    unit: Unit
    member: str | None
    digest: str


class Merge(msgspec.Struct, frozen=True, tag="merge"):
    """Missions that several recordings tell of; `parts` are these, in the order in which they count."""

    key: str
    missions: tuple[str, ...]
    parts: tuple[Part, ...]


Work = Evaluate | Merge


class Chunk(msgspec.Struct, frozen=True):
    """Work that is handed out together. `scratch` is a folder for copies; None is the system's."""

    rules: Rules
    work: tuple[Work, ...]
    scratch: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    evaluated: tuple[Evaluated, ...] = ()
    fault: str | None = None


_encode_chunk: Final = msgspec.msgpack.Encoder().encode
_decode_chunk: Final = msgspec.msgpack.Decoder(Chunk).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Answer).decode


def pack_chunk(chunk: Chunk) -> bytes:
    return _encode_chunk(chunk)


def perform_all(packed: bytes) -> list[bytes]:
    """The answers to a packed chunk, in its order."""
    return list(perform_each(packed))


def perform_each(packed: bytes) -> Iterator[bytes]:
    """The answers to a packed chunk, one by one."""
    chunk = _decode_chunk(packed)
    if chunk.rules.version != __version__:
        told = f"the workers run Quartermaster {__version__}, this one is {chunk.rules.version}"
        raise UsageError(f"{told}; install the same version on both")
    for work in chunk.work:
        yield perform(work, chunk.rules, chunk.scratch)


def perform(work: Work, rules: Rules, scratch: str | None = None) -> bytes:
    """The answer to one piece of work, packed. A fault of one recording is told and costs that one alone."""
    try:
        with tempfile.TemporaryDirectory(prefix="quartermaster-", dir=scratch) as folder:
            if isinstance(work, Merge):
                answer = _Answer((_merged(work, rules, Path(folder)),))
            else:
                answer = _Answer(tuple(_evaluated(work.unit, rules, Path(folder))))
    except Changed as changed:
        answer = _Answer(fault=str(changed))
    except MemoryError:
        answer = _Answer((Evaluated(state="failed", reason="it needs more memory than there is"),))
    except QuartermasterError as error:
        answer = _Answer((Evaluated(state="failed", reason=str(error)),))
    except OSError as error:
        answer = _Answer((Evaluated(state="failed", reason=_why(error)),))
    except Exception as error:  # whatever a recording makes of this program costs that recording alone
        reason = f"a fault of this program ({type(error).__name__}: {error})"[:300]
        answer = _Answer((Evaluated(state="failed", reason=reason),))
    return zstandard.ZstdCompressor(level=_LEVEL).compress(_encode(answer))


def answer_of(packed: bytes) -> tuple[Evaluated, ...]:
    """What was answered; raises RunFailed where the recordings were no longer those that were asked about."""
    answer = _decode(zstandard.ZstdDecompressor().decompress(packed))
    if answer.fault is not None:
        raise RunFailed(answer.fault)
    return answer.evaluated


class Changed(Exception):
    """A recording is not what it was when it was evaluated."""


class _Copy(msgspec.Struct, frozen=True):
    """A recording of its own in a scratch folder, so that what is digested is what is read."""

    path: Path
    member: str | None
    digest: str
    size: int


def _evaluated(unit: Unit, rules: Rules, scratch: Path) -> Iterator[Evaluated]:
    for copy in _copies(unit, scratch):
        gathering = Gathering()
        read = _read(copy, rules, gathering)
        homeless = gathering.homeless()
        yield msgspec.structs.replace(
            read,
            homeless=len(homeless),
            missions=tuple(_judged(gathering.missions().values(), rules)),
            ties=Ties(
                homeless=tuple(sorted(set(homeless))),
                links=gathering.links(),
                absorbed=tuple(gathering.absorbed),
            ),
        )


def _merged(work: Merge, rules: Rules, scratch: Path) -> Evaluated:
    gathering, wanted = Gathering(), set(work.missions)
    for number, part in enumerate(work.parts):
        folder = scratch / str(number)
        folder.mkdir()
        copy = next((one for one in _copies(part.unit, folder) if one.member == part.member), None)
        if copy is None or copy.digest != part.digest:
            raise Changed(f"{part.unit.name} changed while it was evaluated; give the same command again")
        _read(copy, rules, gathering)
    found = (one for name, one in gathering.missions().items() if name in wanted)
    return Evaluated(digest=work.key, missions=tuple(_judged(found, rules)))


def _copies(unit: Unit, scratch: Path) -> Iterator[_Copy]:
    path = scratch / (f"recording{unit.ending}" if unit.archive else "recording")
    digest, size = _fetch(unit, path)
    if not unit.archive:
        yield _Copy(path, None, digest, size)
        return
    folder = scratch / "members"
    folder.mkdir()
    unpack(path, folder)
    for member in sorted(file for file, _ in files_below(folder)):
        name = printable_path(os.fsencode(member.relative_to(folder)))
        with member.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        yield _Copy(member, name, content, member.stat().st_size)


def _fetch(unit: Unit, path: Path) -> tuple[str, int]:
    """Copies the bytes of a unit; their SHA-256 and how many they are."""
    digest, size = sha256(), 0
    with closing(opened(unit)) as source, path.open("wb") as target:
        for piece in _pieces(source):
            digest.update(piece)
            size += target.write(piece)
    return digest.hexdigest(), size


def _pieces(file: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: file.read(_PIECE), b"")


def _read(copy: _Copy, rules: Rules, gathering: Gathering) -> Evaluated:
    """Adds the entries of a recording to those that are gathered; what became of its bytes."""
    recording = Recording(
        copy.path.parent,
        copy.path,
        None,
        workspace_names=frozenset(rules.workspaces),
        line_limit_bytes=rules.line_limit_bytes,
        masker=_masker(rules.secret_patterns) if rules.masked else None,
    )
    evaluated = Evaluated(member=copy.member, digest=copy.digest, bytes=copy.size)
    added, masked, rejected = Added(), 0, dict[tuple[int, str], Rejection]()
    try:
        for batch in _batches(recording):
            masked += sum(batch.masked.values())
            for one in (*batch.rejections, *batch.amended):
                told = Rejection(one.line, one.position, one.length, one.reason)
                rejected[one.position, one.reason] = told
            some = gathering.add(batch.decoded, revisable=batch.revisable, format_name=batch.source.format)
            added.accepted += some.accepted
            added.duplicate += some.duplicate
            added.conflicting += some.conflicting
    except Refused as refusal:
        state: State = "refused" if refusal.state == "refused" else "unrecognised"
        evaluated = msgspec.structs.replace(evaluated, state=state, reason=str(refusal))
    source = recording.source
    return msgspec.structs.replace(
        evaluated,
        format=source.format,
        reason=evaluated.reason or source.reason,
        accepted=added.accepted,
        duplicate=added.duplicate,
        conflicting=added.conflicting,
        masked=masked,
        rejected=tuple(rejected.values()),
    )


def _batches(recording: Recording) -> Iterator[Batch]:
    more = True
    while more:
        batch = recording.read(now=0, at_rest=True)
        if batch is not None:
            recording.committed(batch.source)
            yield batch
        more = batch is not None and batch.more
    last = recording.finish()
    if last is not None:
        yield last


@lru_cache(maxsize=4)
def _masker(patterns: tuple[str, ...]) -> Masker:
    return Masker(patterns)


def _judged(missions: Iterable[Gathered], rules: Rules) -> Iterator[Judged]:
    price = PriceBook(rules.prices)
    for mission in sorted(missions, key=lambda one: one.mission_id or ""):
        if len(mission):
            yield _judge(mission, price)


def _judge(mission: Gathered, price: PriceBook) -> Judged:
    ordered = mission.in_order()
    assessor = Assessor(PlainTexts(), 0, price)
    assessor.add(one.step for one in ordered if one.step is not None)
    assessment = assessor.result()
    examination = too_large(len(ordered))
    if examination is None:
        teller = Teller(price)
        for one in ordered:
            teller.add(one.raw)
        examination = _examination(mission, teller, assessment)
    mission_id = mission.mission_id or ""
    row = {
        **_facts_row(mission, assessment, examination),
        **_metrics_row(assessment.metrics, examination.metrics),
    }
    findings = tuple(_finding_row(mission, one) for one in examination.findings)
    return Judged(mission_id=mission_id, row=row, findings=findings)


def _examination(mission: Gathered, teller: Teller, assessment: Assessment) -> Examination:
    facts, told = mission.facts, mission.outcome
    labels = facts.get("labels")
    transcript = teller.transcript(
        mission.mission_id or "",
        outcome=told.outcome if told else None,
        timed=mission.span[0] is not None,
        format=mission.format,
        labels=msgspec.json.decode(labels) if labels else None,
        **{name: facts.get(name) for name in ("title", "task", "variant", "agent", "model")},
    )
    try:
        return examine(transcript, assessment, _KNOWN)
    except Exception as error:  # a rule that cannot cope with a recording costs its examination alone
        return Examination(unexamined=f"a fault of this program: {type(error).__name__}")


def _facts_row(mission: Gathered, assessment: Assessment, examination: Examination) -> dict[str, Any]:
    facts, outcome, layers = mission.facts, mission.outcome, assessment.layers
    began, ended = mission.span
    severities = examination.by_severity or {}
    cause = examination.root_cause
    contract = [one.failure_mode for one in assessment.findings]
    verdicts = [claim.verdict for claim in examination.claims]
    return {
        "mission_id": mission.mission_id,
        "format": mission.format,
        **{
            name: facts.get(name)
            for name in ("title", "task", "variant", "trial", "agent", "model", "version")
        },
        "commit": facts.get("commit_id"),
        "parent_mission_id": facts.get("parent_mission_id"),
        "labels": _sorted_json(facts.get("labels")),
        "outcome": outcome.outcome if outcome else None,
        "outcome_origin": outcome.origin if outcome else None,
        "reward": outcome.reward if outcome else None,
        "started_at": began,
        "ended_at": ended,
        "entries": len(mission),
        "goal_reached": assessment.goal_reached,
        "signature": assessment.signature,
        "signature_kinds": layers.kinds,
        "signature_tools": layers.tools,
        "signature_arguments": layers.arguments,
        "signature_outcomes": layers.outcomes,
        "contract_failure_modes": ", ".join(contract) or None,
        "findings": None if examination.unexamined else sum(examination.counts.values()),
        **{f"findings_{name}": severities.get(name) for name in ("high", "warn", "info")},
        "findings_by_detector": _compact(examination.counts) if not examination.unexamined else None,
        "claims": None if examination.unexamined else len(verdicts),
        "claims_contradicted": None if examination.unexamined else verdicts.count(Verdict.CONTRADICTED),
        "root_cause_step": cause.position if cause else None,
        "root_cause_reason": cause.reason if cause else None,
        "unexamined": examination.unexamined,
    }


def _sorted_json(labels: bytes | None) -> str | None:
    return None if labels is None else _compact(msgspec.json.decode(labels))


def _compact(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _metrics_row(contract: Iterable[Metric], catalogue: Iterable[MissionMetric]) -> dict[str, Any]:
    """Four columns a metric: the value, of how many facts it is known, and why it cannot be said whole."""
    row: dict[str, Any] = {}
    for metric in contract:
        reading = (metric.number, metric.coverage.known, metric.coverage.of, metric.reason)
        row.update(zip(metric_columns(metric.name), reading, strict=True))
    for one in catalogue:
        found = one.reading
        match found:
            case Known():
                told: tuple[Any, int, int, str | None] = (found.value, found.of, found.of, None)
            case Partial():
                told = (found.value, found.known, found.of, found.reason)
            case _:
                told = (None, 0, found.of, found.reason)
        row.update(zip(metric_columns(catalogue_name(one.id)), told, strict=True))
    return row


def metric_columns(name: str) -> tuple[str, str, str, str]:
    """The columns of one metric."""
    return name, f"{name}_known", f"{name}_of", f"{name}_reason"


def catalogue_name(id: str) -> str:
    """The name of a catalogue metric among the columns: that of a contract metric is taken."""
    return f"catalogue_{id}" if id in METRICS else id


def metric_names() -> tuple[str, ...]:
    """Every metric in the order of the columns: the contract's first."""
    return (*METRICS, *map(catalogue_name, CATALOGUE))


def _finding_row(mission: Gathered, finding: Any) -> dict[str, Any]:
    return {
        "mission_id": mission.mission_id,
        "task": mission.facts.get("task"),
        "variant": mission.facts.get("variant"),
        "detector": finding.detector,
        "name": finding.name,
        "severity": str(finding.severity),
        "confidence": str(finding.confidence),
        "reason": finding.reason,
        "first_step": finding.first,
        "last_step": finding.last,
        "count": finding.count,
        "entry_id": finding.entry_ids[0] if finding.entry_ids else None,
        "agent": finding.agent,
        "wasted_steps": finding.wasted.steps,
        "wasted_tokens": finding.wasted.tokens,
    }


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "the file may not be read; change its permissions"
    if isinstance(error, FileNotFoundError):
        return "the file is not there; workers elsewhere need a path or URL that they can read"
    return f"the file cannot be read: {error.strerror or error}"
