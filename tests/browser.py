"""A real Chromium without a window, driven through the DevTools protocol over a websocket.

async with browsing(chromium) as tab:
    await tab.open("http://127.0.0.1:8080/")
    await tab.evaluate("document.title")
    tab.faults(), tab.requests()
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

START_TIMEOUT = 30.0
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it only sees our own pages, and runs as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")


class Tab:
    """One page; `events` is all that the browser told about it."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = count(1)
        self.events: list[dict[str, Any]] = []

    async def listen(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self.events.append(told)

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of a DevTools method."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        told = await asyncio.wait_for(answer, START_TIMEOUT)
        assert "error" not in told, told
        return told["result"]

    async def open(self, url: str) -> None:
        """Go there, and wait until everything has loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        told = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, expression: str, *, within: float = 20.0) -> Any:
        """Wait until the expression is true; answers its value."""
        async with asyncio.timeout(within):
            while not (value := await self.evaluate(expression)):
                await asyncio.sleep(0.05)
        return value

    async def size(self, width: int, height: int = 900) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def faults(self) -> list[str]:
        """What a person would see in the console, and dialogs that somebody opened."""
        return [str(event["params"])[:400] for event in self.events if event["method"] in FAULTS]

    def requests(self) -> list[str]:
        """The addresses of everything that was asked for."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]


@asynccontextmanager
async def browsing(program: str) -> AsyncIterator[Tab]:
    """A tab of a browser of our own, ended after the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *OPTIONS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None
            port = await asyncio.wait_for(_port(process.stderr), START_TIMEOUT)
            reading = asyncio.create_task(_drain(process.stderr))
            async with _tab(port) as tab:
                yield tab
            reading.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _port(log: asyncio.StreamReader) -> int:
    while line := (await log.readline()).decode(errors="replace"):
        if match := re.search(r"ws://127\.0\.0\.1:(\d+)/", line):
            return int(match[1])
    raise AssertionError("the browser does not start")


async def _drain(log: asyncio.StreamReader) -> None:
    while await log.read(4096):
        pass


@asynccontextmanager
async def _tab(port: int) -> AsyncIterator[Tab]:
    async with ClientSession() as session:
        async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
            address = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            tab = Tab(socket)
            listening = asyncio.create_task(tab.listen())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.call(f"{domain}.enable")
            yield tab
            listening.cancel()
