"""The live page in a real Chromium: under the demo, under hostile names, without an agent."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession
from browser import Tab, browsing
from running import RunningAgent, running_agent

pytestmark = pytest.mark.e2e

TILES = """Object.fromEntries([...document.querySelectorAll(".tile")].map((tile) => [
  tile.dataset.tile, [JSON.parse(tile.querySelector("output").dataset.value), tile.querySelector("output").textContent]
]))"""
OUTSIDE = "document.documentElement.scrollWidth - window.innerWidth"
WIDE = """[...document.querySelectorAll("main *")].filter((node) => {
  const isShown = node.getClientRects().length && !node.closest(".scroll");
  return isShown && node.getBoundingClientRect().right > window.innerWidth + 1;
}).map((node) => node.className || node.tagName)"""


@asynccontextmanager
async def demo() -> AsyncIterator[str]:
    """The URL of an agent with the demo's traffic."""
    ports = {f"OTEL_LATENCY_{name}__PORT": "0" for name in ("WEB", "OTLP__HTTP", "OTLP__GRPC")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "otel_latency", "demo", "--json", "--turns-per-second", "8"),
        env={**os.environ, **ports},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        yield json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"]
    finally:
        process.terminate()
        await process.wait()


async def snapshots(url: str, seen: dict[float, dict[str, object]]) -> None:
    """Keep each snapshot of the stream by its time."""
    async with ClientSession() as session, session.get(f"{url}/api/v1/stream") as response:
        data = b""
        async for chunk in response.content.iter_any():
            *events, data = (data + chunk).split(b"\n\n")
            for event in events:
                fields = dict(line.split(b": ", 1) for line in event.split(b"\n"))
                if fields.get(b"event") == b"snapshot":
                    told = json.loads(fields[b"data"])
                    seen[told["timestamp"]] = told


def expected(overview: dict) -> dict[str, object]:
    """What the tiles have to hold."""
    busiest = overview["turns"][0]
    return {
        "turns_per_second": overview["turns_per_second"],
        **{name: busiest[name] for name in ("p50", "p90", "p99")},
        "first_audio": overview["milestones"]["first_audio"]["p50"],
        "error_ratio": overview["error_ratio"],
        "running": overview["operations"]["running"],
        "alerts": len(overview["alerts"]),
    }


def in_words(name: str, value: float) -> str:
    """As the page writes it."""
    if name in ("running", "alerts"):
        return str(value)
    if name == "turns_per_second":
        return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"
    if name == "error_ratio":
        return f"{100 * value:.1f} %"
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


async def test_under_the_demo(require):
    """Tiles equal what the API tells, at three updates a second and more, without a word in the console and without a
    request to anybody else; turns open, keys do what the help says, and nothing sticks out at 1280 and 390 pixels.
    """
    chromium = require("chromium", package="chromium")
    async with demo() as url, browsing(chromium) as tab:
        seen: dict[float, dict] = {}
        following = asyncio.create_task(snapshots(url, seen))
        await tab.size(1280)
        await tab.open(f"{url}/")
        await tab.until("document.querySelectorAll('#turn-list li').length >= 5")
        await tab.until("document.querySelector('[data-tile=first_audio] output').dataset.value !== 'null'")

        began, renders = time.monotonic(), int(await tab.evaluate("document.body.dataset.renders"))
        await asyncio.sleep(3)
        rendered = int(await tab.evaluate("document.body.dataset.renders")) - renders
        assert rendered / (time.monotonic() - began) >= 3

        await tab.press("p")
        await tab.until("document.body.dataset.state === 'paused'")
        tiles, timestamp = await tab.evaluate(TILES), float(await tab.evaluate("document.body.dataset.timestamp"))
        while timestamp not in seen:
            await asyncio.sleep(0.05)
        told = expected(seen[timestamp])
        assert {name: [value, in_words(name, value)] for name, value in told.items()} == tiles
        await asyncio.sleep(1)
        assert tiles == await tab.evaluate(TILES)
        await tab.press("p")
        await tab.until("document.body.dataset.state === 'live'")

        await tab.press("?")
        await tab.until("document.querySelector('#help').open")
        await tab.press("Escape")
        await tab.evaluate("document.querySelector('#turn-list a').click()")
        await tab.until("document.querySelector('#turn .verdict')?.textContent.length > 20")
        identity = (await tab.evaluate("location.hash")).split("/")[2]
        async with ClientSession() as session, session.get(f"{url}/api/v1/turns/{identity}") as answer:
            verdict = (await answer.json())["verdict"]
        assert verdict == await tab.evaluate("document.querySelector('#turn .verdict').textContent")

        for width in (1280, 390):
            await tab.size(width)
            await asyncio.sleep(0.6)
            assert (0, []) == (await tab.evaluate(OUTSIDE), await tab.evaluate(WIDE))
        following.cancel()
        assert ([], []) == (tab.faults(), [one for one in tab.requests() if not one.startswith(url)])


async def test_the_stream_tells_what_the_api_tells():
    """The overview in a snapshot equals the answer of /api/v1/overview, but for what time alone changes."""
    with running_agent() as agent:
        post(agent, [span(1, name="answer"), span(2, parent=1, name="retrieve")])
        seen: dict[float, dict] = {}
        following = asyncio.create_task(snapshots(f"http://127.0.0.1:{agent.web_port}", seen))
        async with asyncio.timeout(10):
            while not seen or not list(seen.values())[-1]["stages"]:
                await asyncio.sleep(0.05)
        following.cancel()
        status, body = agent.get("/api/v1/overview")
        told, asked = list(seen.values())[-1], json.loads(body)
        for changing in ("timestamp", "window_seconds", "turns_per_second", "system", "workers"):
            asked.pop(changing)
            told.pop(changing)
        assert (200, asked) == (status, {name: value for name, value in told.items() if name not in ("page", "live")})


HOSTILE = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    '"><img src=x onerror=window.hit=1>',
    "'><svg onload=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<iframe src=javascript:parent.hit=1>",
    "<body onload=window.hit=1>",
    "<details open ontoggle=window.hit=1>x</details>",
    "<input autofocus onfocus=window.hit=1>",
    "<video><source onerror=window.hit=1></video>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=window.hit=1>",
    "<a href=javascript:window.hit=1>x</a>",
    "javascript:window.hit=1",
    "data:text/html,<script>window.hit=1</script>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//attacker.example/x.css>",
    "<base href=//attacker.example/>",
    "<meta http-equiv=refresh content='0;url=//attacker.example'>",
    "<form action=//attacker.example><button>x</button></form>",
    "<object data=javascript:window.hit=1>",
    "<template><img src=x onerror=window.hit=1></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>",
    "<!--><img src=x onerror=window.hit=1>-->",
    "<![CDATA[<img src=x onerror=window.hit=1>]]>",
    "&lt;img src=x onerror=window.hit=1&gt;",
    "&#60;script&#62;window.hit=1&#60;/script&#62;",
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "%3Cscript%3Ewindow.hit=1%3C/script%3E",
    "${window.hit=1}",
    "`${window.hit=1}`",
    "{{constructor.constructor('window.hit=1')()}}",
    "{{7*7}}{% raw %}<%= 7*7 %>#{7*7}",
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "'; window.hit=1; //",
    '"; window.hit=1; //',
    "\\'; window.hit=1; //",
    "*/window.hit=1/*",
    "\u202egnp.exe\u202c",
    "\u2066\u2067abc\u2069\u2069",
    "\u200b\u200c\u200d\ufeff",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\u4f60\u597d\u4e16\u754c" * 20,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3f3\ufe0f\u200d\U0001f308" * 8,
    "Z\u0351\u0366\u0314\u035b\u0321a\u0348\u0329l\u033bg\u031bo" * 10,
    "x" * 5000,
    "W" * 300 + " " + "i" * 300,
    "a/b/c?d=e#f&g" * 8,
    "line one\nline two\r\nline three",
    "\x00\x01\x02\x1b[31mred\x1b[0m\x07\x08\x7f",
    "\x1b]8;;http://attacker.example\x07link\x1b]8;;\x07",
    "\u2028\u2029\u0085",
    " ",
    "null",
    "../../../../etc/passwd",
    "=cmd|'/C calc'!A0",
)


def span(number: int, *, name: str, parent: int = 0, attributes: dict[str, str] | None = None) -> dict:
    """Of OTLP/JSON, ended just now; spans with the same hundred are in one trace."""
    end = time.time_ns()
    return {
        "traceId": f"{number // 100 + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "parentSpanId": f"{parent + 1:016x}" if parent else "",
        "name": name,
        "kind": 3,
        "startTimeUnixNano": str(end - 400_000_000 + number % 100 * 50_000_000),
        "endTimeUnixNano": str(end),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in (attributes or {}).items()],
        "status": {"code": 2, "message": name} if attributes else {},
    }


def post(agent: RunningAgent, spans: list[dict], service: str = "bot") -> None:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()
    status, answer = agent.post(body, {"Content-Type": "application/json"})
    assert status == 200, answer


def rules() -> str:
    """A firing alert for each string, which is in its name, its labels and its annotations."""
    shown = [text for text in HOSTILE if not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]", text)]
    group = [
        {
            "alert": f"{text[:200]} {number}",
            "expr": "vector(1)",
            "labels": {"severity": "critical", "who": _untemplated(text)},
            "annotations": {"summary": _untemplated(text), "description": _untemplated(text)},
        }
        for number, text in enumerate(shown)
    ]
    return json.dumps({"groups": [{"name": "<b>hostile</b>", "rules": group}]}, ensure_ascii=False)  # JSON is YAML


def _untemplated(text: str) -> str:
    return "{{ " + json.dumps(text) + " }}" if "{{" in text else text[:500]


async def test_hostile_names(require):
    """Whatever spans, services, attributes, errors, checks and alerts are called: nothing of it runs, loads or breaks
    the layout, in lists, charts and the details of a turn.
    """
    assert len(HOSTILE) == 60
    chromium = require("chromium", package="chromium")
    files = {
        "hostile.rules.yaml": rules(),
        "otel-latency.yaml": "rules: {files: [hostile.rules.yaml], interval: 250ms}",
    }
    with running_agent(files=files) as agent:
        for number, text in enumerate(HOSTILE):
            call = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": text,
                "gen_ai.request.model": text,
                "otel_latency.task": text,
                "session.id": text,
                "error.type": text,
            }
            first = 100 * (number + 1)
            steps = [
                span(first + 1, name=text, parent=first),
                span(first + 2, name=text, parent=first, attributes=call),
            ]
            post(agent, [span(first, name=text, attributes={"session.id": text}), *steps], service=text)
        url = f"http://127.0.0.1:{agent.web_port}"
        async with browsing(chromium) as tab:
            await tab.size(1280)
            await tab.open(f"{url}/")
            await tab.until("document.querySelectorAll('#turn-list li').length >= 8")
            await tab.until("document.querySelectorAll('#alert-rows li').length >= 8")
            count = await tab.evaluate(
                "document.querySelectorAll('script, img, iframe, object, embed, style, svg, base').length"
            )
            assert 2 == count  # our own script and icon
            for width in (1280, 390):
                await tab.size(width)
                await asyncio.sleep(0.6)
                assert (0, []) == (await tab.evaluate(OUTSIDE), await tab.evaluate(WIDE)), width
            await _open_turns(tab, len(HOSTILE))
            assert [True, 2] == await tab.evaluate(
                "[window.hit === undefined, document.querySelectorAll('script, img, iframe, svg').length]"
            )
            assert ([], []) == (tab.faults(), [one for one in tab.requests() if not one.startswith(url)])


async def _open_turns(tab: Tab, count: int) -> None:
    """Look at each turn, by its address."""
    for number in range(count):
        await tab.evaluate(f"location.hash = '#/turn/{number + 2:032x}'")
        await tab.until(f"document.querySelector('#turn .id')?.textContent.includes('{number + 2:032x}')")
        width = "document.querySelector('#turn').scrollWidth - document.querySelector('#turn').clientWidth"
        assert 0 == await tab.evaluate(width), HOSTILE[number]


async def test_without_an_agent(require):
    """An agent that has seen nothing says what to do; one that goes away leaves a page that says since when."""
    chromium = require("chromium", package="chromium")
    with running_agent() as agent:
        async with browsing(chromium) as tab:
            await tab.size(1280)
            await tab.open(f"http://127.0.0.1:{agent.web_port}/")
            said = await tab.until("document.querySelector('#now').textContent")
            assert f"Send OTLP traces to http://127.0.0.1:{agent.http_port}" in said
            assert "No stage has ended in the last minute." == await tab.evaluate(
                "document.querySelector('#stages .empty').textContent"
            )
            began = time.monotonic()
            agent.process.send_signal(signal.SIGTERM)
            assert 0 == await asyncio.to_thread(agent.process.wait, 8)
            assert time.monotonic() - began < 5
            await tab.until("['lost', 'stale'].includes(document.body.dataset.state)")
            banner = await tab.until(
                "!document.querySelector('#banner').hidden && document.querySelector('#banner').textContent"
            )
            assert banner.startswith("No news from the agent for ")
            assert "Trying again." in banner


HOSTS = {
    "localhost": 200,
    "127.0.0.1:1": 200,
    "attacker.example": 403,
    "localhost.attacker.example": 403,
    "": 403,
}


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/page/page.css", "/api/v1/stream"])
def test_hosts(path):
    """The page, its parts and its stream are served to nobody who came by a foreign name."""
    with running_agent() as agent:
        answers = {}
        for host in HOSTS:
            answers[host] = head(agent.web_port, path, host)
        assert HOSTS == answers


def head(port: int, path: str, host: str) -> int:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("HEAD", path, headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


STALLED = 20


async def test_stalled_viewers():
    """Twenty viewers who take nothing cost less than 2 MiB, and do not keep an agent from ending within 5 seconds."""
    with running_agent() as agent:
        post(agent, [span(100 * (one + 1), name=f"turn {one}") for one in range(60)])
        writers = [await stalled(agent.web_port)]
        await asyncio.sleep(2)
        before = agent.memory()
        writers += [await stalled(agent.web_port) for _ in range(STALLED)]
        await asyncio.sleep(8)
        assert agent.memory() - before <= 2.0
        began = time.monotonic()
        agent.process.send_signal(signal.SIGTERM)
        assert 0 == await asyncio.to_thread(agent.process.wait, 8)
        assert time.monotonic() - began < 5
        for writer in writers:
            writer.close()


async def stalled(port: int) -> asyncio.StreamWriter:
    """Somebody who asks for the stream and does not read it."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.transport.pause_reading()
    writer.write(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await writer.drain()
    return writer
