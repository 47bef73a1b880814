"""OTLP in JSON as one document, and what every container of spans shares."""

import json
import random
from typing import Any

import pytest
from told import SAMPLES, Counts, Told

from quartermaster.adapters import recognise
from quartermaster.adapters.otlp_json import ADAPTER
from quartermaster.adapters.otlp_json_lines import ADAPTER as LINES

SAMPLE = SAMPLES / "otlp_json" / "lamp_watch.json"
TRACE = "5f2bcefb7f0b26b23052aa63648f8c79"
SECOND = 10**9


def value(given: Any) -> dict[str, Any]:
    if isinstance(given, bool):
        return {"boolValue": given}
    if isinstance(given, int):
        return {"intValue": str(given)}
    return {"doubleValue": given} if isinstance(given, float) else {"stringValue": given}


def span(number: int, parent: int | None = None, *, at: int = 1, **more: Any) -> dict[str, Any]:
    """A span that begins `at` seconds; underscores of attributes are dots."""
    attributes = {name.replace("__", "."): given for name, given in more.pop("attributes", {}).items()}
    start = (1_700_000_000 + at) * SECOND
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "parentSpanId": "" if parent is None else f"{parent:016x}",
        "name": "span",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + SECOND),
        "attributes": [{"key": name, "value": value(given)} for name, given in attributes.items()],
        "status": {},
    } | more


def model(
    number: int, parent: int | None = None, *, at: int = 1, tokens: int = 5, **more: Any
) -> dict[str, Any]:
    attributes = {
        "gen_ai__operation__name": "chat",
        "gen_ai__request__model": "m-1",
        "gen_ai__usage__input_tokens": tokens,
        "gen_ai__usage__output_tokens": 1,
    } | more.pop("attributes", {})
    return span(number, parent, at=at, attributes=attributes, **more)


def agent(number: int, parent: int | None = None, *, at: int = 1, **more: Any) -> dict[str, Any]:
    attributes = {"gen_ai__operation__name": "invoke_agent"} | more.pop("attributes", {})
    return span(number, parent, at=at, attributes=attributes, **more)


def export(*spans: dict[str, Any]) -> bytes:
    scope = {"scope": {"name": "s"}, "spans": list(spans)}
    return json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [scope]}]}, indent=1).encode()


def told(*spans: dict[str, Any]) -> Told:
    return Told(ADAPTER, export(*spans))


def test_the_sample_is_what_it_says():
    read = Told(ADAPTER, SAMPLE.read_bytes())
    assert read.counts == Counts(1, 3, 2, 1, 1840 + 46 + 1990 + 61 + 2110 + 130)
    assert [step.cache_read_tokens for step in read.steps if step.tokens] == [1024, 1792, 1792]
    assert read.tools == [("list_lamps", True), ("order_spares", False)]
    assert read.outcomes == [("succeeded", "agent")]
    [created] = read.payloads("mission.created")
    assert created["title"].startswith("Which lamps of the north pier")
    assert (created["agent"], created["model"], created["version"]) == (
        "lamp_keeper",
        "harbor-large",
        "2.3.0",
    )


@pytest.mark.parametrize("indent", [None, 1])
def test_one_export_is_read_alike_on_one_line_and_on_many(indent: int | None):
    document = json.dumps(json.loads(SAMPLE.read_bytes()), indent=indent).encode()
    adapter = recognise(document, whole=True)
    assert adapter is (LINES if indent is None else ADAPTER)
    assert adapter is not None
    outputs = (
        adapter.line_reader().read_line(document, 0)
        if adapter.line_based
        else adapter.read_document(document)
    )
    assert [one.raw for one in outputs] == [one.raw for one in ADAPTER.read_document(SAMPLE.read_bytes())]  # type: ignore[union-attr]


def test_the_deepest_model_span_of_a_branch_is_the_call():
    read = told(model(1), span(2, 1), model(3, 2, tokens=7), model(4, 1, tokens=9), model(5))
    assert [payload["span_id"][-1] for payload in read.payloads("llm.call")] == ["3", "4", "5"]
    assert [payload["span_id"][-1] for payload in read.payloads("span.model")] == ["1"]


def test_an_agent_that_repeats_the_tokens_of_its_calls_bills_nothing():
    read = told(agent(1, attributes={"gen_ai__usage__input_tokens": 10}), model(2, 1), model(3, 1))
    assert read.counts == Counts(1, 2, 0, 0, 12)


def test_a_call_that_failed_without_an_answer_is_none():
    failed = {"code": 2, "message": "429 quota"}
    read = told(
        agent(1),
        model(
            2,
            1,
            attributes={"gen_ai__usage__input_tokens": 0, "gen_ai__usage__output_tokens": 0},
            status=failed,
        ),
        model(3, 1),
    )
    assert read.counts.model_calls == 1
    assert read.payloads("run.api_error")[0]["error"] == "429 quota"


def test_errors_come_from_agents_models_and_tools_alone():
    read = told(span(1, status={"code": 2, "message": "404"}), agent(2, 1), model(3, 2))
    assert read.outcomes == [("succeeded", "agent")]
    assert {entry.severity for entry in read.entries} == {0}


def test_the_outermost_agent_of_the_last_turn_says_how_the_mission_ended():
    session = {"session__id": "s-1"}
    failed = {"code": 2}
    turns = [
        agent(1, attributes=session, status=failed),
        agent(2, at=10, attributes=session, endTimeUnixNano=str(1_700_000_030 * SECOND)),
        agent(3, 2, at=12, attributes=session, status=failed),
    ]
    assert told(*turns).outcomes == [("succeeded", "agent")]


def test_a_run_without_an_agent_or_without_an_end_has_no_outcome():
    assert told(model(1)).outcomes == []
    assert told(agent(1, endTimeUnixNano="0")).outcomes == []


def test_spans_of_a_session_are_one_mission_across_traces_and_others_go_with_their_trace():
    session = {"session__id": "s-1"}
    other = model(4, attributes=session) | {"traceId": "0" * 31 + "9"}
    read = told(span(1), model(2, 1, attributes=session), span(3, 1), other)
    assert read.missions == ["otel_s-1"]
    assert told(span(1), model(2, 1)).missions == [f"otel_{TRACE}"]


@pytest.mark.parametrize(
    ("attributes", "fresh", "cached", "written"),
    [
        ({"gen_ai__usage__input_tokens": 100, "gen_ai__usage__cache_read__input_tokens": 60}, 40, 60, None),
        ({"gen_ai__usage__input_tokens": 4, "gen_ai__usage__cache_read_input_tokens": 60}, 4, 60, None),
        (
            {
                "gen_ai__usage__input_tokens": 100,
                "gen_ai__usage__cache_read__input_tokens": 60,
                "gen_ai__usage__cache_creation__input_tokens": 30,
            },
            10,
            60,
            30,
        ),
    ],
)
def test_counters_do_not_overlap_whatever_the_recorder_meant(
    attributes: dict[str, Any], fresh: int, cached: int, written: int | None
):
    [step] = [step for step in told(model(1, attributes=attributes)).steps if step.tokens]
    assert (step.input_tokens, step.cache_read_tokens, step.cache_write_tokens) == (fresh, cached, written)
    assert step.tokens == fresh + cached + (written or 0) + 1


@pytest.mark.parametrize(
    ("attributes", "cost"),
    [
        ({"gen_ai__usage__cost": 0.25}, 0.25),
        ({"gen_ai__usage__input_cost": 0.25, "gen_ai__usage__output_cost": 0.5}, 0.75),
        ({"gen_ai__usage__input_cost": 0.25, "gen_ai__usage__output_cost": 0.0}, None),
        ({"gen_ai__usage__cost": 0.0}, None),
        ({"llm__cost__total": 0.125}, 0.125),
    ],
)
def test_a_cost_of_zero_is_unknown_and_half_a_cost_is_none(attributes: dict[str, Any], cost: float | None):
    assert told(model(1, attributes=attributes)).cost == cost


@pytest.mark.parametrize(
    "attributes",
    [
        {"openinference__span__kind": "LLM", "llm__model_name": "m-1"},
        {"llm__request__type": "chat", "gen_ai__request__model": "m-1"},
        {"ai__operationId": "ai.streamText.doStream", "ai__model__id": "m-1"},
        {"gen_ai__operation__name": "text_completion", "gen_ai__request__model": "m-1"},
        {"gen_ai__operation__name": "embeddings", "gen_ai__request__model": "m-1"},
    ],
)
def test_a_model_span_is_known_in_every_vocabulary(attributes: dict[str, Any]):
    read = told(span(1, attributes=attributes))
    assert [payload["model"] for payload in read.payloads("llm.call")] == ["m-1"]


def test_an_operation_that_nobody_knows_is_a_call_where_a_model_was_billed():
    about = {"gen_ai__operation__name": "ponder", "gen_ai__request__model": "m-1"}
    assert told(span(1, attributes=about)).counts.model_calls == 0
    assert told(span(1, attributes=about | {"gen_ai__usage__input_tokens": 3})).counts.model_calls == 1


def test_a_span_that_says_too_little_costs_itself():
    read = told(span(1) | {"traceId": "0" * 32}, span(2) | {"startTimeUnixNano": "0"}, span(3))
    assert len(read.payloads("span.other")) == 1
    assert [one.reason for one in read.rejected] == [
        "traceId or spanId is missing or no id",
        "the span has no start that makes sense",
    ]


def test_ids_in_base64_are_the_same_ids():
    encoded = span(1) | {"traceId": "XyvO+38LJrIwUqpjZI+MeQ==", "spanId": "AAAAAAAAAAE="}
    assert told(encoded).ids == told(span(1)).ids


def test_a_resource_that_was_cut_off_still_gives_its_whole_spans():
    document = export(*(model(number, at=number) for number in range(1, 20)))
    read = Told(ADAPTER, document[: len(document) // 2])
    assert 5 < read.counts.model_calls < 15
    assert [one.reason for one in read.rejected] == ["the document ends too early"]


def test_an_exit_code_wins_over_the_status():
    tool = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "make"}
    read = told(
        span(1, attributes=tool | {"process__exit__code": 2}),
        span(2, at=2, attributes=tool | {"process__exit__code": 0}, status={"code": 2}),
        span(3, at=3, attributes=tool | {"error__type": "Timeout"}),
    )
    assert read.tools == [("make", False), ("make", True), ("make", False)]
    assert read.payloads("exec.command")[2]["error"] == "Timeout"


def test_the_order_of_spans_in_a_document_changes_nothing():
    spans = [agent(1), model(2, 1, at=2), model(3, 2, at=3), span(4, 3, at=4), model(5, 1, at=5)]
    expected = told(*spans).raw
    for seed in range(20):
        random.Random(seed).shuffle(spans)
        assert told(*spans).raw == expected


def said(*texts: str) -> str:
    return json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": one} for one in texts]}])


def messages_of(read: Told) -> list[tuple[str, str]]:
    kinds = {"message.user": "user", "message.assistant": "assistant"}
    told = {one["id"]: one for one in read.raw}
    ordered = sorted((one["ts"], one["id"]) for one in told.values() if one["entry_type"] in kinds)
    return [(kinds[told[key]["entry_type"]], told[key]["payload"]["text"]) for _, key in ordered]


def test_the_sample_tells_what_was_asked_what_tools_answered_and_the_answer():
    read = Told(ADAPTER, SAMPLE.read_bytes())
    assert messages_of(read)[0][0] == "user"
    assert messages_of(read)[-1][1].startswith("Lamps N3 and N7 burned out.")
    assert read.payloads("exec.command")[0]["output"] == '["N3","N7"]'
    assert read.payloads("mission.created")[0]["tools"] == ["list_lamps", "order_spares"]
    assert read.payloads("llm.call")[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai__output__messages": said("Two", "boats.")},
        {"gen_ai__completion__0__content": "Two\nboats."},
        {"llm__output_messages__0__message__content": "Two\nboats."},
        {"ai__response__text": "Two\nboats."},
        {"gcp__vertex__agent__llm_response": '{"content": {"parts": [{"text": "Two\\nboats."}]}}'},
        {"output__value": '{"choices": [{"message": {"role": "assistant", "content": "Two\\nboats."}}]}'},
        {"output__value": '{"generations": [[{"text": "Two\\nboats.", "type": "ChatGeneration"}]]}'},
        {"output__value": "Two\nboats."},
        {"gen_ai__output": "Two\nboats."},
    ],
)
def test_the_words_of_a_model_are_a_message_in_every_vocabulary(attributes: dict[str, Any]):
    assert messages_of(told(model(1, attributes=attributes))) == [("assistant", "Two\nboats.")]


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai__output": '[{"tool.name": "count", "tool.args": "{}"}]'},
        {"output__value": '{"role": "assistant", "content": null, "tool_calls": [{"id": "c1"}]}'},
        {"gen_ai__output__messages": '[{"role": "assistant", "parts": [{"type": "tool_call"}]}]'},
        {"gen_ai__completion__0__finish_reason": "tool_calls"},
        {"output__value": "[0.25, 0.5]"},
        {"output__value": "[" * 40 + "]" * 40},
    ],
)
def test_a_call_of_a_tool_is_no_message(attributes: dict[str, Any]):
    assert messages_of(told(model(1, attributes=attributes))) == []


def test_a_question_that_every_later_call_repeats_is_one_message():
    def history(*asked: str) -> dict[str, Any]:
        roles = {f"gen_ai__prompt__{index}__role": "user" for index in range(len(asked))}
        return roles | {f"gen_ai__prompt__{index}__content": text for index, text in enumerate(asked)}

    read = told(
        model(1, at=1, attributes=history("How many boats?")),
        model(2, at=3, attributes=history("How many boats?")),
        model(3, at=5, attributes=history("How many boats?", "And gulls?")),
        model(4, at=7, attributes=history("How many boats?", "And gulls?", "Observation: 4")),
    )
    assert messages_of(read) == [("user", "How many boats?"), ("user", "And gulls?")]


def test_the_answer_of_an_agent_is_a_message_where_no_model_said_the_same():
    answer = {"output__value": "Two  boats."}
    words = {"gen_ai__completion__0__content": "Two boats."}
    repeated = told(agent(1, attributes=answer), model(2, 1, attributes=words))
    assert messages_of(repeated) == [("assistant", "Two boats.")]
    by_tool = told(agent(1, attributes=answer), model(2, 1))
    assert messages_of(by_tool) == [("assistant", "Two  boats.")]


def test_the_words_of_a_model_belong_to_the_deepest_span_that_tells_them():
    words = {"gen_ai__completion__0__content": "Two boats."}
    both = told(model(1, attributes=words), model(2, 1, attributes=words))
    assert [one["span"][-1] for one in both.payloads("message.assistant")] == ["2"]
    outer_alone = told(model(1, attributes=words), model(2, 1))
    assert [one["span"][-1] for one in outer_alone.payloads("message.assistant")] == ["1"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai__tool__definitions": '[{"name": "tie"}, {"function": {"name": "sail"}}]'},
        {"llm__request__functions__0__name": "tie", "llm__request__functions__1__name": "sail"},
        {
            "llm__tools__0__tool__json_schema": '{"function": {"name": "tie"}}',
            "llm__tools__1__tool__json_schema": '{"name": "sail"}',
        },
    ],
)
def test_the_tools_that_a_model_was_given_are_those_of_the_mission(attributes: dict[str, Any]):
    read = told(model(1, attributes=attributes))
    assert read.payloads("mission.created")[0]["tools"] == ["sail", "tie"]


def test_a_long_result_of_a_tool_is_cut_and_has_a_digest():
    tool = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "make"}
    arguments = {"gen_ai__tool__call__arguments": json.dumps({"path": "a", "text": "x" * 900})}
    [payload] = told(
        span(1, attributes=tool | arguments | {"gen_ai__tool__call__result": "y" * 9_000})
    ).payloads("exec.command")
    assert (len(payload["output"]), len(payload["output_digest"])) == (2_000, 16)
    assert (payload["arguments"]["path"], len(payload["arguments_digest"])) == ("a", 16)
