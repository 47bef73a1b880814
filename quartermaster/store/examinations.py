"""What was found out about missions alone, remembered by revision and by the rules of then."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import zstandard

from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission

if TYPE_CHECKING:  # detectors take longer to load than everything else, and few programs need them
    from quartermaster.core.examination import Examination

_SEVERITIES: Final = ("high", "warn", "info")
_AT_ONCE: Final = 500


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """An examination of a mission as it was at a revision; `contract` are the contract's failure modes."""

    mission: int
    revision: int
    rules: int
    examination: "Examination"
    contract: tuple[str, ...] = ()


def find(connection: Connection, mission: Mission, rules: int) -> "Examination | None":
    """What is remembered of a mission as it is now, by the rules of now."""
    row = connection.execute(
        "select data from examination where mission = ? and revision = ? and rules = ?",
        (mission.key, mission.revision, rules),
    ).fetchone()
    if row is None:
        return None
    from quartermaster.core.examination import Examination  # noqa: PLC0415 - see above

    return msgspec.json.decode(zstandard.ZstdDecompressor().decompress(row[0]), type=Examination)


def keep(connection: Connection, examined: Iterable[Examined]) -> None:
    """Remember examinations; one of a mission that has gone meanwhile is dropped."""
    compress = zstandard.ZstdCompressor().compress
    for one in examined:
        found = one.examination
        is_news = found.unexamined is None and not _is_examined(connection, one)
        severities = found.by_severity
        counted = (None, None, None) if severities is None else severities.values()
        kept = connection.execute(
            "insert into examination (mission, revision, rules, high, warn, info, data)"
            " select id, ?, ?, ?, ?, ?, ? from mission where id = ?"
            " on conflict (mission) do update set revision = excluded.revision, rules = excluded.rules,"
            " high = excluded.high, warn = excluded.warn, info = excluded.info, data = excluded.data"
            " returning mission",
            (one.revision, one.rules, *counted, compress(msgspec.json.encode(found)), one.mission),
        ).fetchone()
        if kept is None:
            continue
        connection.execute("delete from failure_mode where mission = ?", (one.mission,))
        connection.executemany(
            "insert into failure_mode (mission, name) values (?, ?)",
            [(one.mission, name) for name in _names(one)],
        )
        if is_news:
            connection.execute("insert or replace into examined (mission) values (?)", (one.mission,))


def _is_examined(connection: Connection, one: Examined) -> bool:
    """Whether the mission was examined at this revision before, by whatever rules: new rules are no news."""
    query = "select 1 from examination where mission = ? and revision = ? and high is not null"
    return connection.execute(query, (one.mission, one.revision)).fetchone() is not None


def _names(one: Examined) -> list[str]:
    """A failure mode is looked for by the id of its detector, by its name, or by its name in the contract."""
    from quartermaster.core.examination import detector_names  # noqa: PLC0415 - see above

    names = detector_names()
    found = one.examination.counts
    return sorted({*found, *(names[detector] for detector in found if detector in names), *one.contract})


def counts(connection: Connection, missions: Sequence[Mission]) -> Mapping[int, dict[str, int]]:
    """Findings by severity of those missions that were examined as they are now, by whatever rules."""
    revisions = {mission.key: mission.revision for mission in missions}
    holes = ", ".join("?" * len(revisions))
    rows = connection.execute(
        "select mission, revision, high, warn, info from examination"  # noqa: S608 - question marks
        f" where high is not null and mission in ({holes})",
        tuple(revisions),
    )
    return {
        row[0]: dict(zip(_SEVERITIES, row[2:], strict=True)) for row in rows if row[1] == revisions[row[0]]
    }


def outdated(
    connection: Connection,
    rules: int,
    *,
    quiet_before: int,
    longer_an_entry: int,
    longer_at_most: int,
    entries: range,
    limit: int,
) -> list[tuple[int, str]]:
    """Workspace and id of missions that have not changed since an instant and are not examined as they are
    now, by the rules of now; last changed first. For each of its entries a mission has to be quiet for
    `longer_an_entry` nanoseconds more, but no more than `longer_at_most` in all; only those with as many
    `entries` are looked for."""
    return connection.execute(
        "select m.workspace, m.mission_id from mission m left join examination e on e.mission = m.id"
        " where m.mission_id is not null and m.changed_at < ? - min(? * m.entries, ?)"
        " and m.entries between ? and ?"
        " and (e.revision is not m.revision or e.rules is not ?)"
        " order by m.changed_at desc, m.id desc limit ?",
        (
            quiet_before,
            longer_an_entry,
            longer_at_most,
            entries.start,
            entries.stop - 1,
            rules,
            min(limit, _AT_ONCE),
        ),
    ).fetchall()
