import pytest

from otel_latency.insight.conversations import conversations, prompt_line
from otel_latency.insight.requests import Request


def request(start, llm_seconds, tokens=None, session=""):
    return Request(
        str(start), float(start), 1.0, (), (), session=session, prompt_tokens=tokens, llm_seconds=llm_seconds
    )


def test_kv_cache():
    """The first request's LLM time over the median of the later ones."""
    [found] = conversations([request(n, seconds, session="s") for n, seconds in enumerate([4.0, 1.0, 0.9, 1.1, 30.0])])
    assert (4.0, pytest.approx(1.05), pytest.approx(4 / 1.05)) == (found.first_llm, found.later_llm, found.speedup)


def test_prompts():
    """LLM time grows with the prompt by the slope of the line through them."""
    requests = [request(n, 0.2 + 0.0015 * tokens, tokens, "s") for n, tokens in enumerate([100, 900, 400, 250])]
    [found] = conversations(requests)
    assert pytest.approx((0.0015, 0.2, 1.0)) == found.prompts
    assert found.prompts == prompt_line([*requests, request(9, 5.0), request(10, None, 100)])


TRENDS = {
    "slower and slower": ([9.0, *(1.0 + 0.1 * n for n in range(10))], "slower", 0.1),
    "faster": ([1.0, *(3.0 - 0.1 * n for n in range(10))], "faster", -0.1),
    "to and fro": ([9.0, *([1.0, 1.2] * 6)], "steady", None),
    "all alike": ([9.0] * 12, "steady", None),
    "too short to tell": ([9.0, *(1.0 + n for n in range(7))], "unknown", 1.0),
}


@pytest.mark.parametrize(("taken", "trend", "slope"), TRENDS.values(), ids=TRENDS)
def test_trend(taken, trend, slope):
    """The trend is that of the later requests, if there are enough of them."""
    [found] = conversations([request(n, seconds, session="s") for n, seconds in enumerate(taken)])
    assert trend == found.trend
    if slope is not None:
        assert pytest.approx(slope) == found.per_request


def test_order():
    """Sessions come in the order of their first requests, and requests in the order of time."""
    found = conversations([request(30, 1, session="b"), request(5, 1, session="b"), request(10, 1, session="a")])
    assert [("b", ["5", "30"]), ("a", ["10"])] == [
        (one.session, [request.request_id for request in one.requests]) for one in found
    ]


def test_without_session():
    """Requests that name no session belong together until it is silent for five minutes."""
    found = conversations([request(at, 1.0) for at in (0, 100, 401, 702.5)])
    assert ["from 1970-01-01 00:00:00", "from 1970-01-01 00:11:42"] == [one.session for one in found]
    assert [3, 1] == [len(one.requests) for one in found]


def test_no_model():
    """Sessions that asked no model are counted, and nothing is made up."""
    [found] = conversations([request(1, None, session="s"), request(2, None, session="s")])
    expected = (None, None, None, None, "unknown", None)
    assert expected == (
        found.first_llm,
        found.later_llm,
        found.speedup,
        found.prompts,
        found.trend,
        found.per_request,
    )
    assert [] == conversations([])
