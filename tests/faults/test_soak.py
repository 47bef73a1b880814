"""A daemon under everything at once for a few seconds: nothing fails and nothing leaks."""

import pytest
from faults import soak


@pytest.mark.timeout(120)
def test_everything_at_once_fails_nothing_and_leaks_no_descriptor():
    figures = soak.run(minutes=20 / 60, seed=1)
    assert figures["reads"] > 50
    assert figures["events"] > 0
    assert (figures["failures"], figures["examples"]) == (0, [])
    assert "descriptors" not in figures["broken"]
