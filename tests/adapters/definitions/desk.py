"""The information desk of a ferry, three times: the second one answers worse, the third is closed."""

from typing import Final

CASES: Final = {
    "first ferry": ("When does the first ferry leave?", "06:10"),
    "last ferry": ("When does the last ferry leave?", "22:40"),
    "bicycle fare": ("What does a bicycle cost?", "4 crowns"),
    "dog fare": ("What does a dog cost?", "free"),
    "pier of the night boat": ("Where does the night boat land?", "pier 3"),
    "lost umbrella": ("Who keeps lost umbrellas?", "the harbour office"),
    "storm rule": ("When does a storm stop the ferry?", "above 9 Beaufort"),
    "wheelchair ramp": ("Which boat has a ramp?", "the Tern"),
}
"""Each case: what is asked, and what the answer must hold."""

_KNOWN: Final = {
    "desk-v1": frozenset(CASES) - {"storm rule"},
    "desk-v2": frozenset(("first ferry", "dog fare")),
    "desk-closed": frozenset(),
}


def answer(desk: str, question: str) -> str:
    """What the desk says."""
    known = {CASES[case] for case in _KNOWN[desk]}
    return next((f"It is {fact}." for asked, fact in known if asked == question), "I do not know.")
