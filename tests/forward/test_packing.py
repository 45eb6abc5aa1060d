import gzip
import json

import pytest
from forward.conftest import spans
from sink import REQUESTS

from otel_latency.forward import content
from otel_latency.forward.batch import Batch
from otel_latency.forward.packing import Packing, batch_id
from otel_latency.records import Signal

BODY = spans("chat", input__value="canary", shop__cart="7")
CLEAN = spans("chat", shop__cart="7")
JSON = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"input.value","value":{"stringValue":"canary"}}]}}]}'
CLEAN_JSON = b'{"resourceSpans":[{"resource":{"attributes":[]}}]}'


def batch(body=BODY, *, is_json=False, position=7, time_ns=1_700_000_000_000_000_000):
    return Batch(position, time_ns, Signal.TRACES, is_json, 1, body)


def pack(given, *, denied=None, is_gzip=False, takes_json=True):
    return Packing(denied, is_gzip=is_gzip, takes_json=takes_json).pack(given)


@pytest.mark.parametrize(
    ("given", "clean"), [(batch(), CLEAN), (batch(JSON, is_json=True), CLEAN_JSON)], ids=["protobuf", "JSON"]
)
def test_content(given, clean):
    """Content goes from both encodings, or stays with everything else, byte for byte."""
    assert clean == pack(given, denied=content.denied()).data
    assert given.body == pack(given).data
    assert clean == gzip.decompress(pack(given, denied=content.denied(), is_gzip=True).data)


def test_json_for_grpc():
    """Where no JSON is taken the request becomes protobuf, after its content went."""
    parcel = pack(batch(JSON, is_json=True), denied=content.denied(), takes_json=False)
    read = REQUESTS[Signal.TRACES].FromString(parcel.data)
    assert (False, 1, []) == (
        parcel.is_json,
        len(read.resource_spans),
        list(read.resource_spans[0].resource.attributes),
    )


def test_more_attributes():
    """Further keys can be named, one by one or by how they begin."""
    body = spans("chat", shop__cart="7", shop__card__number="1", exception__message="x")
    assert CLEAN == pack(batch(body), denied=content.denied(["shop.card.*", "exception.message"])).data


def test_id():
    """The id depends on place, time and bytes, and on nothing else."""
    same = {batch_id(batch()), batch_id(batch()), pack(batch(), is_gzip=True).id}
    others = {batch_id(batch(position=8)), batch_id(batch(time_ns=1)), batch_id(batch(b"x"))}
    assert (1, 4, {40}) == (len(same), len(same | others), {len(each) for each in same | others})


def test_unreadable():
    """What cannot be read is told, not sent."""
    for given in (batch(b"\x0a\x7f"), batch(b"{", is_json=True)):
        with pytest.raises(ValueError):
            pack(given, denied=content.denied())
    with pytest.raises(ValueError):
        pack(batch(json.dumps("x")[:1].encode(), is_json=True), takes_json=False)
