"""Prometheus' alerting inside one process: its rule files, its PromQL, its alert states, its templates.

    /metrics as text would show it --sampling--> series --promql--> engine --Alert--> whoever notifies

The promise: same samples, same evaluation times, same semantics version, same alerts.
"""
