"""OpenLIT: measured by the client, named like a server's metrics."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, seconds

OPENLIT = Dialect(
    name="openlit",
    seen="openlit 1.45.0",
    scopes=("openlit",),
    sources={
        "gen_ai.server.time_to_first_token": seconds("ttfc"),
        # The mean gap between chunks with the wait for the first one in it: never a TPOT.
        "gen_ai.server.time_per_output_token": seconds("tpot_with_prefill"),
    },
)
