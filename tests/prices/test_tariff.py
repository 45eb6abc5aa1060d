"""Costs, side by side with genai-prices' own in this process."""

from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, TieredPrices

from otel_latency.prices import table
from otel_latency.prices.tariff import Tariff

MODELS = (
    *(("openai", name) for name in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5", "gpt-5-mini", "gpt-5.4", "o1", "o3")),
    *(("openai", name) for name in ("o4-mini", "gpt-4o-2024-08-06", "text-embedding-3-small", "gpt-4o-mini-tts")),
    *(("openai", name) for name in ("gpt-realtime", "gpt-realtime-mini", "gpt-4o-realtime-preview", "gpt-audio")),
    *(("openai", name) for name in ("gpt-4o-transcribe", "gpt-audio-mini")),
    *(
        ("anthropic", name)
        for name in ("claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-sonnet-4-0")
    ),
    *(("anthropic", name) for name in ("claude-3-5-haiku-latest", "claude-sonnet-5", "claude-haiku-5-5")),
    *(("gcp.gemini", name) for name in ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash", "gemini-1.5-pro")),
    *(("gcp.vertex_ai", name) for name in ("gemini-2.5-flash-lite", "claude-sonnet-4-5", "gemini-embedding-001")),
    *(("aws.bedrock", name) for name in ("anthropic.claude-3-5-sonnet-20241022-v2:0", "amazon.nova-sonic-v1:0")),
    *(("deepseek", name) for name in ("deepseek-chat", "deepseek-reasoner")),
    *(("groq", "llama-3.3-70b-versatile"), ("mistral_ai", "mistral-large-latest"), ("cohere", "command-r-plus")),
    *(("perplexity", name) for name in ("sonar", "sonar-pro", "sonar-deep-research")),
    *(("moonshot_ai", "kimi-k2-0905-preview"), ("openrouter", "deepseek/deepseek-r1:free")),
    *(("", "gpt-4o"), ("litellm", "anthropic/claude-sonnet-4-5"), ("openai", "GPT-4o-Mini")),
)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OF_GENAI = {ours: theirs for theirs, ours in table.FIELDS.items()}

MIXES = {
    "chat": {"input_tokens": 812, "output_tokens": 95},
    "embeddings": {"input_tokens": 3456},
    "output alone": {"output_tokens": 77},
    "cached": {"input_tokens": 9_001, "output_tokens": 313, "cache_read_tokens": 8_192},
    "written to the cache": {"input_tokens": 5_000, "output_tokens": 10, "cache_write_tokens": 4_999},
    "cached and written": {"input_tokens": 70, "output_tokens": 1, "cache_read_tokens": 30, "cache_write_tokens": 40},
    "reasoning": {"input_tokens": 100, "output_tokens": 20_000, "reasoning_tokens": 19_000},
    "audio": {"input_tokens": 600, "output_tokens": 200, "audio_input_tokens": 500, "audio_output_tokens": 150},
    "audio out": {"input_tokens": 600, "output_tokens": 200, "audio_output_tokens": 200},
    "zeros": {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "audio_input_tokens": 0},
    "at 128 k": {"input_tokens": 128_000, "output_tokens": 5, "cache_read_tokens": 1_000},
    "at 200 k": {"input_tokens": 200_000, "output_tokens": 5, "cache_read_tokens": 1_000},
    "over 200 k": {"input_tokens": 200_001, "output_tokens": 5, "cache_read_tokens": 1_000},
    "over 272 k": {"input_tokens": 272_001, "output_tokens": 5, "cache_write_tokens": 1_000},
    "a million": {"input_tokens": 1_048_576, "output_tokens": 65_536, "cache_read_tokens": 1_000_000},
    "cached audio": {
        "input_tokens": 900,
        "cache_read_tokens": 500,
        "audio_input_tokens": 300,
        "audio_cache_read_tokens": 200,
        "output_tokens": 120,
        "audio_output_tokens": 100,
    },
    "no cached audio": {
        "input_tokens": 900,
        "cache_read_tokens": 500,
        "audio_input_tokens": 300,
        "audio_cache_read_tokens": 0,
    },
    "more cached audio than audio": {
        "input_tokens": 900,
        "cache_read_tokens": 500,
        "audio_input_tokens": 300,
        "audio_cache_read_tokens": 301,
    },
    "cached audio untold": {"input_tokens": 900, "cache_read_tokens": 500, "audio_input_tokens": 300},
    "more cached than read": {"input_tokens": 10, "output_tokens": 10, "cache_read_tokens": 11},
    "more of both than read": {"input_tokens": 10, "cache_read_tokens": 6, "cache_write_tokens": 6},
    "input untold": {"output_tokens": 10, "cache_read_tokens": 11},
}


def genai_cost(pair, counts, when):
    """What genai-prices says, None where it refuses."""
    provider, model = pair
    usage = Usage(**{OF_GENAI[field]: count for field, count in counts.items()})
    try:
        price = calc_price(usage, model, provider_id=provider or None, genai_request_timestamp=when)
    except (LookupError, ValueError):
        return None
    return float(price.total_price)


def our_cost(tariff, counts, when):
    return tariff and tariff.cost({field: float(count) for field, count in counts.items()}, when.timestamp())


def tariff(pair):
    told = table.tariff(*pair)
    return told and Tariff(told)


def conditions(pair):
    """The moments at which a model's price may change, and those just before."""
    provider, model = pair
    prices = calc_price(Usage(), model, provider_id=provider or None).model.prices
    constraints = [] if isinstance(prices, ModelPrice) else [each.constraint for each in prices if each.constraint]
    for one in constraints:
        if hasattr(one, "start_date"):
            yield datetime(one.start_date.year, one.start_date.month, one.start_date.day, tzinfo=UTC)
        else:
            yield from (
                datetime.combine(NOW.date(), turn.replace(tzinfo=UTC)) for turn in (one.start_time, one.end_time)
            )


def moments(pair):
    yield from (NOW, NOW.replace(hour=0), NOW.replace(hour=23, minute=59), NOW - timedelta(days=900))
    for turn in conditions(pair):
        yield from (turn, turn - timedelta(seconds=1), turn + timedelta(seconds=1))


@pytest.mark.parametrize("pair", MODELS, ids="/".join)
def test_costs(pair):
    """A model's cost is genai-prices' own to the last bit, for every mix of tokens at every turn of its prices."""
    ours = tariff(pair)
    found = {(name, when): our_cost(ours, mix, when) for name, mix in MIXES.items() for when in moments(pair)}
    assert {(name, when): genai_cost(pair, MIXES[name], when) for name, when in found} == found


def test_every_model():
    """So it is for all models of the table that are paid for by tokens; the others have no cost."""
    pairs = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]
    names = ("cached", "cached and written", "reasoning", "audio", "cached audio", "a million")
    ours = {
        (pair, name): our_cost(mine, MIXES[name], NOW) for pair in pairs if (mine := tariff(pair)) for name in names
    }
    # A few prices have 17 digits, such as 0.17999999999999998: there the last bit may differ.
    assert {(pair, name): genai_cost(pair, MIXES[name], NOW) for pair, name in ours} == pytest.approx(ours, rel=1e-15)
    assert len(ours) > 2_000 * len(names)


def test_choice():
    """The models above have what makes prices hard: tiers, dates, times of day, cache writes, audio, fees, gifts."""
    found = set()
    for provider, model in MODELS:
        prices = calc_price(Usage(), model, provider_id=provider or None).model.prices
        each = [prices] if isinstance(prices, ModelPrice) else [one.prices for one in prices]
        found |= {type(one.constraint).__name__ for one in prices} if isinstance(prices, list) else set()
        found |= set(chain(*(vars(one) for one in each))) | ({"free"} if not any(map(vars, each)) else set())
        found |= {"tiers" for one in each for value in vars(one).values() if isinstance(value, TieredPrices)}
    hard = {"StartDateConstraint", "TimeOfDateConstraint", "tiers", "free", "requests_kcount", "cache_write_1h_mtok"}
    audio = {"input_audio_mtok", "output_audio_mtok", "cache_audio_read_mtok", "output_reasoning_mtok"}
    assert hard | audio == found & (hard | audio)


@pytest.mark.parametrize(("name", "theirs"), table.PROVIDERS.items())
def test_registry(name, theirs):
    """Providers go by the names that genai-prices has for them, where those of OpenTelemetry's registry mislead."""
    models = next(provider.models for provider in get_snapshot().providers if provider.id == theirs)
    model = next(one.id for one in models if one.is_match(one.id) and not isinstance(one.prices, list))
    assert genai_cost((theirs, model), MIXES["chat"], NOW) == our_cost(tariff((name, model)), MIXES["chat"], NOW)


UNKNOWN = {
    "a model": ("openai", "gpt-of-tomorrow-and-after"),
    "a provider": ("vllm", "gpt-4o"),
    "neither told": ("", "our-own-model"),
    "paid for by the hour": ("openai", "whisper-1"),
    "paid for by the character": ("openai", "tts-1"),
}


@pytest.mark.parametrize("pair", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown(pair):
    """Nothing is guessed: who is not in the table, or not paid for by tokens, has no price."""
    assert None is table.tariff(*pair)


def test_turns():
    """A price of the day holds between its hours in UTC, over midnight, too; one with a date from its midnight on."""
    rates = [{"above": -1, "fixed": 0, "weights": {"input_tokens": weight}} for weight in (1, 2, 3)]
    rest = {"leaves": [], "unsaid": []}
    day = 20_000 * 86_400.0
    ours = Tariff(
        {
            "divisor": 1,
            "periods": [
                {"rates": rates[:1], **rest},
                {"since": day, "rates": rates[1:2], **rest},
                {"daily": [72_000, 3_600], "rates": rates[2:], **rest},
            ],
        }
    )
    hours = (-30, -20, -12, -4.001, -4, -0.001, 0, 0.999, 1, 12, 20, 25, 30, -30)
    assert [1, 1, 1, 1, 3, 3, 3, 3, 2, 2, 3, 2, 2, 1] == [
        ours.cost({"input_tokens": 1.0}, day + hour * 3600) for hour in hours
    ]
