"""The live page at `/` and the files that it is made of, under `/page/`.

The files are read once and served from memory, each by a route of its own: no path leads anywhere else. Who does not
ask for HTML at `/` (curl, a script) gets what *otherwise* answers there.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from aiohttp import web

from otel_latency.web.app import Handler, Route

_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FIRST: Final = "index.html"


def live_page(otherwise: Route) -> list[Route]:
    """Routes of the page; *otherwise* is the one at `/` for programs."""
    found = {one.name: one.read_bytes() for one in files(__package__).joinpath("page").iterdir() if _type(one.name)}
    parts = [Route(f"/page/{name}", _file(name, body)) for name, body in sorted(found.items()) if name != _FIRST]
    return [Route(otherwise.path, _either(_file(_FIRST, found[_FIRST]), otherwise.handler)), *parts]


def _type(name: str) -> str:
    return next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), "")


def _file(name: str, body: bytes) -> Handler:
    async def get(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=_type(name), charset="utf-8")

    return get


def _either(html: Handler, otherwise: Handler) -> Handler:
    async def get(request: web.Request) -> web.StreamResponse:
        accept = ",".join(request.headers.getall("Accept", ())).lower()
        response = await (html if "text/html" in accept else otherwise)(request)
        response.headers["Vary"] = "Accept"
        return response

    return get
