from otel_latency.insight.conversations import conversations, prompt_line
from otel_latency.insight.requests import Request
from otel_latency.significance.course import course


def request(start, llm_seconds, tokens=None, session=""):
    return Request(
        str(start), float(start), 1.0, (), (), session=session, prompt_tokens=tokens, llm_seconds=llm_seconds
    )


def test_course():
    """Each session is told with the course of its own requests, in the order of time."""
    requests = [request(n, 0.2 + 0.0015 * tokens, tokens, "s") for n, tokens in enumerate([900, 100, 400, 250])]
    [found, _] = conversations([*reversed(requests), request(2.5, 9.0, 5, "t")])
    assert course([(one.prompt_tokens, one.llm_seconds) for one in requests]) == found.course
    assert prompt_line(requests) == found.course.prompts


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


def test_nobody():
    """No requests are no sessions."""
    assert [] == conversations([])
