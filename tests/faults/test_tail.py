"""Whatever happens to the files of an inbox, each of their entries is there once."""

import pytest
from faults import tail


@pytest.mark.timeout(600)
def test_no_entry_is_lost_or_doubled_whatever_happens_to_the_files():
    figures = tail.run(rounds=8, seed=1, steps=40)
    assert figures["entries"] > 300
    assert figures["kills"] > 20
    assert (figures["lost"], figures["doubled"], figures["from_outside"]) == (0, 0, 0), figures["examples"]
