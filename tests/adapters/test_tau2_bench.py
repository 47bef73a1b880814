"""tau2-bench results: one mission a simulation, the simulated user kept apart from the agent."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.tau2_bench import ADAPTER
from quartermaster.core.trajectory import MODEL_CALL

RESULTS = TRACES / "tau2_bench"
needs_traces = pytest.mark.skipif(not RESULTS.is_dir(), reason=NO_TRACES)

# Simulations and their cost to the agent in dollars as SOURCE.md states them; then, counted in the files,
# model calls, tool calls and failed tools of the agent, and its tokens.
DOCUMENTED = {
    "2025-10-05T07-40": (0, 0.0, Counts(0, 0, 0, 0, 0)),
    "2025-10-05T07-52": (5, 2.064, Counts(5, 79, 31, 0, 651_268)),
    "2025-10-06T19-24": (4, 0.083, Counts(4, 39, 16, 1, 214_289)),
    "2025-10-13T11-33": (16, 0.190, Counts(16, 93, 44, 0, 507_936)),
    "2025-10-13T11-35": (16, 0.351, Counts(16, 159, 53, 1, 923_254)),
    "2025-10-13T11-40-16": (16, 3.019, Counts(16, 153, 83, 0, 919_423)),
    "2025-10-13T11-40-32": (16, 4.199, Counts(16, 186, 104, 0, 1_256_259)),
    "2025-10-13T11-43-45": (16, 3.951, Counts(16, 124, 144, 0, 875_832)),
    "2025-10-13T11-43-54": (16, 5.407, Counts(16, 149, 180, 2, 1_180_579)),
}


def recorded(name: str) -> bytes:
    (path,) = RESULTS.glob(f"{name}*")
    return path.read_bytes()


def counted(document: dict[str, Any]) -> Counts:
    """The figures of a file from its messages alone."""
    messages = [message for one in document["simulations"] for message in one["messages"]]
    asked = [m["usage"] for m in messages if m["role"] == "assistant" and m["usage"]]
    calls = [call for m in messages for call in m.get("tool_calls") or () if call["requestor"] == "assistant"]
    results = [m for m in messages if m["role"] == "tool" and m["requestor"] == "assistant"]
    return Counts(
        len(document["simulations"]),
        len(asked),
        len(calls),
        sum(result["error"] for result in results),
        sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in asked),
    )


def simulation(*messages: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "s1",
        "task_id": "t1",
        "trial": 2,
        "start_time": "2026-01-01T10:00:00",
        "end_time": "2026-01-01T10:05:00",
        "termination_reason": "user_stop",
        "reward_info": {"reward": 1.0},
        "messages": list(messages),
    } | more


def results(*simulations: Any, **info: Any) -> dict[str, Any]:
    known = {"num_trials": 1, "user_info": {"llm": "u"}, "agent_info": {"implementation": "a", "llm": "m"}}
    return {"info": known | info, "tasks": [], "simulations": list(simulations)}


def said(role: str = "assistant", **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return {"role": role, "content": "Hello", "usage": usage, "cost": 0.5} | more


def calls(*ids: str, requestor: str = "assistant") -> list[dict[str, Any]]:
    return [{"id": one, "name": "look", "arguments": {"a": 1}, "requestor": requestor} for one in ids]


@needs_traces
def test_every_recording_is_documented_here():
    assert len(list(RESULTS.glob("*.json"))) == len(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_figures_of_real_results_are_exact(name: str):
    told = Told(ADAPTER, recorded(name))
    simulations, cost, counts = DOCUMENTED[name]
    assert told.counts == counts == counted(json.loads(recorded(name)))
    assert counts.missions == simulations
    assert round(told.cost or 0, 3) == cost
    assert not told.rejected


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_verdicts_of_real_results_are_the_rewards_of_the_file(name: str):
    told = Told(ADAPTER, recorded(name))
    simulations = json.loads(recorded(name))["simulations"]
    rewards = [one["reward_info"]["reward"] for one in simulations]
    assert [payload["reward"] for payload in told.payloads("mission.outcome")] == rewards
    assert told.outcomes == [("succeeded" if reward == 1 else "failed", "verifier") for reward in rewards]
    costs = [one["user_cost"] for one in simulations]
    assert [payload["labels"]["user_cost"] for payload in told.payloads("mission.created")] == costs


@needs_traces
def test_the_same_tasks_under_another_policy_or_model_are_other_variants_of_the_same_tasks():
    created = [
        payload
        for name in DOCUMENTED
        if name.startswith("2025-10-13")
        for payload in Told(ADAPTER, recorded(name)).payloads("mission.created")
    ]
    assert {payload["task"] for payload in created} == {
        f"tau2_bench/airline/{task}" for task in (8, 11, 24, 32)
    }
    assert {payload["trial"] for payload in created} == {0, 1, 2, 3}
    assert len({(payload["agent"], payload["model"], payload["version"]) for payload in created}) == 6


@needs_traces
def test_what_the_user_of_real_results_did_is_kept_apart():
    told = Told(ADAPTER, recorded("2025-10-05T07-52"))
    assert len(told.payloads("simulator.llm_call")) == 78
    assert len(told.payloads("simulator.command")) == len(told.payloads("simulator.result")) == 25


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "tau2_bench" / "ferry_desk.json").read_bytes())
    assert told.counts == Counts(2, 6, 4, 1, 11_679)
    assert told.cost == pytest.approx(0.02447)
    assert told.outcomes == [("succeeded", "verifier"), ("failed", "verifier")]
    assert told.payloads("mission.created")[1] == {
        "title": "Your boarding pass does not open.",
        "goal": "Your boarding pass does not open.\nStop when the agent is done.",
        "task": "tau2_bench/ferry/pass_expired",
        "trial": 0,
        "agent": "llm_agent",
        "model": "openai/gpt-4.1",
        "version": "ferry_strict-a4c3caea",
        "commit": "9b1f0c2d7e",
        "labels": {
            "termination_reason": "user_stop",
            "user_model": "openai/gpt-4.1-mini",
            "user_cost": 0.0015,
            "checks": {
                "reward_basis": ["DB", "ACTION"],
                "db_match": False,
                "actions_expected": 2,
                "actions_matched": 1,
                "origin": "verifier",
            },
        },
    }


def test_the_greeting_is_no_model_call_but_a_message_without_usage_is():
    told = Told(ADAPTER, results(simulation(said(usage=None), said("user"), said(usage=None, cost=None))))
    assert [(step.tokens, step.cost) for step in told.of_kind(MODEL_CALL)] == [(None, None)]
    assert len(told.payloads("message.assistant")) == 2


def test_a_cost_of_zero_is_unknown():
    assert Told(ADAPTER, results(simulation(said(cost=0.0)))).cost is None


def test_tools_of_the_user_are_not_the_agents():
    told = Told(
        ADAPTER,
        results(
            simulation(
                said("user", tool_calls=calls("u1", requestor="user")),
                {"role": "tool", "id": "u1", "content": "no", "requestor": "user", "error": True},
            )
        ),
    )
    assert told.counts == Counts(1, 0, 0, 0, 0)


def test_a_tool_failed_where_its_result_says_so():
    told = Told(
        ADAPTER,
        results(
            simulation(
                said(tool_calls=calls("a", "b", "c")),
                {"role": "tool", "id": "a", "content": "Error: no", "requestor": "assistant", "error": True},
                {"role": "tool", "id": "b", "content": "Error: not really", "error": False},
            )
        ),
    )
    assert told.tools == [("look", False), ("look", True)]
    assert told.counts.tool_calls == 3


def test_results_that_come_together_end_each_its_call():
    together = {
        "role": "tool",
        "tool_messages": [
            {"role": "tool", "id": "b", "content": "no", "requestor": "assistant", "error": True},
            {"role": "tool", "id": "a", "content": "yes", "requestor": "assistant", "error": False},
        ],
    }
    told = Told(ADAPTER, results(simulation(said(tool_calls=calls("a", "b")), together)))
    assert told.tools == [("look", False), ("look", True)]


@pytest.mark.parametrize(
    ("reason", "reward", "outcomes"),
    [
        ("user_stop", 1.0, [("succeeded", "verifier")]),
        ("agent_stop", 0.5, [("failed", "verifier")]),
        ("max_steps", 0.0, [("limit_reached", "harness"), ("failed", "verifier")]),
        ("too_many_errors", None, [("failed", "harness")]),
        ("user_stop", None, []),
        (None, "1", []),
    ],
)
def test_how_a_simulation_ended(reason: Any, reward: Any, outcomes: list[tuple[str, str]]):
    one = simulation(said(), termination_reason=reason, reward_info={"reward": reward})
    assert Told(ADAPTER, results(one)).outcomes == outcomes


def test_another_text_of_the_policy_is_another_version():
    versions = [
        Told(ADAPTER, results(simulation(), environment_info={"domain_name": "air", "policy": policy}))
        .payloads("mission.created")[0]
        .get("version")
        for policy in ("Be kind.", "Be strict.", None)
    ]
    assert len(set(versions)) == 3
    assert versions[2] == "air"


def test_a_simulation_without_an_id_is_known_by_its_task_trial_and_start():
    def ids(**more: Any) -> list[str | None]:
        return Told(ADAPTER, results(simulation(id=None, **more))).missions

    assert ids() == ids(messages=[said()])
    assert ids() != ids(trial=3)


def test_a_malformed_simulation_costs_itself():
    told = Told(
        ADAPTER, results(simulation(said()), 17, simulation(id="s2", messages=[5]), simulation(id="s3"))
    )
    assert told.missions == ["s1", "s3"]
    assert len(told.rejected) == 2


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        (b'{"timestamp": "x", "info": {"num_trials": 4, "user_info": {"llm": "cut', True),
        (b'{"info": {"num_trials": 4}, "simulations": []}', False),
        (b'{"simulations": [], "info": 5}', False),
        (b'[{"info": {"num_trials": 4, "user_info": {}}}]', False),
    ],
)
def test_what_is_recognised(head: bytes, recognised: bool):
    assert ADAPTER.recognises(head, whole=False) is recognised
