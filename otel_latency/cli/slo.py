"""Turn service level objectives into plain Prometheus rules: multi-window burn-rate alerts after Google's SRE workbook.

    slos:
      - name: llm-works
        objective: 99.9
        stage: llm
        min_events: 50

says that 99.9 % of the runs of this stage end without error or timeout, and that fewer than 50 of them (default: 20)
within the longer window prove nothing. `turn: answer` stands for one kind of turn, neither of both for all turns;
`service:` for one service instead of each by itself; `window: 7d` for another period than 30d. With `latency: 1280ms`
what counts is to end within that time, and with `milestone: first_audio` to get there; it is a bound of the histogram:
5ms, 10ms, 20ms and so on.

The rules go to standard output. List that file under rules.files, or give it to a Prometheus. The agent holds samples
in memory, so windows end at 6h there, which leaves the two slower pairs of windows to Prometheus: see --prometheus.

    $ otel-latency slo --max-window 1h slo.yaml
    groups:
      # Of stage llm in every service, 99.9% end without failure, over 30d.
      # Left out: 30m and 6h, as windows may be 1h long.
      # Left out: 2h and 1d, as windows may be 1h long.
      # Left out: 6h and 3d, as windows may be 1h long.
      - name: slo-llm-works
        rules:
          - record: slo:sli_error:ratio_rate5m
            expr: |
              sum by (service) (rate(otel_latency_stages_total{stage="llm", status=~"error|timeout"}[5m]))
                / sum by (service) (rate(otel_latency_stages_total{stage="llm"}[5m]))
            labels:
              slo: 'llm-works'
          - record: slo:sli_error:ratio_rate1h
            expr: |
              sum by (service) (rate(otel_latency_stages_total{stage="llm", status=~"error|timeout"}[1h]))
                / sum by (service) (rate(otel_latency_stages_total{stage="llm"}[1h]))
            labels:
              slo: 'llm-works'
          - alert: SLOBudgetBurnsFast
            expr: |
              (
                slo:sli_error:ratio_rate5m{slo="llm-works"} > 14.4 * 0.001
                  and slo:sli_error:ratio_rate1h{slo="llm-works"} > 14.4 * 0.001
                  and on (service) sum by (service) (increase(otel_latency_stages_total{stage="llm"}[1h])) >= 50
              )
            labels:
              severity: critical
              slo: 'llm-works'
            annotations:
              summary: '{{ $labels.service }} spends its error budget for llm-works too fast'
              description: >-
                Of stage llm in {{ $labels.service }}, {{ $value | humanizePercentage }} failed within 5m and 1h.
                The objective is that 99.9% end without failure, over 30d: the budget does not last at this rate.
              runbook_url: alerts/README.md#service-level-objectives
"""

from __future__ import annotations

import argparse
import json
import os

from otel_latency.cli.inputs import duration, text_of
from otel_latency.config.values import Duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    windows = parser.add_mutually_exclusive_group()
    windows.add_argument(
        "--max-window", type=duration, default=Duration.parse("6h"), metavar="DURATION", help="default: 6h"
    )
    windows.add_argument("--prometheus", action="store_true", help="windows of any length, for a real Prometheus")
    parser.add_argument("--json", action="store_true", help="the same rules as JSON, which is YAML as well")


def run(arguments: argparse.Namespace) -> int:
    from otel_latency.rules import slo  # late: help needs none of it

    objectives = slo.read(arguments.file, text_of(arguments.file), os.environ)
    rules = slo.rules(objectives, max_window=None if arguments.prometheus else arguments.max_window)
    if arguments.json:
        import yaml

        rules = json.dumps(yaml.load(rules, yaml.BaseLoader)) + "\n"  # noqa: S506 -- only texts, lists and mappings
    print(rules, end="")
    return 0
