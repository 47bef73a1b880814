"""One mission judged alone: fold rules, signatures, the eight metrics, and that pages do not matter."""

import hashlib
import json
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.core import trajectory as t
from quartermaster.core.assessment import Assessor, Finding, PlainTexts, assess, program, steps
from quartermaster.core.journal import read_entry
from quartermaster.core.trajectory import ENTRY_TYPE_OF_KIND, Step, picodollars, step_of

SECOND = 10**9
EMPTY_SEED_0 = "e4f60d0aa6d7f3d3b6a6494b1c861b99f649c6f9ec51abaf201b20f297327c95"
EMPTY_SEED_42 = "e08de2656532c10588b5bf37060f4cc6ecff717aa39354594e9257c18b47b75a"
LS_SEED_0 = "7bcfe8077fbd1f0a7d175cd72edd33fbf50360babee89c51f996462afdb1bca4"
LS_SEED_42 = "e83e7cc3d4e68831705e319082db4a723f014522dafa3663254fc1f9f285f87f"


def unpriced(model, **counts):
    return None


def assessed(*rows, seed=0, price=unpriced):
    return assess(rows, PlainTexts(), seed, price)


def value(assessment, name):
    return assessment.metric(name).value


def command(tool="ls", success=True, at=0, **fields):
    return Step(at * SECOND, t.COMMAND, tool, success, **fields)


def start(tool="ls", at=0, pairing=1):
    return Step(at * SECOND, t.COMMAND_START, tool, None, pairing=pairing)


def end(tool="ls", success=True, at=0, pairing=1):
    return Step(at * SECOND, t.COMMAND_END, tool, success, pairing=pairing)


def model_call(model="m", at=0, **fields):
    return Step(at * SECOND, t.MODEL_CALL, model, True, **fields)


def status(word):
    return Step(0, t.STATUS_CHANGE, word, True)


def charge(dollars, ledger):
    return Step(0, t.COST_INCURRED, cost=picodollars(dollars), ledger=ledger)


def entries(*bodies):
    """Rows of native entries, as the journal holds them."""
    for second, (entry_type, payload) in enumerate(bodies):
        body = {"entry_type": entry_type, "ts": f"2026-01-01T00:00:{second:02d}Z", "payload": payload}
        row = step_of(read_entry(json.dumps(body).encode()))
        if row is not None:
            yield row


# Signatures


def test_the_signature_of_no_steps_is_that_of_the_seed():
    assert assessed().signature == EMPTY_SEED_0
    assert assessed(seed=42).signature == EMPTY_SEED_42


def test_the_signature_of_one_command_is_the_known_one():
    assert assessed(command("ls")).signature == LS_SEED_0
    assert assessed(command("ls"), seed=42).signature == LS_SEED_42


def test_the_signature_covers_the_negative_seed_entry_types_and_tool_names_alone():
    rows = (
        command("ls", success=False, at=1, arguments="a"),
        model_call("gpt", at=2, tokens=3),
        status(None),
    )
    expected = b"-7\0exec.command|ls\0llm.call|gpt\0mission.status_change|\0"
    assert assessed(*rows, seed=-7).signature == hashlib.sha256(expected).hexdigest()


def test_a_lone_surrogate_in_a_tool_name_raises_nothing():
    expected = b"0\0exec.command|\xed\xa0\x80\0"
    assert assessed(command("\ud800")).signature == hashlib.sha256(expected).hexdigest()


def test_costs_and_ends_of_started_commands_leave_the_signature_alone():
    assert assessed(start("ls"), charge(1.0, 4), end("ls")).signature == LS_SEED_0


def test_layers_are_equal_down_to_the_level_of_the_first_difference():
    def layers(*rows):
        return msgspec.structs.astuple(assessed(*rows).layers)

    base = layers(command("/usr/bin/ls -n 3", arguments="x"))
    for row, equal in (
        (command("/usr/bin/ls -n 3", arguments="x"), [True, True, True, True]),
        (command("/bin/ls -n 4", arguments="x"), [True, True, True, True]),
        (command("/usr/bin/ls -n 3", success=False, arguments="x"), [True, True, True, False]),
        (command("/usr/bin/ls -n 3", arguments="y"), [True, True, False, False]),
        (command("/usr/bin/ls -a 3", arguments="x"), [True, True, False, False]),
        (command("/usr/bin/cat -n 3", arguments="x"), [True, False, False, False]),
        (model_call("/usr/bin/ls -n 3"), [False, False, False, False]),
    ):
        assert [mine == theirs for mine, theirs in zip(base, layers(row), strict=True)] == equal


def test_layers_carry_no_seed():
    assert assessed(command(), seed=1).layers == assessed(command(), seed=2).layers


def test_arguments_belong_to_their_step():
    first = assessed(command(arguments="x"), command()).layers
    second = assessed(command(), command(arguments="x")).layers
    assert first.tools == second.tools
    assert first.arguments != second.arguments


def test_a_command_told_twice_has_the_layers_of_one_told_once():
    twice = assessed(start("ls", at=0), end("ls", at=1), command("cat", at=2)).layers
    once = assessed(command("ls", at=0), command("cat", at=2)).layers
    assert twice == once


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("/usr/bin/ls -la", "ls"),
        ("ls", "ls"),
        ("  git  status", "git"),
        ("", ""),
        ("./run/", "run"),
        ("/", ""),
    ],
)
def test_the_program_is_the_first_word_without_its_directory(line, name):
    assert program(line) == name


# Commands


def test_a_start_and_its_end_are_one_step_with_the_outcome_of_the_end():
    assessment = assessed(start(), end(success=False))
    assert (assessment.steps, assessment.commands, assessment.failed_commands) == (1, 1, 1)
    assert value(assessment, "tool_success_rate") == 0.0


def test_ten_failing_commands_told_twice_have_a_success_rate_of_zero():
    rows = [
        row for number in range(10) for row in (start(pairing=number), end(success=False, pairing=number))
    ]
    assert value(assessed(*rows), "tool_success_rate") == 0.0


def test_a_start_that_never_ends_is_a_call_without_an_outcome():
    assessment = assessed(start(), command(success=False))
    assert (assessment.steps, assessment.commands, assessment.commands_without_outcome) == (2, 2, 1)
    rate = assessment.metric("tool_success_rate")
    assert (rate.value, rate.coverage.known, rate.coverage.of) == (0.0, 1, 2)


def test_an_end_without_a_start_is_a_step_of_its_own():
    assessment = assessed(end(success=False), end(success=True))
    assert (assessment.steps, assessment.commands, assessment.failed_commands) == (2, 2, 1)


def test_an_end_closes_the_start_that_was_opened_last():
    nested = assessed(start(), start(), end(success=False), command("x")).layers
    inner_failed = assessed(start(), command(success=False), command("x")).layers
    assert nested.outcomes == inner_failed.outcomes


def test_an_end_closes_only_a_start_of_its_own_pairing():
    assert assessed(start(pairing=1), end(pairing=2)).steps == 2


def test_both_dialects_of_one_mission_give_the_same_assessment():
    documented = entries(
        ("exec.command", {"command": "ls -l", "exit_code": 1}),
        ("llm.call", {"model": "m", "total_tokens": 15, "cost_usd": 0.5}),
        ("mission.status_change", {"to_status": "completed"}),
    )
    emitted = entries(
        ("exec.command", {"cmd": ["ls", "-l"], "phase": "start"}),
        ("exec.command", {"cmd": ["ls", "-l"], "phase": "end", "exit_code": 1}),
        (
            "llm.call",
            {
                "model": "m",
                "input_tokens": 10,
                "output_tokens": 5,
                "cached_input_tokens": 0,
                "cost_usd": 0.5,
                "ledger_id": "l",
            },
        ),
        ("cost.incurred", {"cost_usd": 0.5, "ledger_id": "l"}),
        ("mission.status_change", {"to": "completed"}),
    )
    first, second = assessed(*documented), assessed(*emitted)
    assert first.metrics == second.metrics
    assert first.signature == second.signature
    assert first.layers == second.layers
    assert first.goal_reached


# The eight metrics


def test_an_empty_mission_has_zeros_and_no_success_rate():
    values = {metric.name: metric.value for metric in assessed().metrics}
    assert values == {
        "tool_call_count": 0,
        "tool_success_rate": None,
        "steps_to_goal": 0,
        "convergence_ratio": 0,
        "total_tokens": 0,
        "total_cost_usd": 0,
        "hallucinations": 0,
        "failure_modes": (),
    }


def test_the_metrics_come_in_the_order_of_the_contract():
    assert [metric.name for metric in assessed().metrics] == [
        "tool_call_count",
        "tool_success_rate",
        "steps_to_goal",
        "convergence_ratio",
        "total_tokens",
        "total_cost_usd",
        "hallucinations",
        "failure_modes",
    ]


def test_commands_and_model_calls_are_tool_calls():
    decision = Step(0, t.KEEPER_DECISION, "key", True)
    assert value(assessed(command(), model_call(), decision, status("running")), "tool_call_count") == 2


def test_success_is_the_share_of_commands_and_decisions_with_an_outcome():
    rows = [command(success=True), command(success=False)]
    decisions = [Step(0, t.KEEPER_DECISION, "key", success) for success in (True, True, False, None)]
    assessment = assessed(*rows, *decisions)
    assert value(assessment, "tool_success_rate") == 3 / 5
    assert assessment.decisions_denied == 1


def test_commands_without_any_outcome_have_no_success_rate_and_say_why():
    rate = assessed(start()).metric("tool_success_rate")
    assert rate.value is None
    assert rate.reason == "no outcome was recorded"


@pytest.mark.parametrize("word", ["completed", "COMPLETED", "done", "Done"])
def test_the_first_goal_word_in_any_case_ends_the_way_to_the_goal(word):
    assessment = assessed(command(), status(word), command(), status("done"))
    assert value(assessment, "steps_to_goal") == 2
    assert assessment.goal_reached


def test_without_a_goal_every_step_counts():
    assessment = assessed(command(), status("review"), charge(1, 1))
    assert value(assessment, "steps_to_goal") == 2
    assert not assessment.goal_reached


def test_convergence_counts_assignments_before_work_began():
    created = Step(0, t.ASSIGNMENT_CREATED, None, True)
    rows = (created, created, status("In_Progress"), created, status("completed"), command())
    assert value(assessed(*rows), "convergence_ratio") == (2 + 1) / 5
    assert value(assessed(created, created, command()), "convergence_ratio") == (2 + 1) / 3


def test_tokens_are_summed_over_the_calls_that_have_them():
    tokens = assessed(model_call(tokens=5), model_call(), model_call(tokens=0)).metric("total_tokens")
    assert (tokens.value, tokens.coverage.known, tokens.coverage.of) == (5, 2, 3)


def test_tokens_that_no_call_recorded_cannot_be_said():
    tokens = assessed(model_call(), command()).metric("total_tokens")
    assert tokens.value is None
    assert tokens.reason == "no model call has a token count"


def test_token_counts_beyond_64_bits_cannot_be_said():
    assert value(assessed(*[model_call(tokens=2**62 - 1)] * 3), "total_tokens") is None


def test_only_outputs_blocked_at_warn_or_error_are_hallucinations():
    blocks = [Step(0, t.OUTPUT_BLOCKED, None, False, severity) for severity in range(4)]
    assert value(assessed(*blocks, Step(0, t.INPUT_BLOCKED, None, False, 3)), "hallucinations") == 2


# Money


def test_ten_calls_of_ten_cents_cost_one_dollar_exactly():
    rows = [model_call(cost=picodollars(0.1)) for _ in range(10)]
    assert value(assessed(*rows), "total_cost_usd") == 1.0


def test_a_charge_counts_once_however_it_stands_to_its_model_call():
    call = model_call(cost=picodollars(0.5), ledger=9)
    for rows in ((call, charge(0.5, 9)), (charge(0.5, 9), call)):
        assert value(assessed(*rows), "total_cost_usd") == 0.5


def test_a_charge_whose_call_comes_pages_later_counts_once():
    fill = [command(str(number), at=number) for number in range(5_000)]
    call = model_call(at=9_000, cost=picodollars(0.5), ledger=9)
    assert value(assessed(charge(0.5, 9), *fill, call), "total_cost_usd") == 0.5


def test_charges_of_ledgers_without_a_model_call_count():
    rows = (charge(0.5, 9), charge(0.25, 10), charge(0.125, None))
    assert value(assessed(*rows), "total_cost_usd") == 0.875


def test_one_call_of_unknown_cost_makes_the_total_unknown_and_keeps_the_known_part():
    cost = assessed(model_call(cost=picodollars(0.5)), model_call(), charge(0.25, 1)).metric("total_cost_usd")
    assert (cost.value, cost.partial, cost.coverage.known, cost.coverage.of) == (None, 0.75, 1, 2)
    assert cost.reason == "the cost of 1 of 2 model calls is unknown"


def test_a_recorded_zero_is_a_known_cost():
    assert value(assessed(model_call(cost=0)), "total_cost_usd") == 0


def test_calls_without_a_recorded_cost_are_priced_from_their_counters_and_date():
    asked = []

    def price(model, **counts):
        asked.append((model, counts))
        return 3 * 10**12

    call = model_call("gpt", at=5, input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4)
    call = call._replace(cache_write_1h_tokens=4, terms="anthropic")
    counts = {"fresh": 1, "output": 2, "cache_read": 3, "cache_write": 4, "cache_write_1h": 4}
    cost = assessed(call, model_call(cost=10**12), price=price).metric("total_cost_usd")
    assert asked == [("gpt", counts | {"instant": 5 * SECOND, "terms": "anthropic"})]
    assert (cost.value, cost.source, cost.partial) == (4.0, "mixed", None)
    assert assessed(call, price=price).metric("total_cost_usd").source == "catalogue"


# Failure modes


def test_six_commands_of_one_name_within_two_minutes_are_a_loop():
    loop = [command("ls", at=24 * number) for number in range(6)]
    assert value(assessed(*loop), "failure_modes") == ("tool_loop",)
    assert assessed(*loop).findings == (Finding("tool_loop", 5),)


def test_a_nanosecond_beyond_two_minutes_is_no_loop():
    late = command("ls", at=120)._replace(instant=120 * SECOND + 1)
    assert value(assessed(*[command("ls")] * 5, late), "failure_modes") == ()


def test_loops_need_one_name_that_is_not_empty():
    assert value(assessed(*[command(None)] * 9, *[command("")] * 9), "failure_modes") == ()
    assert value(assessed(*[command(str(number % 5)) for number in range(25)]), "failure_modes") == ()


def test_a_loop_is_found_between_other_steps_and_across_pages():
    rows = []
    for number in range(6):
        rows += [command("ls", at=20 * number)]
        rows += [command(f"other {number} {filler}", at=20 * number) for filler in range(2_000)]
    assert value(assessed(*rows), "failure_modes") == ("tool_loop",)


def test_commands_told_twice_loop_where_they_began():
    rows = [row for n in range(6) for row in (start(at=20 * n, pairing=n), end(at=20 * n + 19, pairing=n))]
    assert value(assessed(*rows), "failure_modes") == ("tool_loop",)
    assert value(assessed(*rows[:-2]), "failure_modes") == ()


def test_failure_modes_come_in_the_order_of_the_contract_each_once():
    question = Step(0, t.ESCALATION_QUESTION, None, True)
    block = Step(0, t.INPUT_BLOCKED, None, False)
    other = Step(0, t.OUTPUT_BLOCKED, None, False)
    exceeded = Step(0, t.BUDGET_EXCEEDED, None, False)
    rows = [question] * 4 + [block, block, other, other, block] + [exceeded] * 2 + [command()] * 7
    modes = ("tool_loop", "budget_runaway", "guardrail_cascade", "escalation_loop")
    assert value(assessed(*rows), "failure_modes") == modes


@pytest.mark.parametrize(
    ("kind", "mode", "enough"),
    [
        (t.ESCALATION_QUESTION, "escalation_loop", 3),
        (t.INPUT_BLOCKED, "guardrail_cascade", 4),
        (t.OUTPUT_BLOCKED, "guardrail_cascade", 4),
        (t.BUDGET_EXCEEDED, "budget_runaway", 1),
    ],
)
def test_a_failure_mode_begins_at_its_count_and_not_before(kind, mode, enough):
    row = Step(0, kind, None, False)
    assert assessed(*[row] * (enough - 1)).findings == ()
    assert assessed(*[row] * enough).findings == (Finding(mode, enough - 1),)


def test_answers_to_an_escalation_are_steps_but_no_questions():
    question = Step(0, t.ESCALATION_QUESTION, None, True)
    answer = Step(0, t.ESCALATION_ANSWER, None, True)
    assessment = assessed(question, answer, question, answer, answer)
    assert assessment.steps == 5
    assert value(assessment, "failure_modes") == ()
    assert assessment.signature == assessed(*[question] * 5).signature


def test_three_blocks_and_a_budget_warning_are_no_failure_mode():
    blocks = [Step(0, t.INPUT_BLOCKED, None, False)] * 3
    assert value(assessed(*blocks, Step(0, t.BUDGET_WARNING, None, False)), "failure_modes") == ()


# Streaming


def test_the_first_and_the_last_instant_are_those_of_the_rows():
    assessment = assessed(command(at=3), start(at=4), end(at=9))
    assert (assessment.first_instant, assessment.last_instant) == (3 * SECOND, 9 * SECOND)
    assert assessed().first_instant is None


def test_rows_of_the_store_give_what_steps_give():
    texts = {1: "ls", 2: "gpt", 3: "{a=<path>}"}
    stored = [
        (1, t.COMMAND, 1, 0, 0, *[None] * 9, 3, None, None),
        (2, t.MODEL_CALL, 2, 1, 0, 7, *[None] * 4, 10**12, *[None] * 6),
    ]
    plain = [
        Step(1, t.COMMAND, "ls", False, arguments="{a=<path>}"),
        Step(2, t.MODEL_CALL, "gpt", True, tokens=7, cost=10**12),
    ]
    assert assess(stored, texts, 0, unpriced) == assess(plain, PlainTexts(), 0, unpriced)


def test_a_result_may_be_asked_for_between_pages():
    assessor = Assessor(PlainTexts(), 0, unpriced)
    assessor.add([charge(1.0, 3), command("ls")])
    assert assessor.result().signature == LS_SEED_0
    assert value(assessor.result(), "total_cost_usd") == 1.0
    assessor.add([model_call(cost=picodollars(2.0), ledger=3)])
    assert value(assessor.result(), "total_cost_usd") == 2.0


kinds = st.sampled_from(sorted(ENTRY_TYPE_OF_KIND))
tools = st.sampled_from([None, "", "ls", "cat /etc/hosts", "running", "COMPLETED", "\ud800"])
counts = st.one_of(st.none(), st.integers(-3, 2**62))
rows_of_any_kind = st.lists(
    st.builds(
        Step,
        instant=st.just(0),
        kind=kinds,
        tool=tools,
        success=st.sampled_from([True, False, None]),
        severity=st.integers(0, 3),
        tokens=counts,
        cost=counts,
        pairing=st.integers(0, 2),
        ledger=st.one_of(st.none(), st.integers(0, 3)),
        arguments=st.sampled_from([None, "a", "b"]),
        cache_write_1h_tokens=counts,
        terms=st.sampled_from([None, "openai", ";;flat_rate"]),
    ),
    max_size=40,
).map(lambda rows: [row._replace(instant=5 * SECOND * index) for index, row in enumerate(rows)])


@settings(deadline=None)
@given(rows_of_any_kind, st.integers(1, 7), st.integers(-(2**63), 2**63 - 1))
def test_the_size_of_pages_changes_nothing(rows, size, seed):
    whole = assess(rows, PlainTexts(), seed, unpriced)
    assessor = Assessor(PlainTexts(), seed, unpriced)
    iterator = iter(rows)
    while page := tuple(islice(iterator, size)):
        assessor.add(page)
    assert assessor.result() == whole


@settings(deadline=None)
@given(rows_of_any_kind)
def test_an_assessment_is_always_json_without_nan_or_infinity(rows):
    constants: list[str] = []
    json.loads(msgspec.json.encode(assess(rows, PlainTexts(), 0, unpriced)), parse_constant=constants.append)
    assert constants == []


@settings(deadline=None)
@given(rows_of_any_kind)
def test_steps_are_those_that_the_assessment_counts_and_signs(rows):
    named = list(steps(rows))
    joined = "".join(f"{ENTRY_TYPE_OF_KIND[kind]}|{tool or ''}\0" for kind, tool in named)
    expected = hashlib.sha256(b"0\0" + joined.encode("utf-8", "surrogatepass")).hexdigest()
    assessment = assess(rows, PlainTexts(), 0, unpriced)
    assert assessment.steps == len(named)
    assert assessment.signature == expected


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_sums_of_money_do_not_depend_on_the_order(amounts, random):
    calls = [model_call(cost=picodollars(amount)) for amount in amounts]
    shuffled = random.sample(calls, len(calls))
    assert value(assessed(*calls), "total_cost_usd") == value(assessed(*shuffled), "total_cost_usd")
