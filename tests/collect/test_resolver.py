"""Names to addresses, with a DNS server that hangs, fails or changes its mind."""

import asyncio
import socket
import threading

import pytest

from otel_latency.collect.resolver import Address, Resolver, look_up
from otel_latency.testing import FakeClock

OLD, NEW = Address(socket.AF_INET, "192.0.2.1"), Address(socket.AF_INET, "192.0.2.2")


class Server:
    """A DNS server: `answer` is a list of addresses or an error; while `up` is clear it hangs."""

    def __init__(self):
        self.answer = [OLD]
        self.up = threading.Event()
        self.up.set()
        self.asked = 0

    def look_up(self, host):
        self.asked += 1
        self.up.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def server():
    server = Server()
    yield server
    server.up.set()


@pytest.fixture
async def asking(server):
    """(clock, a function that resolves and gives the addresses, one that waits for look-ups in the background)."""
    clock = FakeClock()
    resolver = Resolver(clock.monotonic, server.look_up)

    async def resolve(host="db"):
        return [each["host"] for each in await resolver.resolve(host, 5432)]

    async def settled():
        await asyncio.gather(*resolver._pending.values(), return_exceptions=True)
        await asyncio.sleep(0)

    yield clock, resolve, settled
    await resolver.close()


async def test_the_system_is_asked():
    """localhost resolves to a loopback address, in the form that aiohttp takes."""
    resolver = Resolver(FakeClock().monotonic)
    found = await resolver.resolve("localhost", 80, socket.AF_INET)
    expected = {
        "hostname": "localhost",
        "host": "127.0.0.1",
        "port": 80,
        "family": socket.AF_INET,
        "proto": 0,
        "flags": 0,
    }
    assert expected in found
    assert set(look_up("127.0.0.1")) == {Address(socket.AF_INET, "127.0.0.1")}
    await resolver.close()


async def test_a_fresh_answer_is_kept(server, asking):
    """Within half a minute a name is asked for once."""
    clock, resolve, _ = asking
    await resolve()
    await clock.advance(29)
    assert (["192.0.2.1"], 1) == (await resolve(), server.asked)


async def test_an_old_answer_is_given_while_it_is_renewed(server, asking):
    """After half a minute the known address comes at once, and the new one from the next time on."""
    clock, resolve, settled = asking
    await resolve()
    server.answer = [NEW]
    await clock.advance(31)
    first = await resolve()
    await settled()
    assert (["192.0.2.1"], ["192.0.2.2"]) == (first, await resolve())


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "try again"), OSError("broken")], ids=str)
async def test_a_failing_server_does_not_unteach(server, asking, error):
    """While the server fails, what it said is good for an hour."""
    clock, resolve, settled = asking
    await resolve()
    server.answer = error
    await clock.advance(3599)
    for _ in range(3):
        assert await resolve() == ["192.0.2.1"]
        await settled()
    await clock.advance(1)
    with pytest.raises(OSError, match=r"try again|broken"):
        await resolve()


async def test_no_such_name_unteaches(server, asking):
    """When the server says that the name is gone, it is gone."""
    clock, resolve, settled = asking
    await resolve()
    server.answer = socket.gaierror(socket.EAI_NONAME, "unknown")
    await clock.advance(31)
    await resolve()
    await settled()
    with pytest.raises(socket.gaierror):
        await resolve()


async def test_a_hung_server_is_asked_once(server, asking):
    """Everybody who waits for a name waits for one look-up, and giving up does not end it for the others."""
    _, resolve, _ = asking
    server.up.clear()
    gives_up, waits = asyncio.create_task(resolve()), asyncio.create_task(resolve())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gives_up.cancel()
    server.up.set()
    assert (["192.0.2.1"], 1) == (await waits, server.asked)


async def test_a_hung_server_leaves_the_default_executor_alone(server, asking):
    """However many names hang, a file or database call through asyncio's executor runs at once, and known names do."""
    _, resolve, _ = asking
    await resolve("known")
    server.up.clear()
    hanging = [asyncio.create_task(resolve(f"host-{index}")) for index in range(20)]
    await asyncio.sleep(0)
    assert "free" == await asyncio.to_thread(lambda: "free")
    assert await resolve("known") == ["192.0.2.1"]
    assert not any(each.done() for each in hanging)
    server.up.set()
    await asyncio.gather(*hanging)
