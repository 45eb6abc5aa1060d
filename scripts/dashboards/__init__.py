"""Makes the Grafana dashboards of `dashboards/`, what provisions them, and their Kubernetes ConfigMaps.

    python -m scripts.dashboards

What is committed is what this writes; a test compares. One module is one dashboard: rows of panels, a panel is a title,
a description and queries. Places on the grid, ids, data sources, variables and links are added by `model`. Thresholds
are never written down here: those of stages and milestones are series (`targets:` of the configuration), the others are
read out of `alerts/*.rules.yaml`.
"""
