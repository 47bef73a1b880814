"""From entries to steps: names, outcomes, tokens and money, in both dialects."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.core import trajectory as t
from quartermaster.core.journal import Payload, read_entry
from quartermaster.core.trajectory import (
    ENTRY_TYPE_OF_KIND,
    STEP_ENTRY_TYPES,
    Step,
    Terms,
    argument_template,
    key_of,
    picodollars,
    step_of,
    terms_of,
    text_template,
)
from quartermaster.errors import Rejected


def entry(entry_type, payload, severity="info", trace_id=None):
    body = {"entry_type": entry_type, "ts": "2026-01-01T00:00:00Z", "severity": severity, "payload": payload}
    return read_entry(json.dumps(body | {"trace_id": trace_id}).encode())


def step(entry_type, severity="info", trace_id=None, **payload):
    return step_of(entry(entry_type, payload, severity, trace_id))


def test_thirteen_types_make_a_step():
    assert {
        "assignment.created",
        "assignment.running",
        "assignment.completed",
        "assignment.failed",
        "exec.command",
        "llm.call",
        "mission.status_change",
        "keeper.decision",
        "guardrail.input_blocked",
        "guardrail.output_blocked",
        "peer.escalation",
        "budget.warning",
        "budget.exceeded",
    } == STEP_ENTRY_TYPES


@pytest.mark.parametrize("entry_type", ["eval.metric", "mission.created", "run.started", "Exec.Command", "x"])
def test_every_other_type_makes_none(entry_type):
    assert step(entry_type) is None


@pytest.mark.parametrize("entry_type", sorted(STEP_ENTRY_TYPES))
def test_a_step_remembers_its_type_severity_and_instant(entry_type):
    made = step(entry_type, severity="warn")
    assert ENTRY_TYPE_OF_KIND[made.kind] == entry_type
    assert (made.severity, made.instant) == (2, 1_767_225_600 * 10**9)


@pytest.mark.parametrize(
    ("entry_type", "payload", "tool"),
    [
        ("exec.command", {"command": "ls", "tool": "bash"}, "ls"),
        ("exec.command", {"command": "", "tool": "bash", "name": "n"}, "bash"),
        ("exec.command", {"command": 5, "name": "n", "cmd": ["ls"]}, "n"),
        ("exec.command", {"cmd": ["ls", "-l", 5, "/tmp"]}, "ls -l /tmp"),
        ("exec.command", {"cmd": []}, None),
        ("exec.command", {"cmd": "ls"}, None),
        ("llm.call", {"model": "gpt", "provider": "openai"}, "gpt"),
        ("llm.call", {"provider": "openai"}, "openai"),
        ("mission.status_change", {"to": "DONE"}, "DONE"),
        ("mission.status_change", {"to_status": "a", "status": "b", "to": "c"}, "a"),
        ("mission.status_change", {"action": "renamed"}, None),
        ("keeper.decision", {"credential_id": "c", "decision": "ALLOW"}, "c"),
        ("keeper.decision", {"decision": "ALLOW"}, "ALLOW"),
        ("assignment.created", {"tool": "x", "name": "y"}, None),
        ("peer.escalation", {"reason": "x"}, None),
    ],
)
def test_the_first_text_that_is_not_empty_names_a_step(entry_type, payload, tool):
    assert step_of(entry(entry_type, payload)).tool == tool


@pytest.mark.parametrize(
    ("payload", "success"),
    [
        ({}, True),
        ({"exit_code": 0}, True),
        ({"exit_code": 0.0}, True),
        ({"exit_code": 1}, False),
        ({"exit_code": -1}, False),
        ({"exit_code": True}, True),
        ({"exit_code": False}, False),
        ({"exit_code": None}, True),
        ({"exit_code": "1"}, True),
        ({"error": "no such file"}, False),
        ({"error": ""}, True),
        ({"error": "kept", "exit_code": 0}, True),
        ({"cancelled": True}, False),
        ({"reason": "loop_detected"}, False),
        ({"reason": "other"}, True),
        ({"in_band_error": True, "exit_code": 0}, False),
    ],
)
def test_the_outcome_of_a_command(payload, success):
    assert step_of(entry("exec.command", payload)).success is success


@pytest.mark.parametrize(
    ("payload", "success"),
    [
        ({"decision": "allow"}, True),
        ({"decision": "ALLOW"}, True),
        ({"decision": "Approved"}, True),
        ({"decision": "approve"}, True),
        ({"decision": "DENY"}, False),
        ({"decision": "ESCALATE", "approved": True}, True),
        ({"approved": True}, True),
        ({"approved": False}, False),
        ({"approved": "yes"}, None),
        ({}, None),
        ({"decision": ""}, None),
    ],
)
def test_the_outcome_of_a_decision(payload, success):
    assert step_of(entry("keeper.decision", payload)).success is success


@pytest.mark.parametrize(
    ("payload", "tokens"),
    [
        ({"total_tokens": 5, "tokens": 6, "input_tokens": 7}, 5),
        ({"total_tokens": 0, "tokens": 6}, 0),
        ({"total_tokens": "5", "tokens": 6.9}, 6),
        ({"total_tokens": True, "tokens": 6}, 6),
        (
            {"input_tokens": 1, "output_tokens": 2, "cached_input_tokens": 4, "cache_creation_tokens": 8},
            15,
        ),
        ({"output_tokens": 2}, 2),
        ({}, None),
        ({"total_tokens": 2**70}, None),
    ],
)
def test_tokens_of_a_model_call(payload, tokens):
    assert step_of(entry("llm.call", payload)).tokens == tokens


def test_the_first_number_is_the_duration():
    assert step("exec.command", elapsed_ms="9", duration_ms=7.9).duration_ms == 7
    assert step("llm.call", elapsed_ms=0, duration_ms=7).duration_ms == 0


def test_start_and_end_of_one_command_share_their_pairing():
    first = step("exec.command", cmd=["ls", "-l"], phase="start", trace_id="r")
    last = step("exec.command", cmd=["ls", "-l"], phase="end", exit_code=1, trace_id="r")
    elsewhere = step("exec.command", cmd=["ls", "-l"], phase="end", trace_id="other")
    assert (first.kind, first.success) == (t.COMMAND_START, None)
    assert (last.kind, last.success) == (t.COMMAND_END, False)
    assert first.pairing == last.pairing != elsewhere.pairing


def test_a_call_id_pairs_commands_of_one_name():
    first = step("exec.command", command="ls", phase="start", call_id="1")
    assert first.pairing == step("exec.command", command="ls", phase="end", call_id="1").pairing
    assert first.pairing != step("exec.command", command="ls", phase="end", call_id="2").pairing


def test_only_open_escalations_are_questions():
    assert step("peer.escalation").kind == t.ESCALATION_QUESTION
    assert step("peer.escalation", state="pending").kind == t.ESCALATION_QUESTION
    assert step("peer.escalation", state="resolved").kind == t.ESCALATION_ANSWER


def test_a_cost_and_its_model_call_share_their_ledger():
    call = step("llm.call", ledger_id="l", cost_usd=0.5)
    cost = step("cost.incurred", ledger_id="l", cost_usd=0.5)
    assert cost.kind == t.COST_INCURRED
    assert call.ledger == cost.ledger == key_of("ledger", "l")
    assert call.cost == cost.cost == 5 * 10**11
    assert step("llm.call", ledger_id=5).ledger is None


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0.1, 10**11),
        (0, 0),
        (3, 3 * 10**12),
        (1e-12, 1),
        (-0.5, -5 * 10**11),
        ("0.5", None),
        (True, None),
        (None, None),
        (1e300, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_money_is_whole_picodollars(amount, expected):
    assert picodollars(amount) == expected


def test_a_key_fits_into_64_bits_and_keeps_its_parts_apart():
    assert -(2**63) <= key_of("x") < 2**63
    assert key_of("ab", "") != key_of("a", "b")
    assert key_of("\ud800")


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("npm test", "npm test"),
        ("cat /etc/hosts ~/notes ../x/y", "cat <path> <path> <path>"),
        ("kill -9 4711", "kill -<number> <number>"),
        ("at 2026-01-01 10:00:05.5Z or 2026-01-01", "at <time> or <time>"),
        ("get 123e4567-e89b-12d3-a456-426614174000", "get <id>"),
        ("show er_0123456789abcdef", "show <id>"),
        ("a  b\n7", "a  b\n<number>"),
        ("", ""),
    ],
)
def test_a_template_has_typed_holes(text, template):
    assert text_template(text) == template


def test_a_template_reads_the_first_two_thousand_characters():
    assert text_template("x" * 5_000) == "x" * 2_000


@pytest.mark.parametrize("text", ["a-" * 1_000, "1-" * 1_000, "/" * 2_000, "1." * 1_000, "~." * 1_000])
def test_no_text_makes_a_template_slow(text):
    started = time.process_time()
    text_template(text)
    assert time.process_time() - started < 0.03


def test_arguments_are_told_by_their_shape():
    arguments = {
        "path": "/tmp/a",
        "limit": 5,
        "deep": {"flag": True, "none": None},
        "list": ["/x/y", "/z", 3],
    }
    expected = "{deep={flag=true, none=none}, limit=<number>, list=[<number>, <path>], path=<path>}"
    assert argument_template(arguments) == expected
    assert step("exec.command", arguments=arguments).arguments == expected
    assert step("exec.command").arguments is None


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [100, 400, 800, 5_000, 100_000])
def test_deeply_nested_arguments_are_cut_or_rejected_never_an_error(opening, depth):
    closing = {"[": "]", '{"a":': "}"}[opening]
    nested = opening * depth + "1" + closing * depth
    raw = '{"entry_type":"exec.command","ts":"2026-01-01T00:00:00Z","payload":{"arguments":' + nested + "}}"
    try:
        assert "<nested>" in step_of(read_entry(raw.encode())).arguments
    except Rejected as rejected:
        assert str(rejected) == "JSON is nested too deeply"


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
payload_keys = st.sampled_from(Payload.__struct_fields__)


@settings(deadline=None)
@given(
    st.sampled_from([*sorted(STEP_ENTRY_TYPES), "cost.incurred"]), st.dictionaries(payload_keys, json_values)
)
def test_any_payload_makes_a_step_that_fits_the_store(entry_type, payload):
    body = {"entry_type": entry_type, "ts": "2026-01-01T00:00:00Z", "payload": payload}
    raw = json.dumps(body).encode()
    try:
        made = step_of(read_entry(raw))
    except Rejected:
        return
    assert type(made) is Step
    for number in (*made[5:14], made.instant, made.kind):
        assert number is None or (type(number) is int and -(2**63) <= number < 2**63)
    assert made.success in (True, False, None)
    assert made.tool is None or (type(made.tool) is str and made.tool)


@pytest.mark.parametrize(
    ("payload", "cost"),
    [
        ({"cost_usd": 0}, 0),
        ({"cost_usd": 0, "cost_confidence": "unknown"}, None),
        ({"cost_usd": 0, "cost_confidence": "precise"}, 0),
        ({"cost_usd": 0.5, "cost_confidence": "unknown"}, 5 * 10**11),
        ({"cost_usd": 0, "cost_confidence": "unknown", "billing_mode": "flat_rate"}, 0),
        ({"billing_mode": "flat_rate"}, 0),
        ({"billing_mode": "metered"}, None),
        ({"billing_mode": ["flat_rate"]}, None),
    ],
)
def test_a_zero_is_a_cost_only_where_it_is_known_to_be_one(payload, cost):
    assert step("llm.call", **payload).cost == cost


@pytest.mark.parametrize(
    ("payload", "terms"),
    [
        ({}, Terms(None, None, None)),
        ({"provider": "openai"}, Terms("openai", None, None)),
        ({"provider": 7, "service_tier": "standard"}, Terms(None, None, None)),
        ({"service_tier": "priority"}, Terms(None, "priority", None)),
        ({"provider": "a;b", "service_tier": "flex"}, Terms("a b", "flex", None)),
        ({"provider": "zed", "billing_mode": "flat_rate"}, Terms("zed", None, "a flat-rate plan")),
        ({"billing_mode": "local"}, Terms(None, None, "a model that ran locally")),
        ({"billing_mode": "metered"}, Terms(None, None, None)),
    ],
)
def test_a_model_call_keeps_what_its_price_depends_on(payload, terms):
    assert terms_of(step("llm.call", **payload).terms) == terms


def test_a_model_call_keeps_the_cache_writes_of_an_hour():
    assert step("llm.call", cache_creation_tokens=9, cache_creation_1h_tokens=4).cache_write_1h_tokens == 4
    assert (
        step("llm.call", cache_creation_tokens=9, cache_creation_1h_tokens="4").cache_write_1h_tokens is None
    )
