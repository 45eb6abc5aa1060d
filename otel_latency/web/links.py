"""Where links that Prometheus makes lead to on the agent: `/graph?g0.expr=...` to the expression's value now."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from otel_latency.web.app import Route


def graph() -> Route:
    """What the `generatorURL` of an alert opens; people come by whatever name the link was given."""
    return Route("/graph", _graph)


async def _graph(request: web.Request) -> web.Response:
    expression = request.query.get("g0.expr", "")
    return web.Response(status=302, headers={"Location": f"/api/v1/query?query={quote(expression, safe='')}"})
