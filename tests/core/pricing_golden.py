# ruff: noqa: E501
"""Calls with the price that they must have: tokens times the list price of the day, worked out by hand.

`worked` multiplies tokens by dollars for a million of them; `dollars` is its result, to the last digit. The
source of each rate is the price list that the provider publishes, in the edition that genai-prices 0.2.3
keeps (its `prices` folder links each provider's page); the note says what the case is about.
"""

from typing import NamedTuple


class Case(NamedTuple):
    model: str
    at: str
    worked: str
    dollars: str
    source: str
    fresh: int = 0
    output: int = 0
    read: int | None = None
    write: int | None = None
    hour: int | None = None
    terms: str | None = None


ANTHROPIC = "Anthropic, API pricing"
OPENAI = "OpenAI, API pricing, standard"
GOOGLE = "Google, Gemini API pricing, paid tier, text"
XAI = "xAI, models and pricing"
MISTRAL = "Mistral AI, API pricing"
DEEPSEEK = "DeepSeek, models and pricing"
BEDROCK = "AWS, Bedrock pricing"
GROQ = "Groq, on-demand pricing"
COHERE = "Cohere, pricing"
MOONSHOT = "Moonshot AI, pricing"
OPENROUTER = "OpenRouter, model page"
PERPLEXITY = "Perplexity, API pricing, low search context"

# fmt: off
CASES = (
    # Anthropic: input_tokens is what no cache holds; writes cost 1.25 of it for minutes, 2 for an hour, reads 0.1.
    Case("claude-sonnet-4-5-20250929", "2026-01-15", "1_000*3 + 200*15", "0.006", ANTHROPIC, 1_000, 200),
    Case("claude-sonnet-4-5", "2026-01-15", "10*3 + 50_000*0.3 + 7*15", "0.015135", ANTHROPIC, 10, 7, 50_000),
    Case("claude-sonnet-4-5", "2026-01-15", "5_200*3 + 9_800*3.75 + 310*15", "0.057", ANTHROPIC, 5_200, 310, 0, 9_800),
    Case("claude-sonnet-4-5", "2026-01-15", "20*3 + 25_795*6 + 9*15", "0.154965", ANTHROPIC + ", all for an hour", 20, 9, 0, 25_795, 25_795),
    Case("claude-sonnet-4-5", "2026-01-15", "20*3 + 1_000*0.3 + 600*3.75 + 400*6 + 9*15", "0.005145", ANTHROPIC + ", some for an hour", 20, 9, 1_000, 1_000, 400),
    Case("claude-sonnet-4-5", "2026-01-15", "200_000*3 + 1_000*15", "0.615", ANTHROPIC + ", the last short prompt", 200_000, 1_000),
    Case("claude-sonnet-4-5", "2026-01-15", "250_000*6 + 1_000*22.5", "1.5225", ANTHROPIC + ", over 200,000 the whole call", 250_000, 1_000),
    Case("claude-sonnet-4-5", "2026-01-15", "1_000*6 + 150_000*0.6 + 50_000*7.5 + 100*22.5", "0.47325", ANTHROPIC + ", cached input makes a long prompt too", 1_000, 100, 150_000, 50_000),
    Case("claude-sonnet-4-6", "2026-03-01", "300_000*6 + 1_000*22.5", "1.8225", ANTHROPIC + ", long prompts before 2026-03-13", 300_000, 1_000),
    Case("claude-sonnet-4-6", "2026-03-20", "300_000*3 + 1_000*15", "0.915", ANTHROPIC + ", long prompts from 2026-03-13 on", 300_000, 1_000),
    Case("claude-sonnet-4.6", "2026-04-01", "1_000*3 + 10*15", "0.00315", ANTHROPIC + ", the name with a dot", 1_000, 10),
    Case("anthropic/claude-opus-4-1", "2025-09-01", "1_000*15 + 1_000*1.5 + 1_000*18.75 + 1_000*75", "0.11025", ANTHROPIC + ", provider in front", 1_000, 1_000, 1_000, 1_000),
    Case("claude-opus-4-20250514", "2025-06-01", "333*15 + 77*75", "0.01077", ANTHROPIC, 333, 77),
    Case("claude-opus-4-5-20251101", "2026-01-15", "12*5 + 88_123*0.5 + 2_345*6.25 + 678*25", "0.07572775", ANTHROPIC, 12, 678, 88_123, 2_345),
    Case("claude-opus-4-5-20251101[1m]", "2026-01-15", "12*5 + 678*25", "0.01701", ANTHROPIC + ", as Claude Code marks a large window", 12, 678),
    Case("claude-haiku-4-5-20251001", "2026-01-15", "999*1 + 22_069*2 + 1*5", "0.045142", ANTHROPIC + ", for an hour", 999, 1, None, 22_069, 22_069),
    Case("claude-3-5-sonnet-20241022", "2024-12-01", "1_234*3 + 567*15", "0.012207", ANTHROPIC, 1_234, 567),
    Case("claude-3-5-haiku-latest", "2025-02-01", "10_000*0.8 + 1_000*0.08 + 1_000*1 + 500*4", "0.01108", ANTHROPIC, 10_000, 500, 1_000, 1_000),
    Case("claude-3-haiku-20240307", "2024-06-01", "8_000*0.25 + 400*1.25", "0.0025", ANTHROPIC, 8_000, 400),
    Case("claude-sonnet-4@20250514", "2025-08-01", "100*3 + 100*15", "0.0018", ANTHROPIC + ", the date as Vertex writes it", 100, 100),
    # OpenAI: reasoning is inside of the output; writing to a cache is free of charge beside the input itself.
    Case("gpt-4o", "2025-03-01", "1_000*2.5 + 500*10", "0.0075", OPENAI, 1_000, 500),
    Case("gpt-4o-2024-08-06", "2025-03-01", "1_000*2.5 + 3_000*1.25 + 500*10", "0.01125", OPENAI, 1_000, 500, 3_000),
    Case("gpt-4o-2024-05-13", "2025-03-01", "1_000*5 + 500*15", "0.0125", OPENAI + ", a dated model of another price", 1_000, 500),
    Case("openai/gpt-4o-mini", "2025-03-01", "100_000*0.15 + 7*0.6", "0.0150042", OPENAI + ", provider in front", 100_000, 7),
    Case("gpt-4.1-2025-04-14", "2025-06-01", "1_000*2 + 1_000*0.5 + 1_000*8", "0.0105", OPENAI, 1_000, 1_000, 1_000),
    Case("gpt-4.1-mini", "2025-06-01", "12_345*0.4 + 678*1.6", "0.0060228", OPENAI, 12_345, 678),
    Case("gpt-5-2025-08-07", "2025-10-01", "2_000*1.25 + 8_000*0.125 + 3_500*10", "0.0385", OPENAI + ", 3,000 of the output reasoned", 2_000, 3_500, 8_000),
    Case("gpt-5", "2025-10-01", "2_000*1.25 + 500*1.25 + 10*10", "0.003225", OPENAI + ", cache writes are input", 2_000, 10, 0, 500),
    Case("gpt-5.2-20251211", "2026-01-15", "1_000*1.75 + 1_000*14", "0.01575", OPENAI + ", the date without dashes", 1_000, 1_000),
    Case("gpt-5-mini", "2025-10-01", "4_000*0.25 + 6_000*0.025 + 900*2", "0.00295", OPENAI, 4_000, 900, 6_000),
    Case("o3", "2025-05-01", "1_000_000*10 + 1_000_000*40", "50", OPENAI + ", before the cut of 2025-06-10", 10**6, 10**6),
    Case("o3-2025-04-16", "2025-06-10", "1_000_000*2 + 1_000_000*8", "10", OPENAI + ", from the cut on", 10**6, 10**6),
    Case("o4-mini", "2025-06-01", "1_000*1.1 + 2_000*0.275 + 5_000*4.4", "0.02365", OPENAI + ", output is mostly reasoning", 1_000, 5_000, 2_000),
    Case("gpt-5.4", "2026-04-01", "272_000*2.5 + 100*15", "0.6815", OPENAI + ", the last short prompt", 272_000, 100),
    Case("gpt-5.4", "2026-04-01", "2_001*5 + 270_000*0.5 + 100*22.5", "0.147255", OPENAI + ", over 272,000 with what was cached", 2_001, 100, 270_000),
    Case("gpt-5-mini", "2026-10-20", "4_000*0.125 + 900*1", "0.0014", "OpenAI, API pricing, flex", 4_000, 900, terms="openai;flex"),
    Case("gpt-5", "2026-10-20", "4_000*2.5 + 900*20", "0.028", "OpenAI, API pricing, priority", 4_000, 900, terms="openai;priority"),
    # Google: thoughts are billed as output, cached content is a part of the prompt.
    Case("gemini-2.5-pro", "2025-09-01", "200_000*1.25 + 1_000*10", "0.26", GOOGLE, 200_000, 1_000),
    Case("gemini-2.5-pro", "2025-09-01", "150_001*2.5 + 50_000*0.25 + 1_000*15", "0.4025025", GOOGLE + ", over 200,000", 150_001, 1_000, 50_000),
    Case("gemini-2.5-pro-preview-05-06", "2025-06-01", "1_000*1.25 + 1_000*10", "0.01125", GOOGLE + ", a preview", 1_000, 1_000),
    Case("projects/p-1/locations/europe-central2/publishers/google/models/gemini-2.5-flash", "2025-09-01", "10_000*0.3 + 2_000*0.03 + 700*2.5", "0.00481", GOOGLE + ", a path of Vertex", 10_000, 700, 2_000),
    Case("gemini/gemini-2.0-flash", "2025-09-01", "10_000*0.1 + 700*0.4", "0.00128", GOOGLE + ", provider in front", 10_000, 700),
    Case("models/gemini-2.5-flash-lite", "2025-09-01", "10_000*0.1 + 700*0.4", "0.00128", GOOGLE, 10_000, 700),
    Case("gemini-1.5-pro-002", "2025-01-10", "128_001*2.5 + 100*10", "0.3210025", GOOGLE + ", over 128,000", 128_001, 100),
    # Others.
    Case("xai/grok-3", "2025-08-01", "1_000*3 + 1_000*0.75 + 100*15", "0.00525", XAI, 1_000, 100, 1_000),
    Case("grok-code-fast-1", "2025-10-01", "50_000*0.2 + 40_000*0.02 + 3_000*1.5", "0.0153", XAI, 50_000, 3_000, 40_000),
    Case("mistral/mistral-small-latest", "2026-03-15", "10_000*0.1 + 1_000*0.3", "0.0013", MISTRAL + ", before 2026-03-16", 10_000, 1_000),
    Case("mistral/mistral-small-latest", "2026-03-16", "10_000*0.15 + 1_000*0.6", "0.0021", MISTRAL + ", the newer model of that name", 10_000, 1_000),
    Case("codestral-latest", "2025-09-01", "10_000*0.3 + 1_000*0.9", "0.0039", MISTRAL, 10_000, 1_000),
    Case("deepseek/deepseek-chat", "2025-05-01T12:00:00", "10_000*0.27 + 5_000*0.07 + 1_000*1.1", "0.00415", DEEPSEEK + ", by day", 10_000, 1_000, 5_000),
    Case("deepseek-chat", "2025-05-01T20:00:00", "10_000*0.135 + 5_000*0.035 + 1_000*0.55", "0.002075", DEEPSEEK + ", at night", 10_000, 1_000, 5_000),
    Case("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-01-15", "1_000*3.3 + 2_000*0.33 + 3_000*4.125 + 100*16.5", "0.017985", BEDROCK + ", regional", 1_000, 100, 2_000, 3_000),
    Case("bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-01-15", "1_000*3 + 100*15", "0.0045", BEDROCK + ", global", 1_000, 100),
    Case("us.amazon.nova-pro-v1:0", "2025-06-01", "1_000*0.8 + 1_000*0.2 + 1_000*3.2", "0.0042", BEDROCK, 1_000, 1_000, 1_000),
    Case("llama-3.3-70b-versatile", "2025-06-01", "10_000*0.59 + 1_000*0.79", "0.00669", GROQ, 10_000, 1_000, terms="groq"),
    Case("groq/llama-3.1-8b-instant", "2025-06-01", "10_000*0.05 + 1_000*0.08", "0.00058", GROQ, 10_000, 1_000),
    Case("command-r-plus-08-2024", "2025-01-01", "1_000*2.5 + 1_000*10", "0.0125", COHERE, 1_000, 1_000),
    Case("moonshot/kimi-k2.5", "2026-02-15", "1_000*0.6 + 9_000*0.1 + 1_000*3", "0.0045", MOONSHOT, 1_000, 1_000, 9_000),
    Case("openai/openrouter-llama-4-maverick", "2025-09-01", "10_000*0.15 + 1_000*0.6", "0.0021", OPENROUTER + ", behind a proxy", 10_000, 1_000),
    Case("meta-llama/llama-4-maverick", "2025-09-01", "10_000*0.15 + 1_000*0.6", "0.0021", OPENROUTER, 10_000, 1_000, terms="openrouter"),
    Case("mistralai/mistral-nemo:free", "2025-09-01", "10_000*0 + 1_000*0", "0", OPENROUTER + ", named free", 10_000, 1_000, terms="openrouter"),
    Case("sonar-pro", "2025-09-01", "1_000*3 + 1_000*15 + 1*14_000", "0.032", PERPLEXITY + ", 14 dollars for a thousand requests", 1_000, 1_000, terms="perplexity"),
)
