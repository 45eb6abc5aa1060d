"""Everything under `dashboards/`: names and contents of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from scripts.dashboards import agent, drilldown, llm, overview, voice
from scripts.dashboards.model import Dashboard

FOLDER: Final = Path(__file__).parents[2] / "dashboards"
MADE_BY: Final = "# Made by `python -m scripts.dashboards`: change that instead.\n"

DATASOURCES: Final = """\
# Grafana reads this from /etc/grafana/provisioning/datasources. It takes the addresses from the environment:
#   PROMETHEUS_URL     where Grafana reaches Prometheus
#   OTEL_LATENCY_URL   where a browser reaches the agent, which shows the turn of a trace
#   SCRAPE_INTERVAL    that of prometheus.yml; 15s if it is not set
apiVersion: 1
datasources:
  - name: Prometheus
    uid: prometheus
    type: prometheus
    access: proxy
    url: ${PROMETHEUS_URL}
    isDefault: true
    editable: false
    jsonData:
      httpMethod: POST
      timeInterval: ${SCRAPE_INTERVAL}
      exemplarTraceIdDestinations:
        - name: trace_id
          urlDisplayLabel: The turn
          url: ${OTEL_LATENCY_URL}/#/turn/$${__value.raw}
"""
PROVIDERS: Final = """\
# Grafana reads this from /etc/grafana/provisioning/dashboards, and the dashboards from /var/lib/grafana/dashboards.
apiVersion: 1
providers:
  - name: otel-latency
    folder: otel-latency
    type: file
    allowUiUpdates: false
    disableDeletion: true
    updateIntervalSeconds: 30
    options:
      path: /var/lib/grafana/dashboards
"""


def dashboards() -> list[Dashboard]:
    return [module.dashboard() for module in (overview, drilldown, voice, llm, agent)]


def contents() -> dict[str, str]:
    """The text of each file, by its path in `dashboards/`."""
    made = {f"{one.uid}.json": one.json() for one in dashboards()}
    return {
        **{name: json.dumps(one, indent=1, ensure_ascii=False) + "\n" for name, one in made.items()},
        "configmaps.yaml": MADE_BY
        + "".join(_config_map(name, json.dumps(one, ensure_ascii=False)) for name, one in made.items()),
        "provisioning/datasources/prometheus.yaml": MADE_BY + DATASOURCES,
        "provisioning/dashboards/otel-latency.yaml": MADE_BY + PROVIDERS,
    }


def _config_map(name: str, text: str) -> str:
    """A ConfigMap that the sidecar of kube-prometheus-stack's Grafana finds by its label."""
    return f"""\
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name.removesuffix(".json")}
  labels:
    app.kubernetes.io/name: otel-latency
    app.kubernetes.io/component: dashboards
    app.kubernetes.io/part-of: otel-latency
    grafana_dashboard: "1"
  annotations:
    grafana_folder: otel-latency
data:
  {name}: |-
    {text}
"""
