"""Requests that no honest client sends; as many as there is time for. The long run is a command."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hostile_http import attack

CASES = 5_000


@pytest.mark.timeout(300)
def test_hostile_requests_change_nothing_about_the_answers(tmp_path: Path) -> None:
    told = attack(tmp_path / "home", CASES, seed=1)
    assert told.broken == []
    assert told.cases == CASES
    assert told.statuses[400] > CASES / 4
    assert told.statuses[200] > 0
