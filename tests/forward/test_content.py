import pytest

from otel_latency.forward import content
from otel_latency.ingest.dialects import DIALECTS

KEYS = {
    "gen_ai.input.messages": True,
    "gen_ai.tool.call.arguments": True,
    "gen_ai.prompt.0.content": True,
    "gen_ai.completion": True,
    "llm.input_messages.3.message.content": True,
    "traceloop.entity.output": True,
    "http.request.header.authorization": True,
    "http.response.header.set-cookie": True,
    "db.query.text": True,
    "gen_ai.request.model": False,
    "gen_ai.usage.input_tokens": False,
    "gen_ai.input": False,
    "input.mime_type": False,
    "llm.token_count.prompt": False,
    "http.request.header.x-request-id": False,
    "exception.message": False,
    "": False,
}


@pytest.mark.parametrize(("key", "goes"), KEYS.items())
def test_list(key, goes):
    """What users and models said goes, and so do keys; models, counts and times stay."""
    assert goes == (key.encode() in content.denied())


def test_more():
    """Keys can be added, by name or by beginning."""
    more = content.denied(["exception.message", "shop.card.*"])
    found = [key in more for key in (b"exception.message", b"shop.card.number", b"shop.card", b"shop.cart")]
    assert [True, True, False, False] == found


def test_agents_behind_us():
    """A second agent gets all that it measures by: nothing that any dialect reads is taken out."""
    read = {
        key
        for dialect in DIALECTS
        for keys in (
            dialect.measures,
            dialect.sources,
            dialect.scoped,
            dialect.operations,
            dialect.statuses,
            dialect.empty,
            dialect.moments,
            dialect.providers,
            dialect.models,
            dialect.tasks,
        )
        for key in keys
    }
    assert (True, []) == (len(read) > 100, [key for key in read if key.encode() in content.denied()])
