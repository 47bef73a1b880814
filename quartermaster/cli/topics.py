"""The topics of `quartermaster help`: sections of the README, which the package brings along."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from quartermaster.errors import NotFound


class Topic(msgspec.Struct, frozen=True):
    """A section of the README under a word that is quick to type."""

    name: str
    heading: str
    about: str
    also: tuple[str, ...] = ()


TOPICS: Final = (
    Topic("start", "Start", "install, see it work, read recordings of your own"),
    Topic("formats", "What it reads", "the formats that are read, and how one is recognised"),
    Topic("metrics", "Metrics", "what is measured of a mission, and what it takes to be judged"),
    Topic("verdicts", "What it says, and what it refuses to say", "what a verdict means"),
    Topic("statistics", "How sure it is", "measured error rates, and where the rules leave common practice"),
    Topic("example", "A worked comparison", "two agents on 40 tasks, and what the report says of them"),
    Topic("commands", "Command line", "every command in a line"),
    Topic("exit-codes", "Exit codes", "what the exit code of a command means"),
    Topic("ci", "In CI", "reports, policies, GitHub and GitLab"),
    Topic("python", "From Python and pytest", "the library, the clients, the plugin", also=("pytest",)),
    Topic("recording", "Recording a run", "one mission of what an agent does under `quartermaster run`"),
    Topic("exports", "Exports", "missions for other programs"),
    Topic("batch", "Many recordings at once", "any number of recordings into Parquet, also on a cluster"),
    Topic("sql", "SQL", "the views of the database"),
    Topic("alerts", "Alerts", "who is told of regressions, failures and changes, and how"),
    Topic("api", "HTTP API by example", "the daemon over HTTP, request by request"),
    Topic("mcp", "From other agents", "tools for agents over the Model Context Protocol"),
    Topic("settings", "Settings", "settings, variables, prices, the home folder"),
    Topic("operations", "Operations", "backups, restore, retention, the unit of systemd", also=("backup",)),
    Topic("privacy", "Privacy", "what is masked, what is kept, what leaves the machine", also=("masking",)),
    Topic("promises", "Promises, and the tests that hold them", "what holds, and which test holds it"),
    Topic("measured", "Measured", "speed, memory, and what was survived"),
    Topic("comparison", "Beside other tools", "the same files given to other tools"),
    Topic("limits", "What it does not do", "what to use something else for"),
)


def find_topic(word: str) -> Topic | None:
    """The topic of that name."""
    return next((topic for topic in TOPICS if word == topic.name or word in topic.also), None)


def section(text: str, heading: str) -> str:
    """A section of a Markdown document with all below it, up to the next heading that is not below it."""
    lines = text.splitlines()
    starts = [*_headings(lines), (len(lines), 0, "")]
    for number, (line, level, title) in enumerate(starts):
        if title == heading:
            end = next(after for after, other, _ in starts[number + 1 :] if other <= level)
            return "\n".join(lines[line:end]).strip()
    raise NotFound(f"the documentation has no section {heading!r}; install Quartermaster again")


def readme() -> str:
    """The README: inside of the package where it is installed, beside it in a checkout."""
    inside = files("quartermaster") / "README.md"
    if inside.is_file():
        return inside.read_text("utf-8")
    checkout = Path(__file__).resolve().parents[2] / "README.md"
    if not checkout.is_file():
        raise NotFound("the documentation is missing; install Quartermaster again")
    return checkout.read_text("utf-8")


def _headings(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Line, level and title of every heading; a `#` inside of a fenced block is none."""
    is_fenced = False
    for number, line in enumerate(lines):
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif line.startswith("#") and not is_fenced:
            signs, _, title = line.partition(" ")
            yield number, len(signs), title
