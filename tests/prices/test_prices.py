"""Rows get their cost: at once, late, or not at all."""

import logging
import sys

import pytest

from otel_latency.prices import Prices
from otel_latency.records import LLMProfile, Profile
from otel_latency.testing import FakeClock

NOW = 1_780_000_000.0
TOKENS = {"input_tokens": 1000.0, "output_tokens": 100.0}
GPT = Profile("bot", "llm", llm=LLMProfile("openai", "gpt-4o"))
GPT_COST = 0.0035
NOBODY = Profile("bot", "llm", llm=LLMProfile("openai", "no-such-model"))


def row(profile=GPT, measures=TOKENS, start=NOW):
    return (profile, b"t" * 16, b"s" * 8, b"", int(start * 1e9), int(start * 1e9) + 1, measures and dict(measures))


def python(code):
    return (sys.executable, "-I", "-S", "-c", code)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def prices(clock):
    """Prices whose table is the real one."""
    made = Prices(elapsed=clock.monotonic)
    made.start()
    yield made
    made.close()


def answered(prices):
    """What is owed once the lookup that is due has ended."""
    early = prices.owed()
    assert prices._lookup is not None, "nothing is being looked up"
    prices._lookup._thread.join(30)
    return early + prices.owed()


def cost(row):
    return row[6].get("cost_usd")


def take(prices, rows, now=NOW):
    prices.count(rows, now)
    prices.show(rows)


def priced(prices, *rows):
    take(prices, rows)
    return [cost(row) for row in rows]


def test_late_and_at_once(prices):
    """The first calls of a model wait for its price; later ones have it at once. All are owed, in one sum."""
    first, second = row(), row()
    assert [None, None] == priced(prices, first, second)
    assert [(GPT, 2 * GPT_COST)] == answered(prices)
    assert [GPT_COST, GPT_COST] == [cost(first), cost(second)]
    assert [GPT_COST] * 3 == priced(prices, row(), row(), row())
    assert [(GPT, 3 * GPT_COST)] == prices.owed()
    assert [] == prices.owed()


def test_one_child_for_all(prices):
    """Models that were first seen between two ticks are looked up together."""
    names = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1")
    profiles = [Profile("bot", "llm", llm=LLMProfile("anthropic", name)) for name in names]
    priced(prices, *map(row, profiles))
    assert profiles == [profile for profile, _ in answered(prices)]


LEFT_ALONE = {
    "a stage that is no call": row(Profile("bot", "stt"), {"input_tokens": 5.0}),
    "a call without measures": row(measures=None),
    "a call without tokens": row(measures={"ttft": 0.2}),
    "what the model's host says": row(Profile("bot", "llm", llm=LLMProfile("openai", "gpt-4o", origin="server"))),
    "a call that names no model": row(Profile("bot", "llm", llm=LLMProfile("openai"))),
}


@pytest.mark.parametrize("row", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_left_alone(prices, row):
    """Rows that nobody is billed for, or that tell no tokens or model, are left as they are, and nothing is asked."""
    before = row[6] and dict(row[6])
    take(prices, [row])
    assert [] == prices.owed()
    assert (before, None) == (row[6], prices._lookup)


def test_told(prices):
    """A cost that the sender told is believed."""
    priced(prices, row())
    answered(prices)
    assert [0.5] == priced(prices, row(measures={**TOKENS, "cost_usd": 0.5}))


def test_no_start(prices):
    """A call that tells no start is priced as of now: a free preview's time is not everybody's."""
    deepseek = Profile("bot", "llm", llm=LLMProfile("deepseek", "deepseek-chat"))
    day = NOW - NOW % 86_400
    first, second = row(deepseek, start=0), row(deepseek, start=0)
    take(prices, [first], day + 12 * 3600)
    answered(prices)
    take(prices, [second], day + 20 * 3600)
    assert cost(first) > cost(second) > 0


async def test_unknown(prices, clock, caplog):
    """A model without a price is named once in the log, its calls have no cost, and it is looked up again hourly."""
    caplog.set_level(logging.INFO)
    assert [None] == priced(prices, row(NOBODY))
    assert [] == answered(prices)
    assert [None] == priced(prices, row(NOBODY))
    assert {} == prices._waiting
    await clock.advance(3601)
    assert [None] == priced(prices, row(NOBODY))
    assert [] == answered(prices)
    text = "no price is known for openai/no-such-model: calls have a cost only if their sender tells it"
    assert [text] == [record.message for record in caplog.records]
    assert 0 == prices.dropped


def test_many_unknown(prices, caplog):
    """Of many unknown models a line names the first few."""
    caplog.set_level(logging.INFO)
    priced(prices, *(row(Profile("bot", llm=LLMProfile("x", f"m{number}"))) for number in range(8)))
    answered(prices)
    assert ["no price is known for x/m0, x/m1, x/m2, x/m3, x/m4 and 3 more"] == [
        record.message.split(":")[0] for record in caplog.records
    ]


def test_nonsense(prices):
    """Counts that contradict each other have no cost."""
    priced(prices, row())
    answered(prices)
    assert [None] == priced(prices, row(measures={"input_tokens": 5.0, "cache_read_tokens": 9.0}))


async def test_missing(clock, caplog):
    """Without genai-prices that is said once, and nobody waits any more."""
    prices = Prices(elapsed=clock.monotonic, child=python('print(\'{"missing": "genai_prices"}\')'))
    prices.start()
    priced(prices, row())
    assert [] == answered(prices)
    await clock.advance(7200)
    assert [None] == priced(prices, row())
    assert ([], None, {}) == (prices.owed(), prices._lookup, prices._waiting)
    text = "genai_prices is not installed: a call has a cost only if its sender tells it"
    assert [text] == [record.message for record in caplog.records]


async def test_failure(clock, caplog):
    """A lookup that fails is said once and repeated after a minute; the calls that had waited are counted."""
    prices = Prices(elapsed=clock.monotonic, child=python("raise SystemExit(1)"))
    prices.start()
    for _ in range(2):
        priced(prices, row(), row())
        assert [] == answered(prices)
        await clock.advance(59)
        priced(prices, row())
        assert ([], None) == (prices.owed(), prices._lookup)
        await clock.advance(2)
    text = "looking up prices failed, next try in 60 s: it ended with 1"
    assert [text] == [record.message for record in caplog.records]
    assert 5 == prices.dropped


async def test_pause(prices, clock):
    """After a lookup there is none for twenty times as long as it took."""
    priced(prices, row())
    prices.owed()
    await clock.advance(0.5)
    answered_late = prices._lookup
    answered_late._thread.join(30)
    assert [(GPT, GPT_COST)] == prices.owed()
    priced(prices, row(NOBODY))
    await clock.advance(9.9)
    assert ([], None) == (prices.owed(), prices._lookup)
    await clock.advance(0.2)
    assert [] == answered(prices)


def test_waiting_is_bounded():
    """More calls than may wait have no cost, and are counted."""
    prices = Prices(max_waiting=3)
    prices.start()
    rows = [row() for _ in range(5)]
    priced(prices, *rows)
    assert [(GPT, pytest.approx(3 * GPT_COST))] == answered(prices)
    assert [GPT_COST] * 3 + [None] * 2 == [cost(one) for one in rows]
    assert (2, 0) == (prices.dropped, prices._waiting_rows)


async def test_models_are_bounded(clock, caplog):
    """A flood of made-up models is remembered up to a bound; the table is begun anew, once an hour at most."""
    prices = Prices(elapsed=clock.monotonic, max_pairs=10)
    prices.start()

    def flood(name):
        priced(prices, *(row(Profile("bot", llm=LLMProfile("x", f"{name}{number}"))) for number in range(12)))
        assert [] == answered(prices)
        return len(prices._retries)

    assert (10, 2) == (flood("a"), prices.dropped)
    await clock.advance(60)
    assert [None] == priced(prices, row())
    assert [(GPT, GPT_COST)] == answered(prices)
    await clock.advance(60)
    assert (9, 2 + 3) == (flood("b"), prices.dropped)
    assert 1 == sum("more than 10 models" in record.message for record in caplog.records)


def test_not_started():
    """Before it is started, and after it was closed, nothing is asked and nobody waits."""
    prices = Prices()
    assert [None] == priced(prices, row())
    assert [] == prices.owed()
    prices.start()
    priced(prices, row())
    prices.owed()
    prices.close()
    prices.close()
    assert [None] == priced(prices, row())
    assert ([], None, {}) == (prices.owed(), prices._lookup, prices._waiting)


def test_rows_that_wait_are_held_back(prices):
    """Whoever writes rows down gets them once, with their cost: those of other kinds at once."""
    stage, first, second = row(Profile("bot", "stt"), {"input_tokens": 5.0}), row(), row()
    prices.count([stage, first, second], NOW)
    assert [stage] == list(prices.show([stage, first]))
    assert [] == prices.released()
    answered(prices)
    assert [first] == prices.released()
    assert ([], GPT_COST, set()) == (prices.released(), cost(first), prices._held)


def test_closing_lets_go(prices):
    """What waits at the end comes without its cost."""
    waiting = row()
    prices.count([waiting], NOW)
    assert [] == list(prices.show([waiting]))
    prices.close()
    assert ([waiting], None) == (prices.released(), cost(waiting))
