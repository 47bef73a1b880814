"""The capsule: missions as they were at one moment, in one file, so that a verdict on them can be repeated.

    quartermaster capsule 1 sha256:<64 hex digits> <bytes of content>\n    one line that people can read
    then one zstd frame; its content is NDJSON, and the digest is the SHA-256 of that content:
    line 1: the head: name, who froze it when and why, rules, thresholds, edition of the prices
    line 2…: one mission a line, by id: facts, journal range, texts, rows of its trajectory with the list
    price of each model call, and what was computed from them

Keys come in the order of the records, so equal missions and an equal head give equal bytes.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
import zstandard
from msgspec.structs import astuple

from quartermaster.core.assessment import Assessment, Assessor, Finding, Layers, PlainTexts, Row, Texts
from quartermaster.core.comparison import Profile
from quartermaster.core.metrics import Metric
from quartermaster.core.pricing import Price
from quartermaster.core.trajectory import ENTRY_TYPE_OF_KIND, MODEL_CALL
from quartermaster.errors import UsageError

FORMAT: Final = 1
RULES_OF_PAIRS: Final = 1
"""Rises when the same two missions may get another verdict than before."""
CONTENT_LIMIT: Final = 1 << 30
LINE_LIMIT: Final = 1 << 28
MISSIONS_LIMIT: Final = 10_000

_LEVEL: Final = 9
_CHUNK: Final = 1 << 20
_WINDOW_LIMIT: Final = 1 << 27
_LABEL: Final = re.compile(rb"quartermaster capsule (\d{1,6}) sha256:([0-9a-f]{64}) (\d{1,12})\n")
_MAGIC: Final = b"quartermaster capsule "
_LABEL_LIMIT: Final = 128
_INTEGER_LIMIT: Final = 2**63
_DAMAGED: Final = "the capsule is damaged or cut off; take it again from where it was frozen"

_Index = Annotated[int, msgspec.Meta(ge=0)] | None
_Kind = Annotated[int, msgspec.Meta(ge=min(ENTRY_TYPE_OF_KIND), le=max(ENTRY_TYPE_OF_KIND))]


class FrozenRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of core.trajectory; texts are places in the mission's `texts`.

    `listed` is what the price list said of a model call, in picodollars: None where it said nothing, a
    text where the number is beyond 64 bits.
    """

    instant: int
    kind: _Kind
    tool: _Index
    success: bool | None
    severity: Annotated[int, msgspec.Meta(ge=0, le=3)]
    tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cost: int | None
    duration_ms: int | None
    pairing: int | None
    ledger: int | None
    arguments: _Index
    cache_write_1h_tokens: int | None
    terms: _Index
    listed: int | str | None = None


class JournalRange(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of the journal a mission was frozen from: how many, the first and the last id in the
    order of time, and the SHA-256 over all of them byte for byte. What this program tells is left out."""

    entries: int
    first: str | None
    last: str | None
    sha256: str


class Told(msgspec.Struct, frozen=True):
    """What somebody said of how a mission ended."""

    origin: str
    outcome: str | None
    reward: float | None


class Computed(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about a mission when it was frozen."""

    steps: int
    goal_reached: bool
    signature: str
    layers: Layers
    metrics: tuple[Metric, ...]
    findings: tuple[Finding, ...]


class MissionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a mission beside its steps; times are nanoseconds, None where there is no clock."""

    mission_id: str
    format: str | None = None
    title: str | None = None
    task: str | None = None
    variant: str | None = None
    trial: int | None = None
    agent: str | None = None
    model: str | None = None
    version: str | None = None
    commit: str | None = None
    labels: dict[str, Any] | None = None
    outcome: str | None = None
    outcome_origin: str | None = None
    outcomes: tuple[Told, ...] = ()
    reward: float | None = None
    started_at: int | None = None
    ended_at: int | None = None


class FrozenMission(msgspec.Struct, frozen=True, kw_only=True):
    """One mission with everything that a verdict on it rests on. It keeps no words, so `ungrounded`, the
    findings of ungrounded actions in them, was counted when it was frozen; None where that was not done."""

    facts: MissionFacts
    journal: JournalRange
    texts: tuple[str, ...]
    rows: tuple[FrozenRow, ...]
    computed: Computed
    ungrounded: int | None = None

    @property
    def mission_id(self) -> str:
        return self.facts.mission_id

    def steps(self) -> Iterator[Row]:
        """The rows of its trajectory, with their texts."""
        texts = self.texts

        def text(place: int | None) -> str | None:
            return None if place is None else texts[place]

        for row in self.rows:
            fields = astuple(row)
            yield (
                *fields[:2], text(row.tool), *fields[3:14], text(row.arguments), fields[15], text(row.terms)
            )  # fmt: skip


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier version of a baseline, that this one was accepted for."""

    digest: str
    created_at: str | None
    created_by: str | None
    reason: str | None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a capsule says of itself. `name` is that of a baseline; without one it is the side of a verdict.

    `prices` is the edition of the price lists, `created_at` an RFC 3339 time.
    """

    made_by: str
    rules_of_pairs: int
    rules_of_sets: int
    profile: Profile
    prices: str
    missions: int
    name: str | None = None
    created_at: str | None = None
    created_by: str | None = None
    reason: str | None = None
    history: tuple[Former, ...] = ()
    """What was accepted before, the last first."""


class Capsule(msgspec.Struct, frozen=True, kw_only=True):
    """An open capsule; `digest` is the SHA-256 of its content, in hex."""

    digest: str
    head: Head
    missions: tuple[FrozenMission, ...]


class Sealed(msgspec.Struct, frozen=True):
    """A capsule as the bytes of its file."""

    digest: str
    data: bytes


def accepted_after(head: Head, former: Capsule) -> Head:
    """The head of a capsule that takes the place of another, whose history it goes on with."""
    last = Former(
        digest=former.digest,
        created_at=former.head.created_at,
        created_by=former.head.created_by,
        reason=former.head.reason,
    )
    return msgspec.structs.replace(head, history=(last, *former.head.history))


def freeze(
    facts: MissionFacts,
    journal: JournalRange,
    rows: Iterable[Row],
    price: Price,
    ungrounded: int | None,
) -> FrozenMission:
    """One mission; its rows hold their texts themselves. `ungrounded` is what its words showed."""
    places: dict[str, int] = {}

    def place(text: str | None) -> int | None:
        return None if text is None else places.setdefault(text, len(places))

    def frozen(row: Row) -> FrozenRow:
        success = None if row[3] is None else bool(row[3])
        fields: list[Any] = [*row]
        fields[2], fields[14], fields[16] = place(row[2]), place(row[14]), place(row[16])
        fields[3] = success
        return FrozenRow(*fields, listed=_listed(row, price))  # type: ignore[misc]

    kept = list(rows)
    frozen_rows = tuple(map(frozen, kept))
    assessor = Assessor(PlainTexts(), 0, price)
    assessor.add(kept)
    return FrozenMission(
        facts=facts,
        journal=journal,
        texts=tuple(places),
        rows=frozen_rows,
        computed=computed_from(assessor.result()),
        ungrounded=ungrounded,
    )


def computed_from(assessment: Assessment) -> Computed:
    """What a capsule keeps of an assessment."""
    return Computed(
        steps=assessment.steps,
        goal_reached=assessment.goal_reached,
        signature=assessment.signature,
        layers=assessment.layers,
        metrics=assessment.metrics,
        findings=assessment.findings,
    )


def with_texts(rows: Iterable[Row], texts: Texts) -> Iterator[Row]:
    """Rows whose keys of texts are replaced by the texts."""
    for row in rows:
        tool, arguments, terms = (None if row[at] is None else texts[row[at]] for at in (2, 14, 16))
        yield (*row[:2], tool, *row[3:14], arguments, row[15], terms)


def _listed(row: Row, price: Price) -> int | str | None:
    if row[1] != MODEL_CALL:
        return None
    cost = price(
        row[2] or "",
        fresh=row[6],
        output=row[7],
        cache_read=row[8],
        cache_write=row[9],
        instant=row[0],
        cache_write_1h=row[15],
        terms=row[16] or None,
    )
    return cost if cost is None or abs(cost) < _INTEGER_LIMIT else str(cost)


class FrozenPrices:
    """The prices of one frozen mission: what the price lists said of each of its calls, and of no other."""

    def __init__(self, mission: FrozenMission) -> None:
        self._known: dict[tuple[Any, ...], int | None] = {}
        for row, frozen in zip(mission.steps(), mission.rows, strict=True):
            if frozen.kind == MODEL_CALL:
                asked = (row[2] or "", row[6], row[7], row[8], row[9], row[0], row[15], row[16] or None)
                self._known[asked] = None if frozen.listed is None else int(frozen.listed)

    def __call__(
        self,
        model: str,
        *,
        fresh: int | None,
        output: int | None,
        cache_read: int | None,
        cache_write: int | None,
        instant: int,
        cache_write_1h: int | None = None,
        terms: str | None = None,
    ) -> int | None:
        """What the price list said; None where it said nothing."""
        asked = (model, fresh, output, cache_read, cache_write, instant, cache_write_1h, terms)
        return self._known.get(asked)


def seal(head: Head, missions: Iterable[FrozenMission]) -> Sealed:
    """The file of a capsule; missions in order of id, whatever the order in which they come."""
    ordered = sorted(missions, key=lambda mission: mission.mission_id)
    encode = msgspec.json.Encoder(order="deterministic").encode
    content = b"\n".join(
        [encode(msgspec.structs.replace(head, missions=len(ordered))), *map(encode, ordered), b""]
    )
    digest = sha256(content).hexdigest()
    label = b"%s%d sha256:%s %d\n" % (_MAGIC, FORMAT, digest.encode(), len(content))
    return Sealed(digest, label + zstandard.ZstdCompressor(level=_LEVEL).compress(content))


def digest_of(data: bytes) -> str | None:
    """The digest that the label of a file claims; None for what is no capsule. The content is not read."""
    found = _LABEL.match(data[:_LABEL_LIMIT])
    return None if found is None else found[2].decode()


def is_capsule(start: bytes) -> bool:
    """Whether a file that begins so is meant to be a capsule."""
    return start.startswith(_MAGIC)


def open_capsule(data: bytes) -> Capsule:
    """The content of a file, with every byte checked; UsageError says in one line why it is refused."""
    found = _LABEL.match(data[:_LABEL_LIMIT])
    if found is None:
        raise UsageError(_DAMAGED if is_capsule(data) else "this is no capsule of a baseline")
    version, length = int(found[1]), int(found[3])
    if version > FORMAT:
        raise UsageError(
            f"the capsule has format {version}, this version reads up to {FORMAT}; install a newer one"
        )
    if not 0 < length <= CONTENT_LIMIT:
        raise UsageError(
            f"the capsule claims {length:,} bytes of content, at most {CONTENT_LIMIT:,} are read"
        )
    digest = sha256()
    lines = _lines(data[found.end() :], length, digest)
    try:
        head = _decode_head(next(lines, b""))
        missions = tuple(_mission(line) for line in lines)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
        raise UsageError(_DAMAGED) from None
    if digest.hexdigest() != found[2].decode() or len(missions) != head.missions:
        raise UsageError(_DAMAGED)
    return Capsule(digest=digest.hexdigest(), head=head, missions=missions)


_decode_head: Final = msgspec.json.Decoder(Head).decode
_decode_mission: Final = msgspec.json.Decoder(FrozenMission).decode


def _mission(line: bytes) -> FrozenMission:
    mission = _decode_mission(line)
    for row in mission.rows:
        for place in (row.tool, row.arguments, row.terms):
            if place is not None and place >= len(mission.texts):
                raise ValueError
        if isinstance(row.listed, str) and len(row.listed) > _LABEL_LIMIT:
            raise ValueError
        _ = row.listed is None or int(row.listed)
    return mission


def _lines(packed: bytes, length: int, digest: Any) -> Iterator[bytes]:
    """The lines of the content; ValueError where it is longer or shorter than its label says."""
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT).stream_reader(packed)
    pending: list[bytes] = []
    read = waiting = count = 0
    while chunk := reader.read(_CHUNK):
        read += len(chunk)
        if read > length:
            raise ValueError
        digest.update(chunk)
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            count += 1
            if count > MISSIONS_LIMIT + 1:
                raise ValueError
            yield b"".join((*pending, line))
            pending, waiting = [], 0
        pending.append(rest)
        waiting += len(rest)
        if waiting > LINE_LIMIT:
            raise ValueError
    if read != length or waiting:
        raise ValueError
