"""Links in notifications lead somewhere."""

from otel_latency.web.links import graph


async def test_graph(serve):
    """The link of an alert opens its expression, whatever is in it."""
    client = await serve(graph())
    address = "/graph?g0.expr=a%7Bb%3D%22c%22%7D+%3E+0.5&g0.tab=1"
    async with client.get(address, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/api/v1/query?query=a%7Bb%3D%22c%22%7D%20%3E%200.5"
