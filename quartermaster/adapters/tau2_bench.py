"""tau2-bench results: one experiment a file, one mission a simulation.

The simulated user is a model too, and may call tools of its own: what it does is told under names of its
own (`simulator.*`), so that it is neither charged to the agent nor counted as one of its steps.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import members_by_name, or_none, read_object
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    cut,
    cut_arguments,
    declared_tools,
    finish_reason_of,
    kept_arguments,
    kept_output,
    one_line,
    output_text,
)
from quartermaster.adapters._json import members
from quartermaster.adapters._lines import is_id, text_or_none
from quartermaster.adapters._story import Story, Usage, cost_of, count_of, local_instant, text_of, title_of
from quartermaster.core.journal import minted_id

_SOLVED: Final = 0.999
_STOPPED: Final = ("user_stop", "agent_stop")
_TERMINATIONS: Final = {"max_steps": "limit_reached", "timeout": "timed_out"}


class _Task(msgspec.Struct, gc=False):
    id: Any = None
    user_scenario: Any = None


class _Message(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    timestamp: Any = None
    cost: Any = None
    usage: Any = None
    tool_calls: Any = None
    id: Any = None
    requestor: Any = None
    error: Any = None
    tool_messages: Any = None
    raw_data: msgspec.Raw = msgspec.Raw(b"null")


class _Answer(msgspec.Struct, gc=False):
    finish_reason: Any = None


class _Simulation(msgspec.Struct, gc=False):
    id: Any = None
    task_id: Any = None
    trial: Any = None
    start_time: Any = None
    end_time: Any = None
    termination_reason: Any = None
    user_cost: Any = None
    reward_info: Any = None
    messages: list[_Message] | None = None


class _Document(msgspec.Struct, gc=False):
    info: Any = None
    tasks: list[_Task] = []
    simulations: list[_Simulation] = []


_decoder = msgspec.json.Decoder(_Document)
_decode_answer = msgspec.json.Decoder(_Answer).decode
_lists: Final = {
    "tasks": msgspec.json.Decoder(_Task).decode,
    "simulations": msgspec.json.Decoder(_Simulation).decode,
}


class Tau2Bench:
    """Result files of tau2-bench, as its runs write them."""

    name = "tau2_bench"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object whose `info` says how many trials there were and who played the user."""
        found = members_by_name(head)
        if b"info" not in found or head[found[b"info"] : found[b"info"] + 1] != b"{":
            return False
        return {b"num_trials", b"user_info"} <= {member.name for member in members(head, found[b"info"])}

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each simulation; a malformed one costs itself."""
        read, rejected = read_object(document, _decoder, _lists)
        if read is not None:
            experiment = _Experiment(read)
            for simulation in read.simulations:
                for entry in _entries_of(simulation, experiment):
                    yield Record(entry, 0, len(document))
        yield from rejected


class _Experiment:
    """What all simulations of a file have in common."""

    def __init__(self, document: _Document) -> None:
        info = _object(document.info)
        agent, environment = _object(info.get("agent_info")), _object(info.get("environment_info"))
        self.agent = text_or_none(agent.get("implementation"))
        self.model = text_or_none(agent.get("llm"))
        self.user_model = text_or_none(_object(info.get("user_info")).get("llm"))
        self.commit = text_or_none(info.get("git_commit"))
        self.domain = text_or_none(environment.get("domain_name"))
        tools = environment.get("tool_defs")
        self.tools = declared_tools(list(tools) if isinstance(tools, dict) else tools)
        self.version = _policy_version(self.domain, environment.get("policy"))
        self._scenarios = {
            task.id: _object(_object(task.user_scenario).get("instructions"))
            for task in document.tasks
            if type(task.id) is str
        }

    def scenario(self, task_id: str | None) -> dict[str, Any]:
        """What the simulated user was told of a task."""
        return self._scenarios.get(task_id or "", {})


def _policy_version(domain: str | None, policy: Any) -> str | None:
    """The policy is what an experiment changes: its name, and a mark of its text where that is recorded."""
    if not isinstance(policy, str) or not policy:
        return domain
    mark = blake2b(policy.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{domain or 'policy'}-{mark}"


def _entries_of(simulation: _Simulation, experiment: _Experiment) -> list[bytes]:
    story = Story(Mission("tau2_bench", _mission_id(simulation)))
    story.at(local_instant(simulation.start_time) or 0)
    story.created(_facts(simulation, experiment))
    for index, message in enumerate(simulation.messages or []):
        _tell_message(story, index, message, experiment)
    story.at(local_instant(simulation.end_time) or 0)
    _tell_end(story, simulation)
    return story.entries


def _mission_id(simulation: _Simulation) -> str:
    if is_id(simulation.id):
        return str(simulation.id)
    known = (simulation.task_id, simulation.trial, simulation.start_time)
    return "tau2_" + minted_id("tau2_bench", *(str(part) for part in known))[2:]


def _facts(simulation: _Simulation, experiment: _Experiment) -> dict[str, Any]:
    task_id = text_or_none(simulation.task_id)
    scenario = experiment.scenario(task_id)
    # a policy of another name is another variant, on tasks that stay the same
    domain = text_or_none(scenario.get("domain")) or experiment.domain
    return {
        "title": title_of(scenario.get("reason_for_call")),
        "goal": _goal(scenario),
        "tools": experiment.tools,
        "task": "/".join(part for part in ("tau2_bench", domain, task_id) if part) if task_id else None,
        "trial": count_of(simulation.trial),
        "agent": experiment.agent,
        "model": experiment.model,
        "version": experiment.version,
        "commit": experiment.commit,
        "labels": _labels(simulation, experiment) or None,
    }


def _goal(scenario: dict[str, Any]) -> str | None:
    """Why the simulated user calls and what it was told to insist on."""
    told = (text_or_none(scenario.get(name)) for name in ("reason_for_call", "task_instructions"))
    return cut("\n".join(text for text in told if text), TEXT_LIMIT) or None


def _labels(simulation: _Simulation, experiment: _Experiment) -> dict[str, Any]:
    labels = {
        "termination_reason": text_or_none(simulation.termination_reason),
        "user_model": experiment.user_model,
        "user_cost": cost_of(simulation.user_cost),
        "checks": _checks(_object(simulation.reward_info)),
    }
    return {name: value for name, value in labels.items() if value is not None}


def _checks(reward_info: dict[str, Any]) -> dict[str, Any] | None:
    """What the reward was made of."""
    if not reward_info:
        return None
    actions = reward_info.get("action_checks")
    matches = [_object(check).get("action_match") for check in actions] if isinstance(actions, list) else None
    basis = reward_info.get("reward_basis")
    db_match = _object(reward_info.get("db_check")).get("db_match")
    checks = {
        "reward_basis": cut_arguments(basis) if isinstance(basis, list) else None,
        "db_match": db_match if type(db_match) is bool else None,
        "actions_expected": None if matches is None else len(matches),
        "actions_matched": None if matches is None else sum(match is True for match in matches),
        "origin": "verifier",
    }
    return {name: value for name, value in checks.items() if value is not None}


def _tell_message(story: Story, index: int, message: _Message, experiment: _Experiment) -> None:
    instant = local_instant(message.timestamp)
    if instant is not None:
        story.at(instant)
    if message.role == "tool":
        for result in _results(message):
            _tell_result(story, index, result)
        return
    if message.role not in ("assistant", "user"):
        return
    by_agent = message.role == "assistant"
    if isinstance(message.usage, dict) or (by_agent and index):  # the greeting is no model's
        _tell_model_call(story, index, message, by_agent, experiment)
    story.said(not by_agent, text_of(message.content), str(index))
    for call in message.tool_calls if isinstance(message.tool_calls, list) else ():
        _tell_call(story, index, _object(call))


def _results(message: _Message) -> Iterator[_Message]:
    """A message of one result, or of several results of calls that were made at once."""
    if not isinstance(message.tool_messages, list):
        yield message
        return
    for result in message.tool_messages:
        fields = _object(result)
        yield _Message(**{name: fields[name] for name in _Message.__struct_fields__ if name in fields})


def _tell_model_call(
    story: Story, index: int, message: _Message, by_agent: bool, experiment: _Experiment
) -> None:
    counters = _object(message.usage)
    used = Usage(
        fresh=count_of(counters.get("prompt_tokens")),
        output=count_of(counters.get("completion_tokens")),
        cost=cost_of(message.cost),
    )
    if by_agent:
        answer = or_none(_decode_answer, message.raw_data) or _Answer()
        reason = finish_reason_of(answer.finish_reason)
        story.model_call(str(index), experiment.model, used, finish_reason=reason)
        return
    payload = {
        "model": experiment.user_model,
        "input_tokens": used.fresh,
        "output_tokens": used.output,
        "cost_usd": used.cost,
    }
    story.tell("simulator.llm_call", payload, str(index), summary="the simulated user", actor="user")


def _tell_call(story: Story, index: int, call: dict[str, Any]) -> None:
    tool, call_id = text_or_none(call.get("name")), text_or_none(call.get("id")) or f"call {index}"
    if tool is None:
        return
    if call.get("requestor") == "user":
        payload = {"command": tool, "call_id": call_id, **kept_arguments(call.get("arguments"))}
        story.tell("simulator.command", payload, call_id, summary=tool, actor="user")
        return
    story.begin(call_id, tool, call.get("arguments"))


def _tell_result(story: Story, index: int, result: _Message) -> None:
    output = output_text(result.content)
    text = output or ""
    if result.requestor == "user":
        payload = {"call_id": text_or_none(result.id), "failed": result.error is True, **kept_output(output)}
        story.tell("simulator.result", payload, str(index), summary=text or "result", actor="user")
        return
    call_id = text_or_none(result.id) or story.oldest_open()
    if call_id is not None:
        story.end(call_id, error=one_line(text) if result.error is True else None, output=output)


def _tell_end(story: Story, simulation: _Simulation) -> None:
    """The verifier's word, and the harness's where the conversation was ended from outside."""
    reason = text_or_none(simulation.termination_reason)
    reward = _reward(_object(simulation.reward_info).get("reward"))
    cut_short = reason is not None and reason not in _STOPPED
    if reward is not None or cut_short:
        solved = reward is not None and reward >= _SOLVED and not cut_short
        story.goal("completed" if solved else "failed", reason)
    if cut_short:
        story.outcome(_TERMINATIONS.get(reason or "", "failed"), "harness")
    if reward is not None:
        story.outcome("succeeded" if reward >= _SOLVED else "failed", "verifier", reward)


def _reward(value: Any) -> float | None:
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if -1e9 < value < 1e9 else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


ADAPTER: Final[DocumentAdapter] = Tau2Bench()
