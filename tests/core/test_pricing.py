"""List prices: exact, dated, and never a zero for what is unknown."""

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from core.pricing_golden import CASES
from genai_prices import Usage, calc_price

from quartermaster.core.pricing import OwnPrices, PriceBook, list_price, own_prices_of
from quartermaster.core.trajectory import PICODOLLARS

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def price(
    model,
    fresh=0,
    output=0,
    cache_read=None,
    cache_write=None,
    *,
    at=NOON,
    hour=None,
    terms=None,
    book=list_price,
):
    return book(
        model,
        fresh=fresh,
        output=output,
        cache_read=cache_read,
        cache_write=cache_write,
        instant=int(at.timestamp()) * 10**9,
        cache_write_1h=hour,
        terms=terms,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model} {case.at} {case.source}")
def test_a_call_costs_what_was_worked_out_by_hand(case):
    at = datetime.fromisoformat(case.at).replace(tzinfo=UTC)
    counts = (case.fresh, case.output, case.read, case.write)
    assert (
        price(case.model, *counts, at=at, hour=case.hour, terms=case.terms)
        == Decimal(case.dollars) * PICODOLLARS
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model} {case.worked}")
def test_the_sums_of_the_table_are_right(case):
    products = [part.split("*") for part in case.worked.split(" + ")]
    assert (
        sum(int(tokens) * Decimal(rate.replace("_", "")) for tokens, rate in products)
        == Decimal(case.dollars) * 10**6
    )
    assert sum(int(tokens) for tokens, rate in products if rate != "14_000") == sum(
        part or 0 for part in (case.fresh, case.output, case.read, case.write)
    )


def test_the_table_covers_what_prices_depend_on():
    assert len(CASES) >= 40
    assert len({case.source.partition(",")[0] for case in CASES}) >= 6


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
    "model",
    [
        "", "/", "no-such-model", "anthropic", "<synthetic>", "default", "nobody/gpt-4o", "\ud800", "x" * 999,
        "claude-sonnet-45", "gpt-5.3-codex-spark", "my-gemini-1.5-flash", "ollama/llama3.2", "gemma-3-27b-it",
    ],
)  # fmt: skip
def test_an_unknown_model_has_no_price(model):
    assert price(model, 10, 10) is None


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("gpt-4o-2099-01-01", "dated models of that name have had two prices"),
        ("gemini-1.5-flash-8b", "begins like a dearer model"),
        ("deepseek-r1-distill-llama-70b", "begins like a dearer model"),
        ("gpt-5-nano-whatever", "begins like another model"),
        ("meta-llama/llama-4-maverick", "sold by many, and nobody says by whom"),
        ("sonar-deep-research", "parts of its output have prices of their own"),
    ],
)
def test_two_possible_prices_are_no_price(model, why):
    assert price(model, 10, 10) is None, why


def test_the_recorded_provider_decides_where_a_name_alone_does_not():
    assert price("openai/gpt-4o", 10, 0, 1_000, terms="openrouter") == 1_010 * 25 * PICODOLLARS // 10**7
    assert price("openai/gpt-4o", 10, 0, 1_000) == (10 * 250 + 1_000 * 125) * PICODOLLARS // 10**8
    assert price("glm-4.7", 10, 10, terms="anthropic") is None
    assert price("gpt-4.1", 10, 10, terms="some-proxy") == price("gpt-4.1", 10, 10)


def test_a_name_on_bedrock_without_its_region_has_a_price_only_where_regions_do_not_differ():
    assert price("claude-sonnet-4-5-20250929", 10, 10, terms="bedrock") is None
    assert price("claude-3-7-sonnet-20250219", 10, 10, terms="bedrock") == 180 * PICODOLLARS // 10**6


def test_a_service_tier_without_a_price_of_that_date_has_none():
    assert price("gpt-5", 10, 10, terms="openai;priority", at=datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert price("gpt-5", 10, 10, terms="openai;unheard-of") is None


def test_a_call_without_a_date_has_a_price_only_where_it_never_changed():
    undated = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    assert price("gpt-4o", 10, 10, at=undated) == price("gpt-4o", 10, 10)
    assert price("o3", 10, 10, at=undated) is None


def test_an_hour_of_cache_is_a_part_of_what_was_written():
    assert price("claude-sonnet-4-5", 1, 1, 0, 100, hour=101) is None
    assert price("claude-sonnet-4-5", 1, 1, 0, None, hour=100) == price(
        "claude-sonnet-4-5", 1, 1, 0, 100, hour=100
    )
    assert price("us.anthropic.claude-sonnet-4-20250514-v1:0", 1, 1, 0, 100, hour=100) is None


OWN = {
    "gpt-4o": [{"input": 1, "output": 2}, {"input": 3, "output": 4, "from": date(2026, 1, 1)}],
    "gpt-*": {"input": 9, "output": 9},
    "our-*": {"input": 0.5, "output": 1.5, "cache_read": 0, "cache_write": 0.75},
    "azure/gpt-4.1": {"input": 7, "output": 7},
    "later": {"input": 1, "output": 1, "from": "2027-01-01"},
}
BOOK = PriceBook(own_prices_of(OWN, "0123"))


def dollars(model, *counts, **more):
    found = price(model, *counts, book=BOOK, **more)
    return None if found is None else Decimal(found) / PICODOLLARS


def test_own_prices_go_before_the_catalogue():
    assert dollars("our-model", 10**6, 10**6, 10**6, 10**6) == Decimal("2.75")
    assert dollars("OUR-MODEL", 10**6, 10**6) == 2
    assert dollars("claude-sonnet-4-5", 1_000) == Decimal("0.003")


def test_of_own_prices_the_most_telling_pattern_and_the_newest_date_hold():
    assert dollars("gpt-4o", 10**6, at=datetime(2025, 12, 31, tzinfo=UTC)) == 1
    assert dollars("gpt-4o", 10**6, at=datetime(2026, 1, 1, tzinfo=UTC)) == 3
    assert dollars("gpt-4.1", 10**6) == 9
    assert dollars("gpt-4.1", 10**6, terms="azure") == 7


def test_own_prices_with_a_date_say_nothing_of_earlier_or_undated_calls():
    assert dollars("later", 10**6) is None
    assert dollars("gpt-4o", 10**6, at=datetime(1970, 1, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the file holds no table"),
        ({"m": 3}, "'m' is no price"),
        ({"m": {"input": 1}}, "'m' has no output"),
        (
            {"m": {"input": 1, "output": 1, "inptu": 1}},
            "'m' has an unknown key 'inptu'; allowed is a table with",
        ),
        (
            {"m": {"input": -1, "output": 1}},
            "input of 'm' is -1; allowed is a number of dollars from 0 to 1000000",
        ),
        ({"m": {"input": True, "output": 1}}, "input of 'm' is True"),
        ({"m": {"input": float("nan"), "output": 1}}, "input of 'm' is nan"),
        (
            {"m": {"input": 1, "output": 1, "from": "soon"}},
            "from of 'm' is 'soon'; allowed is a date such as",
        ),
        ({"m": {"input": 1, "output": 1, "from": 2026}}, "from of 'm' is 2026"),
    ],
)
def test_a_mistake_in_own_prices_is_named_with_its_remedy(document, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        own_prices_of(document, "")


def test_no_own_price_is_what_the_catalogue_says():
    assert price("gpt-4o", 10, book=PriceBook(OwnPrices())) == price("gpt-4o", 10)


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
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_pricing_never_asks_the_network():
    program = """
import sys, threading
asked = []
sys.addaudithook(lambda event, args: asked.append(event) if event.startswith("socket.") else None)
from quartermaster.core.pricing import list_price
counts = dict(fresh=1, output=1, cache_read=0, cache_write=0, instant=1768478400 * 10**9)
assert list_price("gpt-4o", **counts) and list_price("no-such-model", **counts) is None
from genai_prices import update_prices
assert threading.active_count() == 1 and not update_prices._shared_updater.ref_count
connections = [event for event in asked if event != "socket.__new__"]
assert not connections, connections
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
