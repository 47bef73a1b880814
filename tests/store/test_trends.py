"""What the database tells of missions for their trends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trend_world

from quartermaster.core.pricing import OwnPrices
from quartermaster.core.series import Facts
from quartermaster.store import access, journal
from quartermaster.store.database import Database
from quartermaster.store.trends import TrendFilter, trend_facts

NOW = 1_800_000_000 * 10**9


class Store:
    """A database with one workspace that entries are put into."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "quartermaster.db")
        self.workspace = self.add_workspace("crew")

    def add_workspace(self, slug: str) -> int:
        made = self.database.write_blocking(lambda c: access.create_workspace(c, slug, now=NOW))
        return int(made.key)

    def add(self, *entries: dict[str, Any], workspace: int | None = None) -> None:
        raws = [json.dumps(entry).encode() for entry in entries]
        chosen = self.workspace if workspace is None else workspace
        self.database.write_blocking(lambda c: journal.append(c, chosen, raws, now=NOW))

    def facts(self, **filters: Any) -> list[Facts]:
        chosen = TrendFilter(**filters)
        return self.database.read_blocking(lambda c: trend_facts(c, self.workspace, chosen, OwnPrices()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.database.close()


def entry(number: int, entry_type: str, mission: str = "m", day: int = 1, **payload: Any) -> dict[str, Any]:
    return {
        "id": f"j_{day:08x}{number:08x}",
        "mission_id": mission,
        "ts": f"2027-01-{day:02}T00:00:{number:02}Z",
        "entry_type": entry_type,
        "payload": payload,
    }


def test_a_mission_brings_its_facts_and_its_counts(store: Store):
    store.add(
        entry(0, "mission.created", task="t", agent="a", model="m1", version="2", commit="abc",
              labels={"prompt_version": "p7"}),
        entry(1, "llm.call", model="m1", total_tokens=40, cost_usd=0.5),
        entry(2, "exec.command", command="make", exit_code=0),
        entry(3, "exec.command", command="make", phase="start", call_id="c1"),
        entry(4, "exec.command", command="make", phase="end", call_id="c1", exit_code=1),
        entry(5, "exec.command", command="make", phase="start", call_id="c2"),
        entry(9, "mission.outcome", outcome="failed", origin="verifier"),
    )  # fmt: skip
    (facts,) = store.facts()
    assert (facts.task, facts.agent, facts.model, facts.version) == ("t", "a", "m1", "2")
    assert (facts.prompt, facts.commit, facts.outcome) == ("p7", "abc", "failed")
    assert (facts.cost, facts.tokens, facts.model_calls) == (5 * 10**11, 40, 1)
    assert (facts.commands, facts.decisions, facts.results, facts.successes) == (3, 0, 2, 1)
    assert facts.started_at is not None
    assert facts.ended_at == facts.started_at + 9 * 10**9


def test_access_decisions_have_outcomes_and_are_no_commands(store: Store):
    store.add(
        entry(1, "keeper.decision", decision="allow"),
        entry(2, "keeper.decision", decision="deny"),
        entry(3, "exec.command", command="make", exit_code=0),
    )
    (facts,) = store.facts()
    assert (facts.commands, facts.decisions, facts.results, facts.successes) == (1, 2, 3, 2)


def test_a_cost_that_was_not_recorded_is_the_list_price_or_unknown(store: Store):
    store.add(
        entry(1, "llm.call", "listed", model="gpt-4o-2024-08-06", input_tokens=1_000_000, output_tokens=0),
        entry(2, "llm.call", "listed", model="gpt-4o-2024-08-06", cost_usd=1.0),
        entry(3, "llm.call", "unknown", model="a model of our own", input_tokens=10, output_tokens=1),
    )
    costs = {facts.mission_id: facts.cost for facts in store.facts()}
    assert costs == {"listed": 35 * 10**11, "unknown": None}


def test_what_no_metric_needs_is_not_looked_up(store: Store):
    store.add(entry(1, "exec.command", command="make", exit_code=0))
    (facts,) = store.facts(metrics=("success_rate",))
    assert facts.commands == 0
    (facts,) = store.facts(metrics=("work_steps",))
    assert facts.commands == 1


def test_missions_are_narrowed_by_task_variant_and_start_and_come_in_their_order(store: Store):
    for day in (3, 1, 2):
        store.add(
            entry(0, "mission.created", f"m{day}", day, task=f"t{day % 2}", variant=f"v{day}"),
            entry(1, "note", f"m{day}", day),
        )
    named = [facts.mission_id for facts in store.facts()]
    assert named == ["m1", "m2", "m3"]
    assert [facts.mission_id for facts in store.facts(task="t1")] == ["m1", "m3"]
    assert [facts.mission_id for facts in store.facts(variant="v2")] == ["m2"]
    second = store.facts()[1].placed_at
    assert [facts.mission_id for facts in store.facts(since=second)] == ["m2", "m3"]
    assert [facts.mission_id for facts in store.facts(until=second)] == ["m1"]


def test_a_recording_without_times_is_placed_where_it_was_read_and_has_no_start(store: Store):
    store.add(entry(0, "mission.created", clock="ordinal"), entry(1, "note"))
    (facts,) = store.facts()
    assert (facts.started_at, facts.ended_at, facts.placed_at) == (None, None, NOW)


def test_missions_of_another_workspace_are_not_there(store: Store):
    store.add(entry(1, "note"), workspace=store.add_workspace("other"))
    assert store.facts() == []


def test_every_mission_of_sixty_nights_is_there(store: Store):
    store.add(*map(json.loads, trend_world.lines()))
    facts = store.facts()
    assert len(facts) == trend_world.NIGHTS * trend_world.TASKS
    assert {(one.model_calls, one.commands, one.results) for one in facts} == {(1, 2, 2)}
    assert all(one.cost for one in facts)
