"""List prices: exact, dated, and never a zero for what is unknown."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from genai_prices import Usage, calc_price

from quartermaster.core.pricing import list_price
from quartermaster.core.trajectory import PICODOLLARS

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def price(model, fresh=0, output=0, cache_read=None, cache_write=None, at=NOON):
    return list_price(
        model,
        fresh=fresh,
        output=output,
        cache_read=cache_read,
        cache_write=cache_write,
        instant=int(at.timestamp()) * 10**9,
    )


@pytest.mark.parametrize("model", ["claude-sonnet-4-5-20250929", "gpt-4o-2024-08-06", "gemini-2.5-pro", "o3"])
@pytest.mark.parametrize("counts", [(1_000, 200, 0, 0), (10, 7, 5_000, 300), (250_000, 4_000, 100_000, 0)])
def test_a_price_is_the_one_of_the_catalogue(model, counts):
    fresh, output, read, write = counts
    usage = Usage(
        input_tokens=fresh + read + write,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
    )
    expected = calc_price(usage, model, genai_request_timestamp=NOON).total_price
    assert price(model, *counts) == int(expected * PICODOLLARS)


def test_a_call_is_priced_at_its_own_date():
    before, after = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 9, 1, tzinfo=UTC)
    assert price("o3", 10**6, 10**6, at=before) == 50 * PICODOLLARS
    assert price("o3", 10**6, 10**6, at=after) == 10 * PICODOLLARS


def test_a_long_context_moves_the_whole_call_into_its_tier():
    short, long = price("gemini-2.5-pro", 200_000), price("gemini-2.5-pro", 200_001)
    assert long > 1.9 * short


def test_a_provider_before_the_model_is_understood():
    assert price("anthropic/claude-sonnet-4-5", 1_000, 1) == price("claude-sonnet-4-5", 1_000, 1)


@pytest.mark.parametrize(
    "model", ["", "/", "no-such-model", "anthropic", "<synthetic>", "nobody/gpt-4o", "\ud800"]
)
def test_an_unknown_model_has_no_price(model):
    assert price(model, 10, 10) is None


def test_missing_or_negative_counts_have_no_price():
    assert price("gpt-4o", None, 5) is None
    assert price("gpt-4o", 5, None) is None
    assert price("gpt-4o", 5, -1) is None


def test_a_call_that_used_no_token_cost_nothing_whatever_its_model():
    assert price("<synthetic>", 0, 0, 0, 0) == 0


def test_the_catalogue_is_imported_only_when_something_must_be_priced():
    program = """
import sys
from quartermaster.core.assessment import PlainTexts, assess
from quartermaster.core.trajectory import MODEL_CALL, Step
assess([Step(0, MODEL_CALL, "gpt-4o", True, cost=5), Step(0, MODEL_CALL, "gpt-4o", True)], PlainTexts())
assert "genai_prices" not in sys.modules
assess([Step(0, MODEL_CALL, "gpt-4o", True, input_tokens=1, output_tokens=1)], PlainTexts())
assert "genai_prices" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
