"""SWE-agent trajectories: one document, one mission; each step is a model call and a command.

The recordings have no clock and no exit codes. Steps are dated one minute apart from 1970 on and the
mission says `clock: "ordinal"`; a command failed where the environment's own words say so. Tokens and
cost are known for the whole run only: they stand on its last model call, and the earlier ones say so.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import element_names, is_cut, members_by_name, read_object, records_of
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut
from quartermaster.adapters._story import MINUTE, Story, Usage, cost_of, count_of, text_of, title_of
from quartermaster.core.journal import minted_id

_FAILED: Final = re.compile(
    r"\s*(?:EXECUTION TIMED OUT"
    r"|COMMAND TIMED OUT"
    r"|Error\b"
    r"|Your proposed edit has introduced new syntax error"
    r"|Your bash command contained syntax errors"
    r"|No replacement was performed"
    r"|Wrong flag!"
    r"|The command .{0,400} was cancelled because it took more than"
    r"|Operation .{0,400} is not supported by this environment"
    r"|Interactive operation .{0,400} is not supported"
    r"|[\w./-]{1,80}: [^\n]{0,300}(?:command not found|No such file|Permission denied)"
    r"|python3?: can't open file"
    r"|Traceback \(most recent call last\))",
    re.DOTALL,
)
"""How observations of commands begin that did not work."""
_NO_MODEL: Final = re.compile(r"Exit(?:ed)? due to |exit_\w+$")
_OUTCOMES: Final = {
    "exit_cost": "limit_reached",
    "exit_context": "limit_reached",
    "exit_format": "failed",
    "exit_api": "failed",
    "exit_error": "failed",
    "exit_environment_error": "failed",
    "exit_command_timeout": "timed_out",
    "exit_total_execution_time": "timed_out",
    "exit_forfeit": "aborted",
    "skipped": "aborted",
}
_ISSUE: Final = re.compile(r"(?:ISSUE|<pr_description>):?\s*\n(.+)")


class _Step(msgspec.Struct, gc=False):
    action: Any = None
    observation: Any = None
    response: Any = None
    thought: Any = None
    execution_time: Any = None


class _Message(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    agent: Any = None
    action: Any = None
    thought: Any = None
    is_demo: Any = None


class _Document(msgspec.Struct, gc=False):
    trajectory: list[_Step] = []
    history: list[_Message] = []
    info: Any = None
    environment: Any = None
    replay_config: Any = None


_decoder = msgspec.json.Decoder(_Document)
_lists: Final = {
    "trajectory": msgspec.json.Decoder(_Step).decode,
    "history": msgspec.json.Decoder(_Message).decode,
}


class SweAgent:
    """Files named `.traj`, of SWE-agent 0.x and 1.x, demonstrations that hold only a history among them."""

    name = "swe_agent"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Steps of action and observation, or a history whose messages name their agent and type."""
        members = members_by_name(head)
        if {b"trajectory", b"history"} <= members.keys():
            return True
        if b"trajectory" in members:
            names = element_names(head, members[b"trajectory"])
            return any({b"action", b"observation"} <= found for found in names)
        if b"history" in members:
            names = element_names(head, members[b"history"])
            return any({b"role", b"content", b"agent", b"message_type"} <= found for found in names)
        return False

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the run; a malformed step costs that step."""
        read, rejected = read_object(document, _decoder, _lists)
        known = read is not None and not (is_cut(document, rejected) and _needs_all(read))
        entries = _entries_of(read) if read is not None and known else []
        return records_of(document, entries, rejected, "the run has no steps")


def _entries_of(document: _Document) -> list[bytes]:
    steps = [step for step in document.trajectory if _is_step(step)] or _steps_of(document.history)
    if not steps:
        return []
    config = _object(document.replay_config)
    info = _object(document.info)
    asked = next((text_of(one.content) for one in document.history if _is_request(one)), "")
    story = Story(Mission("swe_agent", _mission_id(steps)))
    story.at(MINUTE)
    story.created(_facts(config, info, asked))
    model = _object(_object(config.get("agent")).get("model")).get("name")
    totals = _totals(info)
    calls = [index for index, step in enumerate(steps) if _calls_model(step)]
    for index, step in enumerate(steps):
        story.at((index + 2) * MINUTE)
        if _calls_model(step):
            _tell_call(story, str(index), model, totals, last=index == calls[-1])
            story.said(False, step.thought or step.response, str(index))
        _tell_command(story, str(index), step)
    story.at((len(steps) + 2) * MINUTE)
    _tell_end(story, info)
    return story.entries


def _needs_all(document: _Document) -> bool:
    """Whether the mission is known by all of its steps, so that a part of them would be another one."""
    return not any(_is_timed(step) for step in document.trajectory[:1])


def _is_timed(step: _Step) -> bool:
    return type(step.execution_time) is float and step.execution_time > 0


def _is_step(step: _Step) -> bool:
    return isinstance(step.action, str) or isinstance(step.response, str)


def _is_request(message: _Message) -> bool:
    return message.role == "user" and message.is_demo is not True


def _steps_of(history: list[_Message]) -> list[_Step]:
    """The steps that a history alone tells: each action with the message that follows it."""
    steps: list[_Step] = []
    for index, message in enumerate(history):
        if message.role != "assistant" or message.is_demo is True:
            continue
        following = history[index + 1] if index + 1 < len(history) else _Message()
        observation = text_of(following.content) if following.role in ("tool", "user") else None
        steps.append(_Step(message.action, observation, text_of(message.content), message.thought))
    return steps


def _mission_id(steps: list[_Step]) -> str:
    """Follows from the first step where that was timed, so that a run that goes on stays one mission.

    Older recordings are known by all of their steps: two runs may begin alike.
    """
    first = steps[0]
    timed = _is_timed(first)
    texts = [
        text if isinstance(text, str) else ""
        for step in (steps[:1] if timed else steps)
        for text in (step.action, step.observation, step.response)
    ]
    return "swe_" + minted_id("swe_agent", *texts, str(first.execution_time) if timed else "")[2:]


def _facts(config: dict[str, Any], info: dict[str, Any], asked: str) -> dict[str, Any]:
    problem = _object(config.get("problem_statement"))
    task = problem.get("id")
    text = problem.get("text")
    issue = _ISSUE.search(asked)
    repository = _object(_object(config.get("env")).get("repo"))
    labels = {
        name: value
        for name, value in {
            "exit_status": info.get("exit_status"),
            "repository": repository.get("repo_name") or repository.get("github_url"),
            "base_commit": repository.get("base_commit"),
        }.items()
        if isinstance(value, str) and value
    }
    return {
        "title": title_of(text) or title_of(issue[1] if issue else asked),
        "goal": cut(text, TEXT_LIMIT) if isinstance(text, str) and text else None,
        "task": f"swe_agent/{task}" if isinstance(task, str) and task else None,
        "agent": "swe-agent",
        "model": _text(_object(_object(config.get("agent")).get("model")).get("name")),
        "version": _text(info.get("swe_agent_version")),
        "labels": labels or None,
        "clock": "ordinal",
    }


def _totals(info: dict[str, Any]) -> Usage | None:
    """Tokens and cost of the run; zeros throughout mean that no model was asked."""
    stats = _object(info.get("model_stats"))
    cost = cost_of(stats.get("instance_cost"))
    sent, received = count_of(stats.get("tokens_sent")), count_of(stats.get("tokens_received"))
    if not (cost or sent or received):
        return None
    return Usage(fresh=sent, output=received, cost=cost)


def _calls_model(step: _Step) -> bool:
    response = step.response if isinstance(step.response, str) else ""
    return bool(response.strip()) and _NO_MODEL.match(response) is None


def _tell_call(story: Story, key: str, model: Any, totals: Usage | None, *, last: bool) -> None:
    if totals is None:
        story.model_call(key, model)
    elif last:
        story.model_call(key, model, totals, counts="the whole run")
    else:
        cost = None if totals.cost is None else 0.0
        story.model_call(key, model, Usage(cost=cost), counted_by="the last call of the run")


def _tell_command(story: Story, key: str, step: _Step) -> None:
    action = step.action.strip() if isinstance(step.action, str) else ""
    if not action or _NO_MODEL.match(action):
        return
    story.begin(key, "shell", {"command": action})
    if not isinstance(step.observation, str):
        return
    failed = _FAILED.match(step.observation) is not None
    seconds = step.execution_time if type(step.execution_time) is float else None
    story.end(
        key,
        error=step.observation if failed else None,
        output=step.observation,
        duration_ms=int(seconds * 1000) if seconds is not None and 0 <= seconds < 1e9 else None,
    )


def _tell_end(story: Story, info: dict[str, Any]) -> None:
    """What the agent made of it. A submission says that it was done, not that it solves anything."""
    status = info.get("exit_status")
    if not isinstance(status, str) or not status:
        return
    submitted = status == "submitted" or status.startswith("submitted (")
    if submitted:
        story.goal("completed", info.get("submission"))
    else:
        story.goal("failed", status)
    reason = status.removeprefix("submitted (").removesuffix(")")
    if status == "submitted":
        story.outcome("succeeded", "agent")
    else:
        story.outcome(_OUTCOMES.get(reason, "failed"), "agent")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


ADAPTER: Final[DocumentAdapter] = SweAgent()
