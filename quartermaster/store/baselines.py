"""Baselines: capsules of missions under a name, and the history of what was accepted, by whom and why.

Versions are added and never changed. Each one is told to the journal of the workspace.
"""

import re
from hashlib import sha256
from typing import Final

import msgspec

from quartermaster.core.capsule import JournalRange, MissionFacts, Sealed, Told
from quartermaster.core.journal import format_instant, minted_id
from quartermaster.errors import NotFound, UsageError
from quartermaster.store import journal, missions, retention
from quartermaster.store.database import Connection
from quartermaster.store.journal import entry_id_of
from quartermaster.store.missions import Mission
from quartermaster.store.raw import RawReader

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_REASON_LIMIT: Final = 2_000
_EVALUATIONS: Final = "eval."


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a baseline: the first was frozen, the others were accepted, for a reason."""

    name: str
    version: int
    digest: str
    missions: int
    created_at: int
    created_by: str
    reason: str | None


_COLUMNS: Final = ", ".join(Baseline.__struct_fields__)


def check_name(name: str) -> None:
    """UsageError for a name that cannot be used in commands and addresses."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "the name of a baseline has 1 to 100 letters, digits, dots, dashes, plus and underscores,"
            " and begins with a letter or digit"
        )


def keep_capsule(connection: Connection, workspace: int, sealed: Sealed) -> None:
    """Keep a capsule; one that is there already stays as it is."""
    connection.execute(
        "insert or ignore into capsule (workspace, digest, data) values (?, ?, ?)",
        (workspace, sealed.digest, sealed.data),
    )


def find_capsule(connection: Connection, workspace: int, digest: str) -> bytes | None:
    """The bytes of a capsule of this workspace."""
    row = connection.execute(
        "select data from capsule where workspace = ? and digest = ?", (workspace, digest)
    ).fetchone()
    return None if row is None else bytes(row[0])


def require_capsule(connection: Connection, workspace: int, name: str) -> bytes:
    """The capsule of the version of a baseline that holds; NotFound where there is no such baseline."""
    baseline = require_baseline(connection, workspace, name)
    data = find_capsule(connection, workspace, baseline.digest)
    assert data is not None
    return data


def find_baseline(connection: Connection, workspace: int, name: str) -> Baseline | None:
    """The version of a baseline that holds."""
    return next(iter(history(connection, workspace, name)), None)


def require_baseline(connection: Connection, workspace: int, name: str) -> Baseline:
    """The version of a baseline that holds; NotFound where there is no such baseline."""
    baseline = find_baseline(connection, workspace, name)
    if baseline is None:
        raise NotFound(f"no baseline {name!r}; `quartermaster baseline list` shows which there are")
    return baseline


def history(connection: Connection, workspace: int, name: str) -> list[Baseline]:
    """Every version of a baseline, the one that holds first."""
    rows = connection.execute(
        f"select {_COLUMNS} from baseline where workspace = ? and name = ? order by version desc",  # noqa: S608
        (workspace, name),
    )
    return [Baseline(**dict(zip(Baseline.__struct_fields__, row, strict=True))) for row in rows]


def list_baselines(connection: Connection, workspace: int) -> list[Baseline]:
    """The version that holds of every baseline, by name."""
    rows = connection.execute(
        f"select {_COLUMNS} from baseline b where workspace = ?1 and version ="  # noqa: S608
        " (select max(version) from baseline where workspace = ?1 and name = b.name) order by name",
        (workspace,),
    )
    return [Baseline(**dict(zip(Baseline.__struct_fields__, row, strict=True))) for row in rows]


def add_version(
    connection: Connection,
    workspace: int,
    *,
    name: str,
    sealed: Sealed,
    mission_ids: tuple[str, ...],
    created_by: str,
    reason: str | None,
    accepted: bool,
    now: int,
) -> Baseline:
    """Freeze a new baseline, or accept another capsule for one that is there.

    Its missions are kept from retention as long as this version holds.
    """
    check_name(name)
    if reason is not None and len(reason) > _REASON_LIMIT:
        raise UsageError(f"a reason has at most {_REASON_LIMIT:,} characters")
    former = find_baseline(connection, workspace, name)
    if former is None and accepted:
        require_baseline(connection, workspace, name)
    if former is not None and not accepted:
        raise UsageError(f"there is a baseline {name!r} already; accept the missions for it instead")
    keep_capsule(connection, workspace, sealed)
    baseline = Baseline(
        name=name,
        version=1 if former is None else former.version + 1,
        digest=sealed.digest,
        missions=len(mission_ids),
        created_at=now,
        created_by=created_by,
        reason=reason,
    )
    connection.execute(
        f"insert into baseline (workspace, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (workspace, *msgspec.structs.astuple(baseline)),
    )
    _keep_missions(connection, workspace, name, mission_ids)
    _tell(connection, workspace, baseline, former, now)
    return baseline


def _keep_missions(connection: Connection, workspace: int, name: str, mission_ids: tuple[str, ...]) -> None:
    reason = f"baseline {name}"
    connection.execute(
        "delete from kept_mission where reason = ? and mission in"
        " (select id from mission where workspace = ?)",
        (reason, workspace),
    )
    for mission_id in mission_ids:
        if missions.exists(connection, workspace, mission_id):
            retention.keep(connection, workspace, mission_id, reason)


def _tell(
    connection: Connection, workspace: int, baseline: Baseline, former: Baseline | None, now: int
) -> None:
    (workspace_id,) = connection.execute(
        "select workspace_id from workspace where id = ?", (workspace,)
    ).fetchone()
    done = "frozen" if former is None else "accepted"
    payload = msgspec.to_builtins(baseline) | {
        "created_at": format_instant(now),
        "former": None if former is None else former.digest,
    }
    entry = {
        "id": minted_id("baseline", workspace_id, baseline.name, str(baseline.version)),
        "workspace_id": workspace_id,
        "ts": format_instant(now),
        "entry_type": f"baseline.{done}",
        "severity": "notice",
        "priority": "normal",
        "actor_type": "user",
        "actor_id": baseline.created_by,
        "summary": f"baseline {baseline.name} {done}: {baseline.missions} missions",
        "payload": payload,
    }
    journal.append_facts(connection, workspace, [entry], now=now)


def facts_of(connection: Connection, mission: Mission) -> MissionFacts:
    """What a capsule keeps of a mission beside its steps."""
    return MissionFacts(
        mission_id=mission.mission_id,
        format=mission.format,
        title=mission.title,
        task=mission.task,
        variant=mission.variant,
        trial=mission.trial,
        agent=mission.agent,
        model=mission.model,
        version=mission.version,
        commit=mission.commit_id,
        labels=mission.labels,
        outcome=mission.outcome,
        outcome_origin=mission.outcome_origin,
        outcomes=tuple(
            Told(one.origin, one.outcome, one.reward) for one in missions.outcomes_of(connection, mission.key)
        ),
        reward=mission.reward,
        started_at=mission.started_at,
        ended_at=mission.ended_at,
    )


def journal_range(connection: Connection, mission: int) -> JournalRange:
    """The entries of a mission as they lie there, without those of evaluations."""
    rows = connection.execute(
        "select instant, entry_id, sequence from entry join name on name.id = entry.type"
        " where mission = ? and substr(text, 1, ?) <> ?",
        (mission, len(_EVALUATIONS), _EVALUATIONS),
    )
    ordered = sorted((instant, entry_id_of(key), sequence) for instant, key, sequence in rows)
    reader, digest = RawReader(connection), sha256()
    for _, _, sequence in ordered:
        raw = reader.read(mission, sequence) or b""
        digest.update(b"%d:" % len(raw) + raw)
    return JournalRange(
        entries=len(ordered),
        first=ordered[0][1] if ordered else None,
        last=ordered[-1][1] if ordered else None,
        sha256=digest.hexdigest(),
    )
