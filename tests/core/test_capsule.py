"""Capsules: what goes in comes out, equal missions give equal bytes, and what is hostile is refused."""

import hashlib

import msgspec
import pytest
import zstandard

from quartermaster.core import capsule as capsules
from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.capsule import (
    JournalRange,
    MissionFacts,
    computed_from,
    digest_of,
    freeze,
    open_capsule,
    seal,
)
from quartermaster.core.comparison import Profile, compare, first_divergence
from quartermaster.core.frozen import (
    Today,
    assess_frozen,
    changed_metrics,
    head_of,
    judge_pair,
    judge_sets,
    mission_for,
    recompute,
    trials_of,
    verify,
)
from quartermaster.core.pricing import OwnPrice, OwnPrices, PriceBook
from quartermaster.core.report import regression_report, to_json
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trajectory import COMMAND, MODEL_CALL, STATUS_CHANGE, Step
from quartermaster.core.trials import Policy, trial_of
from quartermaster.errors import UsageError

DAY = 1_750_000_000 * 10**9
NOWHERE = JournalRange(entries=0, first=None, last=None, sha256="0" * 64)


def prices(dollars):
    from decimal import Decimal

    return PriceBook(
        OwnPrices((OwnPrice(pattern="m*", since=None, input=Decimal(dollars), output=Decimal(dollars)),))
    )


def rows(commands=4, failed=0, tokens=1_000, tool="make"):
    told = [Step(DAY, MODEL_CALL, "m1", True, 0, 2 * tokens, tokens, tokens, terms="openai")]
    for index in range(commands):
        ok = index < commands - failed
        told.append(Step(DAY + index, COMMAND, f"{tool} {index}", ok, arguments="{}"))
    return [*told, Step(DAY + 60, STATUS_CHANGE, "completed", True)]


def frozen(name, price=None, task=None, outcome="succeeded", **told):
    facts = MissionFacts(
        mission_id=name, task=task or name, outcome=outcome, started_at=DAY, ended_at=DAY + 10**10
    )
    return freeze(facts, NOWHERE, rows(**told), price or prices("1"), 0)


def sealed(*missions, edition="first"):
    return open_capsule(seal(head_of("0", Profile(), edition), missions).data)


def packed(content, *, version=1, digest=None, length=None):
    """A file around any content, with a label that fits it unless told otherwise."""
    told = digest or hashlib.sha256(content).hexdigest()
    label = f"quartermaster capsule {version} sha256:{told} {len(content) if length is None else length}\n"
    return label.encode() + zstandard.ZstdCompressor().compress(content)


def content_of(data):
    return zstandard.ZstdDecompressor().decompress(data[data.index(b"\n") + 1 :])


def test_what_was_frozen_comes_out_as_it_was():
    mission = frozen("a", commands=3, failed=1)
    opened = sealed(mission)
    assert opened.missions == (mission,)
    assert list(opened.missions[0].steps()) == [tuple(row) for row in rows(commands=3, failed=1)]
    assert computed_from(assess_frozen(opened.missions[0])) == mission.computed


def test_equal_missions_give_equal_bytes_in_whatever_order_they_come():
    head = head_of("0", Profile(), "first")
    one, other = frozen("a"), frozen("b")
    assert seal(head, [one, other]) == seal(head, [other, one])
    assert seal(head, [one]).digest != seal(head, [other]).digest


def test_the_label_names_the_digest_of_the_content():
    data = seal(head_of("0", Profile(), "first"), [frozen("a")]).data
    assert digest_of(data[:128]) == hashlib.sha256(content_of(data)).hexdigest()
    assert digest_of(b"{}") is None


def test_a_frozen_mission_keeps_the_prices_it_was_frozen_with():
    mission = sealed(frozen("a", prices("1"))).missions[0]
    assert assess_frozen(mission).metric("total_cost_usd").value == 0.002
    assert assess_frozen(mission, prices("3")).metric("total_cost_usd").value == 0.006


def test_a_price_beyond_64_bits_is_kept():
    mission = sealed(frozen("a", prices("1000000"), tokens=2**40)).missions[0]
    assert assess_frozen(mission) == assess(rows(tokens=2**40), PlainTexts(), 0, prices("1000000"))


def test_the_verdict_on_two_capsules_is_that_on_the_missions_themselves():
    before, after = rows(commands=10), rows(commands=10, failed=4, tool="ninja")
    judged = [assess(side, PlainTexts(), 0, prices("1")) for side in (before, after)]
    texts = PlainTexts()
    comparison = compare(*judged, Profile(), first_divergence(before, after, texts, texts))
    direct = regression_report(
        comparison, *judged, run_id="r", baseline_mission_id="a", candidate_mission_id="b", prices="first"
    )
    capsules = sealed(frozen("a", commands=10)), sealed(frozen("b", commands=10, failed=4, tool="ninja"))
    by_capsules = judge_pair(*capsules, Profile(), run_id="r", made_by="0")
    graded = msgspec.structs.replace(direct, evidence=by_capsules.evidence, provenance=by_capsules.provenance)
    assert by_capsules == graded
    assert by_capsules.regressed


def test_the_trials_of_a_capsule_are_those_of_its_missions():
    missions = [frozen(f"m{n}", commands=n + 1, outcome="failed" if n % 3 else "succeeded") for n in range(8)]
    direct = [
        trial_of(mission.facts, assess(rows(commands=n + 1), PlainTexts(), 0, prices("1")), 0)
        for n, mission in enumerate(missions)
    ]
    opened = sealed(*missions)
    assert list(trials_of(opened)) == direct
    report = judge_sets(opened, opened, Profile(), run_id="r", made_by="0")
    assert report.comparison == compare_sets(direct, direct, Policy())


@pytest.mark.parametrize("kind", ["pair", "sets"])
def test_a_report_follows_from_its_capsules_bit_by_bit(kind):
    names = "a" if kind == "pair" else "abcdefgh"
    before = sealed(*(frozen(name, commands=10) for name in names))
    after = sealed(*(frozen(name, commands=10, failed=5) for name in names))
    judge = judge_pair if kind == "pair" else judge_sets
    report = to_json(judge(before, after, Profile(hallucinations=1), run_id="r", made_by="0"))
    assert verify(report, before, after).identical
    tampered = verify(report.replace(b'"regressed":true', b'"regressed":false', 1), before, after)
    assert not tampered.identical
    assert [one.field for one in tampered.differences] == ["regressed"]
    assert tampered.reasons == ("rules and prices are the same: the report is not what its capsules say",)


def test_a_report_under_other_rules_or_prices_says_so():
    before, after = sealed(frozen("a")), sealed(frozen("a", commands=9))
    report = judge_pair(before, after, Profile(), run_id="r", made_by="0")
    older = msgspec.structs.replace(report.provenance, rules_of_pairs=0)
    told = verify(to_json(msgspec.structs.replace(report, provenance=older)), before, after)
    assert told.reasons == ("the rules for pairs were version 0, here they are version 1",)
    dearer = verify(to_json(report), before, sealed(frozen("a", prices("2"), commands=9), edition="second"))
    assert "the candidate was priced by first, its capsule by second" in dearer.reasons


def test_a_changed_price_flips_a_verdict_and_is_named_as_the_cause():
    before, after = sealed(frozen("a", tokens=1_000)), sealed(frozen("a", tokens=1_300))
    report = judge_pair(before, after, Profile(), run_id="r", made_by="0")
    assert report.regressed_metrics == ("total_cost_usd",)
    free = recompute(report, before, after, Today(prices("0"), "free", Profile()))
    assert (free.flips, free.because) == (True, ("prices",))
    same = recompute(report, before, after, Today(prices("1"), "same", Profile()))
    assert (same.flips, same.because) == (False, ())
    looser = recompute(report, before, after, Today(prices("1"), "same", Profile(total_cost_usd=0.5)))
    assert (looser.flips, looser.because) == (True, ("thresholds",))


def test_metrics_of_a_baseline_that_would_be_others_today_are_named():
    baseline = sealed(frozen("a"), frozen("b"))
    assert list(changed_metrics(baseline, prices("1"))) == []
    changed = list(changed_metrics(baseline, prices("2")))
    assert {(one.mission_id, one.metric, one.because) for one in changed} == {
        ("a", "total_cost_usd", "prices"),
        ("b", "total_cost_usd", "prices"),
    }


def test_one_mission_is_held_against_the_one_of_its_task():
    baseline = sealed(frozen("a", task="t1"), frozen("b", task="t2"))
    candidate = MissionFacts(mission_id="c", task="t2")
    assert [one.mission_id for one in mission_for(baseline, candidate).missions] == ["b"]
    with pytest.raises(UsageError, match="compare sets of missions instead"):
        mission_for(baseline, MissionFacts(mission_id="c", task="t3"))


WHOLE = seal(head_of("0", Profile(), "first"), [frozen("a"), frozen("b")]).data
CONTENT = content_of(WHOLE)


def test_a_capsule_that_is_cut_anywhere_is_refused():
    for length in range(len(WHOLE)):
        with pytest.raises(UsageError):
            open_capsule(WHOLE[:length])


def test_a_capsule_with_a_flipped_bit_is_refused_or_the_same():
    whole = open_capsule(WHOLE)
    for position in range(len(WHOLE)):
        flipped = bytearray(WHOLE)
        flipped[position] ^= 1 << position % 8
        try:
            assert open_capsule(bytes(flipped)) == whole  # bits of the frame that say nothing of the content
        except UsageError as error:
            assert "\n" not in str(error)


LINES = CONTENT.splitlines()
MISSION = msgspec.json.decode(LINES[1])


def lines(*missions, head=LINES[0]):
    return b"".join(line + b"\n" for line in (head, *missions))


def mission(**changes):
    return msgspec.json.encode(MISSION | changes)


def row(place, value):
    told = list(MISSION["rows"][0])
    told[place] = value
    return mission(rows=[told])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n[]\n[]\n",
        CONTENT[:-1],
        CONTENT + b"{}\n",
        LINES[0] + b"\n",
        lines(mission(rows="none"), LINES[2]),
        lines(mission(texts=[1]), LINES[2]),
        lines(row(1, 99), LINES[2]),
        lines(row(1, "llm.call"), LINES[2]),
        lines(row(2, 1_000), LINES[2]),
        lines(row(2, -1), LINES[2]),
        lines(row(4, 9), LINES[2]),
        lines(row(10, 1e300), LINES[2]),
        lines(row(17, "one"), LINES[2]),
        lines(row(17, "9" * 5_000), LINES[2]),
        lines(mission(rows=[[1, 8]]), LINES[2]),
        lines(b"[" * 100_000, LINES[2]),
        lines(b"\xff\xfe", LINES[2]),
        lines(*LINES[1:], head=LINES[0].replace(b'"missions":2', b'"missions":"2"')),
        lines(*LINES[1:], head=LINES[0].replace(b'"tool_success_rate":0.05', b'"tool_success_rate":-1')),
    ],
    ids=range(22),
)
def test_content_that_is_no_capsule_is_refused_in_one_line(content):
    with pytest.raises(UsageError, match=r"damaged or cut off|bytes of content"):
        open_capsule(packed(content))


def test_a_capsule_of_a_newer_version_asks_for_a_newer_program():
    with pytest.raises(UsageError, match="format 2, this version reads up to 1; install a newer one"):
        open_capsule(packed(CONTENT, version=2))


def test_what_is_no_capsule_at_all_is_called_that():
    with pytest.raises(UsageError, match="this is no capsule"):
        open_capsule(b'{"entry_type": "note"}')


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="claims"):
        open_capsule(packed(b"{}\n", length=10**12 - 1))
    bomb = packed(b"0" * 50_000_000, length=100)
    with pytest.raises(UsageError, match="damaged"):
        open_capsule(bomb)
    monkeypatch.setattr(capsules, "LINE_LIMIT", 1_000_000)
    with pytest.raises(UsageError, match="damaged"):
        open_capsule(packed(b"0" * 50_000_000))
