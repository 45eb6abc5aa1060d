"""The page's routes: HTML for browsers, what was there before for programs, and nothing that leads elsewhere."""

import re
from importlib.resources import files

import pytest

from otel_latency.web.app import index
from otel_latency.web.live_page import live_page

PARTS = [one for one in files("otel_latency.web").joinpath("page").iterdir() if one.name != "index.html"]
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ACCEPTS = {"a browser": (BROWSER, True), "curl": ("*/*", False), "a script": ("application/json", False)}


@pytest.fixture
async def client(serve):
    return await serve(*live_page(otherwise=index(["/metrics"])))


@pytest.mark.parametrize(("accept", "is_page"), ACCEPTS.values(), ids=ACCEPTS)
async def test_html_for_who_asks_for_it(client, accept, is_page):
    """A browser gets the page, others the index of what there is; both are told that it depends."""
    async with client.get("/", headers={"Accept": accept}) as response:
        text = await response.text()
        assert (200, "Accept", is_page) == (response.status, response.headers["Vary"], "/page/page.js" in text)
        assert ('href="/metrics"' in text) == (not is_page)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
async def test_parts(client, part):
    """Each file is served as it is, by its type."""
    async with client.get(f"/page/{part.name}") as response:
        suffix = part.name.rpartition(".")[2]
        assert (TYPES[suffix], part.read_bytes()) == (response.content_type, await response.read())


@pytest.mark.parametrize("path", ["/page/", "/page/index.html", "/page/../app.py", "/page/%2e%2e/app.py", "/page//app"])
async def test_nothing_else(client, path):
    """There is a route for each file, and no way around them."""
    async with client.get(path) as response:
        assert 404 == response.status


@pytest.mark.parametrize(
    "part", [*PARTS, files("otel_latency.web").joinpath("page/index.html")], ids=lambda one: one.name
)
def test_text_is_only_ever_text(part):
    """No part makes markup or code out of text, or refers to another host; the page has no script or style inline."""
    text = part.read_text(encoding="utf-8")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(['\"`]|srcdoc"
    )
    assert [] == re.findall(forbidden, text)
    assert [] == [one for one in re.findall(r"https?://[^\s\"'`$]+", text) if one != "http://www.w3.org/2000/svg"]
    assert [] == re.findall(
        r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=\"/page/page\.js\"></script>)", text
    )
