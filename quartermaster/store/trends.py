"""What trends are made of: missions of a workspace with their counts, in as few queries as metrics."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final

import msgspec

from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.core.series import Facts
from quartermaster.core.trajectory import COMMAND, COMMAND_END, COMMAND_START, KEEPER_DECISION, MODEL_CALL
from quartermaster.store.database import Connection
from quartermaster.store.names import Texts

MOST_MISSIONS: Final = 100_000
"""The latest so many are looked at."""

_PLACED_AT: Final = "case when ordinal or started_at is null then created_at else started_at end"
_COLUMNS: Final = (
    f"id, mission_id, {_PLACED_AT} placed_at, case when ordinal then null else started_at end,"
    " case when ordinal then null else ended_at end, task, agent, model, version, commit_id, labels, outcome,"
    " model_calls, calls_with_tokens, calls_with_cost, total_tokens, cost"
)
_PROMPT_LABELS: Final = ("prompt_version", "prompt")
_COUNTED: Final = frozenset({"tool_success_rate", "work_steps"})
_PRICED: Final = "total_cost_usd"


class TrendFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which missions a trend is made of; `metrics` are the ones asked for, none stands for all."""

    metrics: tuple[str, ...] = ()
    task: str | None = None
    variant: str | None = None
    since: int | None = None
    until: int | None = None


def trend_facts(
    connection: Connection, workspace: int, filters: TrendFilter, prices: OwnPrices
) -> list[Facts]:
    """Missions that started within the filter, the latest last. What no metric asks for is not looked up."""
    where, values = _where(workspace, filters)
    rows = connection.execute(
        f"select * from (select {_COLUMNS} from mission where {where}"  # noqa: S608
        " order by placed_at desc, mission_id desc limit ?) order by placed_at, mission_id",
        (*values, MOST_MISSIONS),
    ).fetchall()
    costs: dict[int, int | None] = {}
    counts: dict[int, tuple[int, int, int, int]] = {}
    if not filters.metrics or _PRICED in filters.metrics:
        partly_priced = [row[0] for row in rows if row[14] < row[12]]
        costs = _priced(connection, partly_priced, PriceBook(prices))
    if not filters.metrics or _COUNTED & set(filters.metrics):
        counts = _counted(connection, where, values)
    return [_facts(row, costs, counts.get(row[0], (0, 0, 0, 0))) for row in rows]


def _where(workspace: int, filters: TrendFilter) -> tuple[str, list[Any]]:
    conditions = ["workspace = ?", "mission_id is not null"]
    values: list[Any] = [workspace]
    for condition, value in (
        ("task = ?", filters.task),
        ("variant = ?", filters.variant),
        (f"{_PLACED_AT} >= ?", filters.since),
        (f"{_PLACED_AT} < ?", filters.until),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return " and ".join(conditions), values


def _facts(row: tuple[Any, ...], costs: dict[int, int | None], counts: tuple[int, int, int, int]) -> Facts:
    calls, with_tokens, with_cost, tokens, cost = row[12:17]
    commands, decisions, results, successes = counts
    return Facts(
        mission_id=row[1],
        placed_at=row[2],
        started_at=row[3],
        ended_at=row[4],
        task=row[5],
        agent=row[6],
        model=row[7],
        version=row[8],
        commit=row[9],
        prompt=_prompt(row[10]),
        outcome=row[11],
        model_calls=calls,
        tokens=tokens if with_tokens == calls else None,
        cost=cost if with_cost == calls else costs.get(row[0]),
        commands=commands,
        decisions=decisions,
        results=results,
        successes=successes,
    )


def _prompt(labels: bytes | None) -> str | None:
    """Which prompt was used, where the labels of a mission say so."""
    told = msgspec.json.decode(labels) if labels else {}
    named = (told.get(name) for name in _PROMPT_LABELS)
    return next((str(value)[:200] for value in named if isinstance(value, str | int)), None)


def _counted(
    connection: Connection, where: str, values: Collection[Any]
) -> dict[int, tuple[int, int, int, int]]:
    """Commands, access decisions, how many of both have an outcome, and a good one, by mission.

    A command that was journalled at its start and at its end is one.
    """
    rows = connection.execute(
        "select mission, sum(whole + max(starts, ends)), sum(decisions), sum(results), sum(successes) from ("  # noqa: S608
        " select mission, sum(kind = ?) whole, sum(kind = ?) starts, sum(kind = ?) ends,"
        " sum(kind = ?) decisions, count(success) results, coalesce(sum(success), 0) successes"
        f" from entry where mission in (select id from mission where {where}) and kind in (?, ?, ?, ?)"
        " group by mission, pairing) group by mission",
        (*_TOOL_KINDS, *values, *_TOOL_KINDS),
    )
    return {mission: (commands, decided, known, good) for mission, commands, decided, known, good in rows}


_TOOL_KINDS: Final = (COMMAND, COMMAND_START, COMMAND_END, KEEPER_DECISION)


def _priced(connection: Connection, missions: Collection[int], price: PriceBook) -> dict[int, int | None]:
    """What the model calls of missions cost, by list price where none was recorded; None for a mission
    with a call whose price cannot be said."""
    texts = Texts(connection)
    costs: dict[int, int | None] = defaultdict(int)
    for mission in missions:
        for instant, model, terms, fresh, output, read, write, hour, cost in connection.execute(
            "select instant, tool, terms, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,"
            " cache_write_1h_tokens, cost from entry where mission = ? and kind = ?",
            (mission, MODEL_CALL),
        ):
            listed = cost
            if listed is None:
                listed = price(
                    texts[model] or "",
                    fresh=fresh,
                    output=output,
                    cache_read=read,
                    cache_write=write,
                    cache_write_1h=hour,
                    instant=instant,
                    terms=texts[terms] or None,
                )
            if listed is None:
                costs[mission] = None
                break
            costs[mission] = (costs[mission] or 0) + listed
    return costs
