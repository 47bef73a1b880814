"""Actions on what nothing had told: counted from the words of a mission, live and in a capsule alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster import grounds
from quartermaster.core.comparison import Profile
from quartermaster.core.frozen import head_of, judge_sets, verify
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.core.report import to_json
from quartermaster.core.selection import Selection
from quartermaster.core.trials import Policy
from quartermaster.evaluate import compare_trials, nothing_to_check
from quartermaster.freezing import freeze_missions
from quartermaster.grounds import ungrounded_actions
from quartermaster.sets import read_trials
from quartermaster.store import access, journal, missions
from quartermaster.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as database:
        database.write_blocking(
            lambda c: access.create_workspace(c, "local", workspace_id="local", name="local", now=1)
        )
        yield database


def add(database: Database, variant: str, task: int, *, order: str) -> None:
    name = f"{variant}-{task}"
    told = [
        {"entry_type": "mission.created", "payload": {"task": f"task-{task}", "variant": variant}},
        {"entry_type": "message.user", "payload": {"text": "Where is order W7788?"}},
        {"entry_type": "exec.command", "payload": {"tool": "find_order", "arguments": {"order_id": order}}},
        {"entry_type": "mission.outcome", "payload": {"outcome": "succeeded", "origin": "verifier"}},
    ]
    facts = [
        {"id": f"{name}-{n}", "mission_id": name, "ts": f"2026-01-01T00:00:{n:02d}Z"} | one
        for n, one in enumerate(told)
    ]
    database.write_blocking(lambda c: journal.append_facts(c, 1, facts, now=1))


def both(database: Database, tasks: int = 8) -> None:
    for task in range(tasks):
        add(database, "old", task, order="W7788")
        add(database, "new", task, order="W9911")


def hallucinations(report):
    return next(one for one in report.comparison.metrics if one.metric == "hallucinations")


def test_an_agent_that_makes_up_ids_has_regressed_live_as_frozen(database):
    both(database)
    sides = [Selection(variant=variant) for variant in ("old", "new")]
    price = PriceBook(OwnPrices())
    known = {"price": price, "check": nothing_to_check}
    trials = [database.read_blocking(lambda c: read_trials(c, 1, one, **known)) for one in sides]  # noqa: B023
    live = compare_trials(*trials, Policy(), run_id="r")
    found = hallucinations(live)
    assert (found.baseline, found.candidate, found.verdict) == (0, 1, "regressed")
    head = head_of("0", Profile(), live.prices)
    capsules = [
        database.read_blocking(lambda c: freeze_missions(c, 1, one, head, **known)).capsule  # noqa: B023
        for one in sides
    ]
    assert [mission.ungrounded for mission in capsules[1].missions] == [1] * 8
    frozen = judge_sets(*capsules, Profile(), run_id="r", made_by="0")
    assert frozen.comparison == live.comparison
    assert frozen.comparison.behaviour is not None
    assert verify(to_json(frozen), *capsules).identical


def test_a_mission_too_long_to_be_read_is_not_one_without_hallucinations(database, monkeypatch):
    both(database)
    monkeypatch.setattr(grounds, "MOST_ENTRIES", 3)
    known = {"price": PriceBook(OwnPrices()), "check": nothing_to_check}
    trials = [
        database.read_blocking(lambda c: read_trials(c, 1, Selection(variant=variant), **known))  # noqa: B023
        for variant in ("old", "new")
    ]
    found = hallucinations(compare_trials(*trials, Policy(), run_id="r"))
    assert found.verdict == "not_comparable"
    assert found.reason == "no value in the baseline and the candidate"


def test_the_words_of_a_mission_are_judged_up_to_its_length(database):
    add(database, "new", 1, order="W9911")
    mission = database.read_blocking(lambda c: missions.find_mission(c, 1, "new-1"))
    assert database.read_blocking(lambda c: ungrounded_actions(c, mission, nothing_to_check)) == 1
