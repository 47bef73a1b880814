"""The catalogue of metrics: worked examples, and what holds of every recording."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcripts import SECOND, asked, call, model, said, status, told

from quartermaster.core.examination import examine
from quartermaster.core.failure_modes import Context
from quartermaster.core.mission_metrics import CATALOGUE, Known, Partial, Undefined
from quartermaster.core.mission_metrics.intervals import longest_chain, union
from quartermaster.core.transcript import Event, EventKind


def measured(*events, context=None, **facts):
    examination = examine(told(*events, **facts), context=context or Context())
    return {metric.id: metric for metric in examination.metrics}


def reading(name, *events, **facts):
    return measured(*events, **facts)[name].reading


def event(kind, name, **more):
    return Event(position=0, entry_id="", instant=0, kind=kind, name=name, entry_type=name, **more)


def delegate(agent, to):
    return event(EventKind.DELEGATION, "assignment.created", agent=agent, to=to, step=0)


BLOCK = event(EventKind.BLOCK, "guardrail.output_blocked", severity=2, step=0)
QUESTION = event(EventKind.QUESTION, "peer.escalation", step=0)
ANSWER = event(EventKind.ANSWER, "peer.escalation", step=0)
GOOD, BAD = call("read", {"n": 1}), call("read", {"n": 1}, succeeded=False, error="timed out")


def test_every_metric_says_what_it_is():
    for one in CATALOGUE.values():
        assert one.definition.endswith("."), one.id
        assert one.population and one.unit and one.export, one.id


@pytest.mark.parametrize(
    ("name", "events", "value"),
    [
        ("tool_calls", [GOOD, BAD, model()], 2),
        ("tool_call_success_rate", [GOOD, GOOD, BAD, call("x", succeeded=None)], 2 / 3),
        ("tool_error_rate", [GOOD, BAD, GOOD, GOOD], 1 / 4),
        ("first_try_success", [BAD, GOOD, call("write", {"n": 2})], 1 / 2),
        ("recovery_rate", [BAD, BAD, GOOD], 1),
        ("recovery_rate", [BAD, *[call("other", {"n": n}) for n in range(5)], GOOD], 0),
        ("silent_failure_count", [call("fetch", {}, output='{"error": "no such page"}')], 1),
        ("redundant_call_ratio", [call("read", {"a": 1}, output="x")] * 3, 2 / 3),
        ("work_steps", [GOOD, model(), status("running")], 2),
        ("llm_calls", [GOOD, model(), model()], 2),
        ("turns", [asked("a"), model(), GOOD, asked("b"), asked("c"), model()], 2),
        (
            "handoffs",
            [call("x", agent="a"), delegate("a", "b"), call("x", agent="b"), call("x", agent="a")],
            2,
        ),
        ("agents", [call("x", agent="a"), delegate("a", "b")], 2),
        ("depth", [delegate("a", "b"), delegate("b", "c"), delegate("a", "d")], 3),
        ("guardrail_blocks", [BLOCK, GOOD, BLOCK], 2),
        ("guardrail_block_rate", [BLOCK, GOOD, model()], 1 / 2),
        ("hallucination_count", [BLOCK], 1),
        ("escalations", [QUESTION, ANSWER, QUESTION], 2),
        ("human_interventions", [asked("goal"), GOOD, asked("more"), QUESTION, ANSWER], 2),
        ("mission_success", [status("completed")], 1),
        ("tokens_in", [model(input_tokens=5, cache_read_tokens=90, cache_write_tokens=5)], 100),
        ("cache_hit_ratio", [model(input_tokens=10, cache_read_tokens=90)], 0.9),
        ("tokens_out", [model(output_tokens=7), model(output_tokens=3)], 10),
        ("context_peak", [model(input_tokens=5), model(input_tokens=9)], 9),
        ("context_growth", [model(input_tokens=100 + 30 * n) for n in range(6)], 30),
        ("cost_usd", [model(cost=10**12, tokens=5), model(cost=5 * 10**11, tokens=5)], 1.5),
    ],
)
def test_a_worked_example(name, events, value):
    assert reading(name, *events).number == pytest.approx(value)


def test_times_are_unions_of_spans():
    def ran(begin, end, make, *rest):
        return make(*rest, instant=begin * SECOND, ended_at=end * SECOND)

    events = [ran(1, 5, model), ran(2, 4, call, "read"), ran(8, 10, call, "write")]
    found = measured(*events)
    seconds = {name: found[name].reading.number for name in ("wall_time", "active_time", "llm_time")}
    assert seconds == {"wall_time": 9, "active_time": 6, "llm_time": 4}
    assert (found["tool_time"].reading.number, found["idle_time"].reading.number) == (4, 3)


def test_a_chain_of_causes_is_as_long_as_its_spans_that_wait_for_each_other():
    root = call("root", instant=1, ended_at=1 + 10 * SECOND, span="r")
    first = call("a", instant=2, ended_at=2 + 3 * SECOND, span="a", parent="r")
    beside = call("b", instant=3, ended_at=3 + 4 * SECOND, span="b", parent="r")
    assert reading("critical_path", root, first, beside).number == pytest.approx(10)
    assert reading("critical_path", first, beside).number == pytest.approx(4)
    assert isinstance(reading("critical_path", call("a", ended_at=5)), Undefined)


def test_a_wait_for_a_human_lasts_until_the_message_or_the_answer():
    events = [asked("goal"), said("done?"), asked("no"), QUESTION, ANSWER]
    assert reading("human_wait", *events).number == pytest.approx(2)


def test_a_recording_without_times_says_nothing_of_durations():
    found = measured(model(ended_at=5), call("x", ended_at=9), timed=False)
    for name in ("wall_time", "active_time", "llm_time", "tool_time", "idle_time", "human_wait"):
        assert isinstance(found[name].reading, Undefined), name


def test_what_is_known_in_part_is_partial():
    tokens = reading("tokens_out", model(output_tokens=4), model())
    assert isinstance(tokens, Partial)
    assert (tokens.value, tokens.known, tokens.of) == (4, 1, 2)
    cost = reading("cost_usd", model(cost=10**12, tokens=30), model(tokens=10))
    assert isinstance(cost, Partial)
    assert (cost.value, cost.known, cost.of) == (1, 30, 40)


def test_money_says_whether_it_was_recorded_or_computed():
    listed, recorded = model(cost=5, cost_listed=True), model(cost=5)
    assert measured(recorded)["cost_usd"].provenance == "recorded"
    assert measured(listed)["cost_usd"].provenance == "computed"
    assert measured(listed, recorded)["cost_usd"].provenance == "mixed"
    assert measured(model())["cost_usd"].provenance == "unknown"


def test_an_open_escalation_counts_once_the_mission_has_ended():
    assert reading("escalation_resolution", QUESTION, ANSWER, QUESTION).number == 1
    assert reading("escalation_resolution", QUESTION, ANSWER, QUESTION, outcome="failed").number == 0.5


def test_the_largest_share_of_a_budget_is_told():
    context = Context(step_budget=10, cost_budget=4 * 10**12)
    found = measured(model(cost=10**12, step=0), context=context)["budget_used"]
    assert found.reading.number == pytest.approx(0.25)
    assert found.parts["steps"].number == pytest.approx(0.1)


def test_arguments_are_held_against_the_schema_of_their_tool():
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}
    context = Context(tool_schemas={"read": schema})
    assert reading("argument_validity", GOOD, call("read", {}), context=context).number == 0.5


def test_an_id_from_nowhere_is_ungrounded():
    known = call("get", {"order": "W12345"}, output="one book")
    made_up = call("get", {"order": "X99999"}, output="none")
    found = reading("ungrounded_argument_rate", asked("cancel W12345"), known, made_up)
    assert found == Known(0.5, 2)


def test_after_an_answer_that_was_not_kept_nothing_is_called_ungrounded():
    silent, later = call("get", {"order": "W12345"}), call("get", {"order": "X99999"})
    found = reading("ungrounded_argument_rate", asked("cancel W12345"), silent, later)
    assert isinstance(found, Partial)
    assert (found.value, found.known, found.of) == (0, 1, 2)


def test_what_a_loop_wasted_is_counted_once():
    loop = [call("look", {"a": 1}, output="same", step=n) for n in range(5)]
    found = measured(*loop)["loop_waste"]
    assert found.reading.number == 4
    assert isinstance(found.parts["tokens"], Undefined)


def test_an_empty_mission_has_no_rates():
    undefined = {name for name, metric in measured().items() if metric.reading.number is None}
    rates = {one.id for one in CATALOGUE.values() if one.unit == "ratio"}
    assert rates <= undefined


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_a_union_is_what_one_counts_second_by_second(spans):
    assert union(spans) == len({second for begin, end in spans for second in range(begin, end)})


def test_the_longest_chain_takes_the_heavier_way():
    assert longest_chain([(0, 5, 5), (5, 9, 4), (3, 8, 7)]) == 9
    assert longest_chain([]) == 0


NUMBERS = st.none() | st.integers(-5, 2**62)
EVENTS = st.builds(
    event,
    st.sampled_from(EventKind),
    st.sampled_from(["read", "write", "completed"]),
    agent=st.sampled_from([None, "a", "b"]),
    to=st.sampled_from([None, "a", "b"]),
    succeeded=st.sampled_from([None, True, False]),
    refused=st.booleans(),
    arguments=st.sampled_from([None, {"id": "ab12x"}, {"id": "cd34y"}]),
    output=st.sampled_from([None, "ab12x", '{"error": "bad"}']),
    ended_at=st.none() | st.integers(0, 10**12),
    tokens=NUMBERS,
    input_tokens=NUMBERS,
    output_tokens=NUMBERS,
    cache_read_tokens=NUMBERS,
    cost=NUMBERS,
    span=st.sampled_from([None, "1", "2"]),
    parent=st.sampled_from([None, "1", "2"]),
    step=st.just(0),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=12), st.booleans())
def test_nothing_is_ever_infinite_or_a_rate_over_nothing(events, timed):
    for metric in measured(*events, timed=timed).values():
        definition = CATALOGUE[metric.id]
        for one in (metric.reading, *metric.parts.values()):
            if isinstance(one, Undefined):
                assert one.reason
                continue
            assert math.isfinite(one.value)
            if isinstance(one, Partial):
                assert 0 < one.known < one.of
        if definition.unit == "ratio" and isinstance(metric.reading, Known):
            assert metric.reading.of > 0
