import asyncio
import gzip
import json

import aiohttp
import pytest
from google.rpc.status_pb2 import Status

from otel_latency.errors import BodyTooLarge, DecodeError, Overloaded
from otel_latency.ingest.admission import Admission, Connections
from otel_latency.ingest.http import HTTPReceiver
from otel_latency.ingest.intake import Outcome, Signal
from otel_latency.testing import FakeClock

BODY = b"\x0a\x00"
HEAD = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
MIB = 1 << 20


def post(port, body=BODY, headers=PROTOBUF, path="/v1/traces", method="POST"):
    return aiohttp.request(method, f"http://127.0.0.1:{port}{path}", data=body, headers=headers)


async def wait_for(condition):
    """Let the loop run until *condition* holds; fail when it never does."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize(("content_type", "is_json"), [("application/x-protobuf", False), ("application/json", True)])
async def test_accepts(http, recorder, signal, content_type, is_json):
    """Each signal is taken at its path, in both encodings, and answered in the request's encoding."""
    async with post(http.port, BODY, {"Content-Type": content_type}, f"/v1/{signal.value}") as reply:
        assert (reply.status, reply.headers["Content-Type"]) == (200, content_type)
        assert await reply.read() == (b"{}" if is_json else b"")
    assert recorder.calls == [(signal, BODY, is_json, "http")]


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000, 4 * MIB])
async def test_sizes(http, recorder, size):
    """Bodies of any size up to the limit arrive byte for byte, and free their share of the budget."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with post(http.port, body) as reply:
        assert reply.status == 200
    assert recorder.calls[0].body == body
    assert http._admission.in_flight == 0


async def test_partial_success(http, recorder):
    """What the intake rejects is told to the sender."""
    recorder.outcome = Outcome(2, "no id")
    async with post(http.port, BODY, {"Content-Type": "application/json"}) as reply:
        assert await reply.json() == {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no id"}}


ERRORS = [
    (DecodeError("bad"), 400, None),
    (BodyTooLarge("too many spans"), 413, None),
    (Overloaded("full", 1.0), 503, "1"),
    (Overloaded("full", 1.6), 503, "2"),
    (Overloaded("full", 99.0), 503, "2"),
    (KeyError("sk-secret"), 503, "1"),
]


@pytest.mark.parametrize(("error", "expected", "retry_after"), ERRORS, ids=repr)
@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json"])
async def test_errors(http, recorder, error, expected, retry_after, content_type):
    """Errors of the intake become statuses with a Status body; a bug becomes 503, and never quotes the request."""
    recorder.outcome = error
    async with post(http.port, BODY, {"Content-Type": content_type}) as reply:
        body = await reply.read()
        assert (reply.status, reply.headers["Content-Type"]) == (expected, content_type)
        assert reply.headers.get("Retry-After") == retry_after
    message = json.loads(body)["message"] if "json" in content_type else Status.FromString(body).message
    assert message
    assert "sk-secret" not in message


async def test_one_connection(http, recorder, raw):
    """A connection is kept for the next request, after a refusal too, and pipelined requests are answered in turn."""
    async with raw(http.port) as client:
        await client.send(HEAD, f"Content-Length: {len(BODY)}\r\n\r\n", BODY)
        assert (await client.reply()).status == 200
        recorder.outcome = DecodeError("bad")
        await client.send(HEAD, f"Content-Length: {len(BODY)}\r\n\r\n", BODY)
        assert (await client.reply()).status == 400
        recorder.outcome = Outcome()
        await client.send((HEAD + f"Content-Length: {len(BODY)}\r\n\r\n").encode() + BODY, HEAD, "\r\n")
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]
    assert len(recorder.calls) == 4


async def test_chunked(http, recorder, raw):
    """A chunked body has no length beforehand; extensions and trailers are ignored."""
    async with raw(http.port) as client:
        await client.send(
            HEAD, "Transfer-Encoding: chunked\r\n\r\n", "3;x=y\r\nabc\r\n", "2\r\nde\r\n0\r\nX: y\r\n\r\n"
        )
        assert (await client.reply()).status == 200
    assert recorder.calls[0].body == b"abcde"


async def test_chunked_too_large(recorder, raw):
    """A chunked body is refused when it passes the limit, without waiting for its end."""
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0, max_body=1000)
    await receiver.start()
    async with raw(receiver.port) as client:
        await client.send(HEAD, "Transfer-Encoding: chunked\r\n\r\n", "3e8\r\n", bytes(1000), "\r\n1\r\nx\r\n")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
    await receiver.stop()
    assert recorder.calls == []


async def test_too_large(http, recorder, raw):
    """A body announced as too large is refused unread, and the connection with it."""
    async with raw(http.port) as client:
        await client.send(HEAD, f"Content-Length: {4 * MIB + 1}\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert recorder.calls == []


async def test_refusal_of_a_huge_body_is_seen(http):
    """A sender that is in the middle of 100 MiB still gets to read the 413."""
    async with post(http.port, bytes(100 * MIB)) as reply:
        assert reply.status == 413


async def test_unpacked_too_large(http):
    """The limit holds after unpacking too."""
    body = gzip.compress(bytes(4 * MIB + 1))
    async with post(http.port, body, {**PROTOBUF, "Content-Encoding": "gzip"}) as reply:
        assert reply.status == 413


@pytest.mark.parametrize(("version", "first"), [("HTTP/1.1", "100"), ("HTTP/1.0", "200")])
async def test_expect(http, recorder, raw, version, first):
    """`Expect: 100-continue` is answered before the body is sent; HTTP/1.0 does not know it."""
    async with raw(http.port) as client:
        head = HEAD.replace("HTTP/1.1", version) + f"Expect: 100-Continue\r\nContent-Length: {len(BODY)}\r\n\r\n"
        await client.send(head, b"" if first == "100" else BODY)
        assert (await client.reader.readline()).split()[1].decode() == first
        if first == "100":
            await client.reader.readline()
            await client.send(BODY)
            assert (await client.reply()).status == 200
    assert recorder.calls[0].body == BODY


async def test_expect_refused(http, recorder, raw):
    """Other expectations are refused, and an oversize body is not invited."""
    for expectation, length, expected in (("tea", 2, 417), ("100-continue", 5 * MIB, 413)):
        async with raw(http.port) as client:
            await client.send(HEAD, f"Expect: {expectation}\r\nContent-Length: {length}\r\n\r\n")
            assert (await client.reply()).status == expected
    assert recorder.calls == []


MALFORMED = {
    "two hosts": HEAD + "Host: y\r\nContent-Length: 0\r\n\r\n",
    "two lengths": HEAD + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n..",
    "two transfer encodings": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length and transfer encoding": HEAD + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two content types": HEAD + "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n",
    "no host": "POST /v1/traces HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "negative length": HEAD + "Content-Length: -1\r\n\r\n",
    "length in words": HEAD + "Content-Length: two\r\n\r\n",
    "bad chunk size": HEAD + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk longer than said": HEAD + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "not HTTP": "\x16\x03\x01hello\r\n\r\n",
    "space before colon": HEAD + "X : y\r\nContent-Length: 0\r\n\r\n",
    "a header of 9 kB": HEAD + f"X: {'x' * 9_000}\r\nContent-Length: 0\r\n\r\n",
    "100 headers": HEAD + "X: y\r\n" * 100 + "Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("request_text", MALFORMED.values(), ids=MALFORMED)
async def test_malformed(http, recorder, raw, caplog, request_text):
    """What is no proper HTTP gets 400 with a Status, the connection is closed, and nothing is logged."""
    async with raw(http.port) as client:
        await client.send(request_text.encode("latin-1"))
        reply = await client.reply()
        assert reply.status == 400
        status = json.loads(reply.body) if "json" in reply.headers["content-type"] else Status.FromString(reply.body)
        assert (status["code"] if isinstance(status, dict) else status.code) == 3
        assert await client.closed()
    assert recorder.calls == []
    assert caplog.records == []


async def test_lying_length(http, recorder, raw):
    """A body that ends before its length is not taken, and its share is given back."""
    async with raw(http.port) as client:
        await client.send(HEAD, "Content-Length: 1000\r\n\r\n", bytes(999))
        await wait_for(lambda: http._admission.in_flight == 999)
    await wait_for(lambda: http._admission.in_flight == 0)
    assert recorder.calls == []


async def test_two_encodings(http, recorder, raw):
    """A second Content-Encoding header is refused like a list in one header."""
    body = gzip.compress(BODY)
    async with raw(http.port) as client:
        await client.send(HEAD, "Content-Encoding: gzip\r\n" * 2, f"Content-Length: {len(body)}\r\n\r\n", body)
        assert (await client.reply()).status == 415
    assert recorder.calls == []


async def test_budget(recorder, raw):
    """Bytes beyond the budget are refused with 503 while they are on their way, and fit again later."""
    admission = Admission(1000, jitter=lambda: 0.0)
    receiver = HTTPReceiver(recorder, admission=admission, port=0)
    await receiver.start()
    async with raw(receiver.port) as first, raw(receiver.port) as second, raw(receiver.port) as third:
        await first.send(HEAD, "Content-Length: 900\r\n\r\n", bytes(800))
        await wait_for(lambda: admission.in_flight == 800)
        await second.send(HEAD, "Content-Length: 900\r\n\r\n")  # announced
        await third.send(HEAD, "Transfer-Encoding: chunked\r\n\r\n12c\r\n", bytes(300), "\r\n0\r\n\r\n")  # or arrived
        for client in (second, third):
            reply = await client.reply()
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        await first.send(bytes(100))
        assert (await first.reply()).status == 200
    async with post(receiver.port, bytes(1000)) as reply:
        assert reply.status == 200
    await receiver.stop()


@pytest.fixture
async def timed(recorder):
    """A receiver whose time stands still; tests say when it sweeps."""
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0, clock=FakeClock())
    await receiver.start()
    yield receiver
    await receiver.stop()


async def test_slow_body(timed, recorder, raw):
    """A body has 5 s and a second more for each KiB that came: not a moment less, and then it gets 408."""
    async with raw(timed.port) as client:
        await client.send(HEAD, "Content-Length: 9999\r\n\r\n", bytes(2048))
        await wait_for(lambda: timed._admission.in_flight == 2048)
        timed.cut_slow(7.0)
        assert timed._in_progress == 1
        timed.cut_slow(7.1)
        assert (await client.reply()).status == 408
        assert timed._admission.in_flight == 0
    assert recorder.calls == []


async def test_long_body(timed, raw):
    """No body has more than 30 s, however fast it comes."""
    async with raw(timed.port) as client:
        await client.send(HEAD, f"Content-Length: {2 * MIB}\r\n\r\n", bytes(MIB))
        await wait_for(lambda: timed._admission.in_flight == MIB)
        timed.cut_slow(30.0)
        assert timed._in_progress == 1
        timed.cut_slow(30.1)
        assert (await client.reply()).status == 408


async def test_slow_header(timed, raw):
    """A header has 10 s from its first byte; a connection that is merely idle has more."""
    async with raw(timed.port) as slow, raw(timed.port) as idle:
        await slow.send("POST /v1/traces HTTP/1.1\r\nHost: x\r\nX")
        await wait_for(lambda: any(c._header_begun is not None for c in timed._server.connections))
        await wait_for(lambda: len(timed.connections) == 2)
        timed.cut_slow(10.0)
        await slow.send(":")
        timed.cut_slow(10.1)
        assert await slow.closed()
        await idle.send(HEAD, "Content-Length: 0\r\n\r\n")
        assert (await idle.reply()).status == 200


async def test_sweep(recorder, raw):
    """The sweep happens by itself, every second."""
    clock = FakeClock()
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0, clock=clock)
    await receiver.start()
    async with raw(receiver.port) as client:
        await client.send(HEAD, "Content-Length: 10\r\n\r\nx")
        await wait_for(lambda: receiver._admission.in_flight == 1)
        await clock.advance(7)
        assert (await client.reply()).status == 408
    await receiver.stop()


async def test_connection_limit(recorder, raw):
    """A connection too many is told so with a Status; when another has been idle it takes its place."""
    clock = FakeClock()
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0, connections=Connections(limit=1), clock=clock)
    await receiver.start()
    async with raw(receiver.port) as first, raw(receiver.port) as second:
        reply = await second.reply()
        assert (reply.status, json.loads(reply.body)["code"]) == (503, 14)
        assert await second.closed()
        await clock.advance(2)
        async with raw(receiver.port) as third:
            await third.send(HEAD, "Content-Length: 0\r\n\r\n")
            assert (await third.reply()).status == 200
            assert await first.closed()
    await receiver.stop()


async def test_stop_finishes_what_has_begun(recorder, raw):
    """While stopping, a request that has begun is finished, new ones get 503 and new connections are refused."""
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0)
    await receiver.start()
    async with raw(receiver.port) as begun, raw(receiver.port) as late:
        await begun.send(HEAD, "Content-Length: 10\r\n\r\n12345")
        await wait_for(lambda: receiver._admission.in_flight == 5 and len(receiver.connections) == 2)
        stopping = asyncio.create_task(receiver.stop())
        await asyncio.sleep(0)
        await late.send(HEAD, "Content-Length: 2\r\n\r\n..")
        reply = await late.reply()
        assert (reply.status, reply.headers["retry-after"] in "12", reply.headers["connection"]) == (503, True, "close")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", receiver.port)
        await begun.send("67890")
        assert (await begun.reply()).status == 200
        await stopping
    assert [call.body for call in recorder.calls] == [b"1234567890"]


async def test_stop_does_not_wait_for_ever(recorder, raw, caplog):
    """A request that does not end is cut off when the time to stop is up."""
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0, stop_timeout=0)
    await receiver.start()
    async with raw(receiver.port) as client:
        await client.send(HEAD, "Content-Length: 10\r\n\r\n12345")
        await wait_for(lambda: receiver._admission.in_flight == 5)
        await receiver.stop()
        assert await client.closed()
    assert caplog.messages == ["OTLP over HTTP: 1 unfinished requests were cut off"]


async def test_stop_is_harmless(recorder):
    """Stopping before the start, twice, or at the same time twice does nothing more than stopping."""
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0)
    await receiver.stop()
    await receiver.start()
    await asyncio.gather(receiver.stop(), receiver.stop())
    await receiver.stop()


async def test_port_taken(http, recorder):
    """A port that is taken is an OSError at the start."""
    receiver = HTTPReceiver(recorder, admission=Admission(), port=http.port)
    with pytest.raises(OSError, match=str(http.port)):
        await receiver.start()
    await receiver.stop()


@pytest.mark.parametrize(("host", "warnings"), [("127.0.0.1", 0), ("localhost", 0), ("0.0.0.0", 1)])
async def test_exposed(recorder, caplog, monkeypatch, host, warnings):
    """Listening where other machines can reach it is worth one warning."""

    async def create_server(self, factory, host, port):
        raise OSError("no test listens to other machines")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_server", create_server)
    with pytest.raises(OSError):
        await HTTPReceiver(recorder, admission=Admission(), host=host, port=0).start()
    assert len(caplog.records) == warnings
