from otel_latency.insight.requests import Request, Step
from otel_latency.insight.samples import samples_of


def test_samples():
    """Each stage once per request, in the order of the requests, then milestones that are no stage, then the whole."""
    requests = [
        Request("a", 1.0, 5.0, (), (Step("llm", 0, 1, 2.0), Step("llm", 2, 3, 1.0)), milestones={"first_audio": 0.7}),
        Request("b", 2.0, 4.0, (), (Step("stt", 0, 1, 0.1), Step("llm", 2, 3, 1.5)), milestones={"llm": 9.0}),
    ]
    expected = {"llm": [3.0, 1.5], "stt": [0.1], "first_audio": [0.7], "total": [5.0, 4.0]}
    assert list(expected.items()) == list(samples_of(requests).items())
    assert {} == samples_of([])
