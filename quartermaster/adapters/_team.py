"""Conversations of several agents, each message by the agent that its role or name tells.

A reply is a model call of its own. No model was asked for what an orchestrator's program notes, for
words that hand on what was decided a message before, and for what a code executor printed.
"""

import re
from typing import Any, Final

from quartermaster.adapters._entries import TEXT_LIMIT, cut
from quartermaster.adapters._story import MINUTE, Story

_EXECUTED: Final = re.compile(r"exitcode: (-?\d{1,9}) \(execution \w+\)\s*(?:Code output:)?\s*")
_NOTHING_TO_EXECUTE: Final = "There is no code from the last"
_HANDED_ON: Final = re.compile(r"(.+?) \(-> (.+?)\)$")
_THOUGHT: Final = re.compile(r"(.+?) \(thought\)$")
_ASIDE: Final = re.compile(r"(.+?) \((?!thought|->)[^)]*\)$")
_NOTED: Final = re.compile(r"Next speaker|Stalled\.|Request satisfied\.|Replan counter|Agent is stuck")
_SATISFIED: Final = "Request satisfied."
_ANSWER: Final = "FINAL ANSWER:"
_CODE: Final = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_USERS: Final = frozenset({"human", "user"})
_PROXY: Final = re.compile(r"proxy|chat_manager", re.IGNORECASE)


class TeamTalk:
    """Tells a conversation message by message; `satisfied` says whether the agents called it done."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._index = -1
        self._before = ""
        self._assigned: dict[str, str] = {}
        self.satisfied = False

    def tell(self, speaker: str, text: str, *, asks: bool = False) -> None:
        """The next message; `asks` says that it is the task itself, whoever's name it carries."""
        self._index += 1
        self._story.at((self._index + 2) * MINUTE)
        if asks or speaker.lower() in _USERS or _PROXY.search(speaker):
            self._say(speaker, text, by_user=True)
        elif executed := _EXECUTED.match(text):
            self._executed(speaker, int(executed[1]), text[executed.end() :])
        elif text.startswith(_NOTHING_TO_EXECUTE):
            self._noted(speaker, text)
        else:
            self._spoken(speaker, text)
        self._before = text

    def _spoken(self, speaker: str, text: str) -> None:
        if handed_on := _HANDED_ON.match(speaker):
            self._assign(handed_on[1], handed_on[2], text)
            return
        if aside := _ASIDE.match(speaker):
            if _ANSWER in text:
                self._say(aside[1], text)
            else:
                self._noted(speaker, text)
            return
        thought = _THOUGHT.match(speaker)
        if thought and _NOTED.match(text):
            self.satisfied = self.satisfied or text.startswith(_SATISFIED)
            self._noted(thought[1], text)
            return
        agent = thought[1] if thought else speaker
        self._story.model_call(str(self._index), agent=agent)
        self._say(agent, text)
        assignment = None if thought else self._assigned.pop(agent, None)
        if assignment is not None:
            self._story.tell(
                "assignment.completed", {"assignment_id": assignment, "target": agent}, assignment
            )

    def _say(self, speaker: str, text: str, *, by_user: bool = False) -> None:
        told = {"speaker": speaker, "step": self._index}
        self._story.said(by_user, text, str(self._index), agent=speaker, **told)

    def _assign(self, by: str, target: str, text: str) -> None:
        assignment = self._assigned[target] = str(self._index)
        told = {"assignment_id": assignment, "target": target, "by": by, "agent": by, "to": target}
        told["text"] = cut(text, TEXT_LIMIT)
        self._story.tell("assignment.created", told | {"step": self._index}, assignment, summary=text)

    def _executed(self, speaker: str, exit_code: int, output: str) -> None:
        key = str(self._index)
        code = _CODE.search(self._before)
        arguments = {"code": code[1]} if code else None
        self._story.begin(key, speaker, arguments, agent=speaker, step=self._index)
        self._story.end(key, exit_code=exit_code, error=output if exit_code else None, output=output)

    def _noted(self, speaker: str, text: str) -> None:
        told: dict[str, Any] = {"text": cut(text, TEXT_LIMIT), "speaker": speaker, "step": self._index}
        told["agent"] = speaker
        self._story.tell("run.note", told, str(self._index), summary=text, actor="system")
