"""The committed dashboards: made by the tool, by every rule of Grafana's dashboard-linter, and by our own."""

import json
import re
from itertools import combinations
from pathlib import Path

import promql_parser as promql
import pytest
import yaml
from shown import (
    DASHBOARDS,
    FOLDER,
    MAGIC,
    annotations,
    filled,
    matchers,
    nodes,
    panels,
    selectors,
    series_of,
    targets,
    variables,
)

from otel_latency.rules.contract import METRICS, TARGET_LABELS, samples
from scripts.dashboards.__main__ import main
from scripts.dashboards.files import contents
from scripts.dashboards.thresholds import ALERTS, names, threshold

WITH_UNITS = {"stat", "timeseries", "table"}
TITLED = {"stat", "timeseries", "table"}
UNITS = {
    *("none", "short", "string", "percentunit", "bytes", "Bps", "bps", "s"),
    *("reqps", "ops", "cpm", "currencyUSD", "celsius", "watt"),
}
"""Those of Grafana's units that we use; all are on the linter's list."""
CLASSIC_ONLY = {
    name for name, one in METRICS.items() if one.type == "histogram" and "service_instance_id" in one.labels
}
"""Histograms that come with bounds of the application's own."""
CLASSIC_ONLY |= {"otel_latency_agent_tick_lateness_seconds"}
NATIVE = {name for name, one in METRICS.items() if one.type == "histogram"} - CLASSIC_ONLY
PROMETHEUS_OWN = {"ALERTS": frozenset({"alertname", "alertstate", "severity"})}
SERIES = {name: one.labels for name, one in samples(METRICS).items()}
TARGETS = list(targets())
GRAFANAS = {"type": "prometheus", "uid": "${datasource}"}


def family(name):
    """The family that a series is of."""
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return stem if METRICS.get(stem) and METRICS[stem].type in {"histogram", "summary"} else name


def asked():
    """(where, selector) of every query, variable and annotation."""
    for where, _, target in TARGETS:
        yield from ((where, one) for one in selectors(target["expr"]))
    for where, variable in variables():
        yield from ((where, one) for one in selectors(series_of(variable)))
    for where, expr in annotations():
        yield from ((where, one) for one in selectors(expr))


# What the tool makes.


def test_generated_is_committed():
    """Every file is what the tool makes, and no other is there."""
    found = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}
    assert contents() == found


def test_written_anew(tmp_path, monkeypatch):
    """The tool writes all files, and takes away those that it no longer makes."""
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "README.md").write_text("kept")
    monkeypatch.setattr("scripts.dashboards.__main__.FOLDER", tmp_path)
    main()
    assert {*contents(), "README.md"} == {
        str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()
    }


def test_uids():
    """A dashboard's address never changes: its uid is its file's name."""
    assert [
        "otel-latency-agent",
        "otel-latency-drilldown",
        "otel-latency-llm",
        "otel-latency-overview",
        "otel-latency-voice",
    ] == [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert list(DASHBOARDS) == [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == 5


# The 17 rules of grafana/dashboard-linter, with no exclusion.


def test_template_datasource():
    """template-datasource-rule: a variable `datasource`, labelled so, chooses a Prometheus."""
    assert [("datasource", "Data source", "prometheus")] * 5 == [
        (one["name"], one["label"], one["query"]) for _, one in variables("datasource")
    ]


@pytest.mark.parametrize(("name", "label"), [("job", "Job"), ("instance", "Instance")])
def test_template_job_and_instance(name, label):
    """template-job-rule, template-instance-rule: queries of the data source, several values, All is any value."""
    expected = (label, "query", GRAFANAS, True, True, ".+")
    assert [expected] * 5 == [
        tuple(one[key] for key in ("label", "type", "datasource", "multi", "includeAll", "allValue"))
        for _, one in variables()
        if one["name"] == name
    ]


def test_template_label_promql():
    """template-label-promql-rule: what variables ask for is PromQL."""
    assert all(selectors(series_of(variable)) for _, variable in variables())


def test_template_on_time_change_reload():
    """template-on-time-change-reload-rule: values are asked for again when the time changes."""
    assert {2} == {variable["refresh"] for _, variable in variables()}


def test_panel_datasource():
    """panel-datasource-rule: panels and their queries take the data source that is chosen."""
    assert [] == [
        where for where, panel, target in TARGETS if panel["datasource"] != GRAFANAS or target["datasource"] != GRAFANAS
    ]


def test_panel_title_description():
    """panel-title-description-rule: each panel says what it is, and what it means in a sentence."""
    sentence = re.compile(r"\S.*[^.][.?]", re.DOTALL)
    assert [] == [
        (name, panel["title"])
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        if not panel["title"] or not sentence.fullmatch(panel["description"])
    ]


def test_panel_units():
    """panel-units-rule: each panel has a unit that Grafana knows, and so has each column of a table."""
    assert [] == [
        (name, panel["title"], unit)
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        for unit in [
            panel["fieldConfig"]["defaults"]["unit"],
            *(
                one["value"]
                for override in panel["fieldConfig"]["overrides"]
                for one in override["properties"]
                if one["id"] == "unit"
            ),
        ]
        if unit not in UNITS
    ]


def test_panel_no_targets():
    """panel-no-targets-rule: each panel asks something."""
    assert [] == [
        (name, panel["title"])
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        if not any(target["expr"] for target in panel["targets"])
    ]


def test_target_promql():
    """target-promql-rule: each query is PromQL."""
    assert [] == [where for where, _, target in TARGETS if not list(nodes(target["expr"]))]


def test_target_rate_interval():
    """target-rate-interval-rule: rates are over $__rate_interval, and nothing else is but increases and resets."""
    faults = []
    for where, _, target in TARGETS:
        for node, above in nodes(target["expr"]):
            if isinstance(node, promql.MatrixSelector):
                function = above[-1].func.name
                is_magic = promql.display_duration(node.range) == MAGIC
                if is_magic != (function == "rate") and function != "increase":
                    faults.append((where, function))
    assert faults == []


@pytest.mark.parametrize("label", ["job", "instance"])
def test_target_job_and_instance(label):
    """target-job-rule, target-instance-rule: each selector of a panel takes the jobs and instances that are chosen."""
    count = 0
    for where, _, target in TARGETS:
        for selector in re.findall(r"\w+\{([^}]*)\}", target["expr"]):
            assert f'{label}=~"${label}"' in selector.split(", "), where
            count += 1
        assert len(re.findall(r"\w+\{", target["expr"])) == len(selectors(target["expr"])), where
    assert count > 300


def test_target_counter_agg():
    """target-counter-agg-rule: what only grows is shown as a rate or an increase."""
    counters = re.compile(r"_(total|sum|count|bucket)$")
    faults = [
        (where, node.name)
        for where, _, target in TARGETS
        for node, above in nodes(target["expr"])
        if isinstance(node, promql.VectorSelector) and counters.search(node.name)
        if not isinstance(above[-1], promql.MatrixSelector) or above[-2].func.name not in {"rate", "irate", "increase"}
    ]
    assert faults == []


def test_target_logql():
    """target-logql-rule, target-logql-auto-rule: there is no query for Loki to be judged by them."""
    assert {"prometheus"} == {target["datasource"]["type"] for _, _, target in TARGETS}


def test_uneditable_dashboard():
    """uneditable-dashboard: what is made by a tool is not edited by hand."""
    assert {False} == {dashboard["editable"] for dashboard in DASHBOARDS.values()}


# Our own rules.


@pytest.mark.parametrize("name", DASHBOARDS)
def test_places(name):
    """No panel lies on another, and none reaches beyond column 24; a closed row's panels count once it is opened."""
    rows = [[one for one in DASHBOARDS[name]["panels"] if not one.get("collapsed")]]
    rows += [[one, *one["panels"]] for one in DASHBOARDS[name]["panels"] if one.get("collapsed")]
    for row in rows:
        boxes = [panel["gridPos"] for panel in row]
        assert all(0 <= box["x"] and 0 < box["w"] and box["x"] + box["w"] <= 24 and box["h"] > 0 for box in boxes)
        assert [] == [
            (a, b)
            for a, b in combinations(boxes, 2)
            if a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        ]
    top = [panel["gridPos"]["y"] for panel in DASHBOARDS[name]["panels"]]
    assert sorted(top) == top


@pytest.mark.parametrize("name", DASHBOARDS)
def test_ids(name):
    """Each panel and row has an id of its own."""
    rows = [one for one in DASHBOARDS[name]["panels"] if one["type"] == "row"]
    ids = [one["id"] for one in [*rows, *panels(DASHBOARDS[name])]]
    assert sorted(set(ids)) == sorted(ids)
    assert len(rows) >= 4


def test_series_exist():
    """Every series that is asked for is one that the agent exposes, by labels that it has."""
    faults = [
        (where, selector.name, label)
        for where, selector in asked()
        for label in ["", *matchers(selector)]
        if label not in ({**SERIES, **PROMETHEUS_OWN}).get(selector.name, frozenset()) | TARGET_LABELS | {""}
        or selector.name not in {**SERIES, **PROMETHEUS_OWN}
    ]
    assert faults == []


def test_kept_labels_exist():
    """Labels that are aggregated by are those of a series below, and a legend names labels that were kept."""
    faults = []
    for where, _, target in TARGETS:
        kept = set()
        for node, _ in nodes(target["expr"]):
            if isinstance(node, promql.AggregateExpr) and node.modifier:
                below = {one.name for one in selectors(str(node.prettify()))}
                there = TARGET_LABELS.union(*(SERIES.get(one, frozenset(node.modifier.labels)) for one in below))
                faults += [(where, label) for label in node.modifier.labels if label not in there]
                kept |= set(node.modifier.labels)
        faults += [
            (where, label) for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]) if label not in kept
        ]
    assert faults == []


def test_every_metric_is_shown():
    """Every family that the agent exposes is on a panel."""
    shown = {family(one.name) for _, _, target in TARGETS for one in selectors(target["expr"])}
    assert set() == set(METRICS) - shown


def test_native_and_classic():
    """Latencies of our own are asked for in both forms in one query; no native form is folded by `le`."""
    for where, _, target in TARGETS:
        found = {one.name for one in selectors(target["expr"])}
        native = found & NATIVE
        classic = {family(name) for name in found if name != family(name)} & NATIVE
        assert native == classic, where
        assert not found & CLASSIC_ONLY, where
        for node, _ in nodes(target["expr"]):
            if isinstance(node, promql.AggregateExpr) and node.modifier and "le" in node.modifier.labels:
                assert all(one.name.endswith("_bucket") for one in selectors(node.prettify())), where
            if isinstance(node, promql.Call) and node.func.name.startswith("histogram_"):
                below = {one.name for one in selectors(node.prettify())}
                assert below <= NATIVE or all(name.endswith("_bucket") for name in below), where
                assert below <= NATIVE or "le" in node.args[1].modifier.labels, where


def test_nothing_is_said():
    """Each panel says that there is nothing, and a ratio of nothing to nothing is no traffic."""
    faults = [
        (name, panel["title"])
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        if not panel["fieldConfig"]["defaults"]["noValue"] or not panel["fieldConfig"]["defaults"]["mappings"]
    ]
    assert faults == []
    stats = {panel["fieldConfig"]["defaults"]["noValue"] for _, panel, _ in TARGETS if panel["type"] == "stat"}
    assert {"no traffic", "none", "no rules", "no prices", "not told", "no limit"} == stats


def test_thresholds_are_the_alerts():
    """Where a panel names an alert that compares with a number, that number is where its colour changes."""
    expressions = {name: threshold(name) for name in names() if _compares(name)}
    seen = set()
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            steps = {step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]} - {None}
            told = {alert for alert in expressions if re.search(rf"\b{alert}\b", panel["description"])}
            if steps and told:
                assert steps == {expressions[alert] for alert in told}, (name, panel["title"])
                seen |= told
            elif steps:
                assert steps in ({0.8, 1.0}, {1}), (name, panel["title"])
    assert len(seen) > 25
    assert {0.05, 0.1, 256 * 1024 * 1024, 20} == {
        expressions[one] for one in ("TurnFailuresHigh", "DiskAlmostFull", "AgentMemoryHigh", "LLMCostHigh")
    }


def _compares(alert):
    try:
        return threshold(alert) > 0
    except (KeyError, ValueError):
        return False


def test_no_threshold():
    """An alert that compares with a series has no number, and says so."""
    with pytest.raises(ValueError, match="StageAboveTarget compares with no number: name another alert"):
        threshold("StageAboveTarget")


def test_targets_are_series():
    """Each milestone is drawn with the thresholds that the rules compare it with: both come from `targets:`."""
    rules = (ALERTS / "latency.rules.yaml").read_text()
    for milestone in ("first_token", "first_sentence", "tts_start", "first_audio"):
        assert f"milestone: {milestone}" in rules
        levels = [
            target["legendFormat"]
            for _, panel, target in TARGETS
            if f'otel_latency_milestone_target_seconds{{job=~"$job", instance=~"$instance", milestone="{milestone}"'
            in target["expr"]
            and panel["type"] == "timeseries"
        ]
        assert {"target", "critical"} <= set(levels)


def test_annotations():
    """Each dashboard marks when alerts fire, all but the watchdog, and when an agent was started."""
    alerts = {
        rule["alert"]
        for path in ALERTS.glob("*.rules.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    firing = [expr for where, expr in annotations() if where.endswith(": Alerts")]
    assert len(firing) == 5
    for expr in firing:
        (selector,) = selectors(expr)
        assert matchers(selector)["alertstate"] == "firing"
        assert set(matchers(selector)["alertname"].split("|")) == alerts - {"Watchdog"} | {
            "SLOBudgetBurnsFast",
            "SLOBudgetBurnsSlowly",
        }
    assert len([where for where, _ in annotations() if where.endswith(": Restarts of the agent")]) == 5


def test_shared():
    """One cursor over all panels, the same links and tags, a refresh, and the reader's own time zone."""
    assert [(1, ["otel-latency"], "30s", "browser", ["otel-latency"], True, True)] * 5 == [
        (
            *(one[key] for key in ("graphTooltip", "tags", "refresh", "timezone")),
            *(one["links"][0][key] for key in ("tags", "keepTime", "includeVars")),
        )
        for one in DASHBOARDS.values()
    ]


def test_links_lead_somewhere():
    """A link to another dashboard names one that there is, and sets variables that it has."""
    links = re.findall(r'"/d/([\w-]+)\?([^"]*)"', json.dumps(list(DASHBOARDS.values())))
    assert links
    for uid, query in links:
        known = {one["name"] for one in DASHBOARDS[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) | set(re.findall(r"\{(\w+):queryparam", query)) <= known


def test_variables_are_used():
    """Every variable decides something, and every variable that a query uses is there."""
    for name, dashboard in DASHBOARDS.items():
        known = {one["name"] for one in dashboard["templating"]["list"]}
        used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard)))
        assert used - {"datasource"} == known - {"datasource"}, name


def test_exemplars():
    """Heatmaps and percentiles of turns, stages and calls ask for exemplars."""
    found = {
        name for _, _, target in TARGETS if target["exemplar"] for name in re.findall(r"(\w+)_bucket", target["expr"])
    }
    assert {
        "otel_latency_turn_duration_seconds",
        "otel_latency_stage_duration_seconds",
        "otel_latency_llm_duration_seconds",
        "otel_latency_turn_time_to_first_audio_seconds",
    } <= found
    assert {True} == {target["exemplar"] for _, panel, target in TARGETS if panel["type"] == "heatmap"}


# What brings them to Grafana.


def test_config_maps():
    """Each dashboard is in a ConfigMap of its own that Grafana's sidecar finds, and that `kubectl apply` takes."""
    maps = list(yaml.safe_load_all((FOLDER / "configmaps.yaml").read_text()))
    assert DASHBOARDS == {
        name.removesuffix(".json"): json.loads(text) for one in maps for name, text in one["data"].items()
    }
    assert ["1"] * 5 == [one["metadata"]["labels"]["grafana_dashboard"] for one in maps]
    assert set(DASHBOARDS) == {one["metadata"]["name"] for one in maps}
    assert (
        max(len(json.dumps(one)) for one in maps) < 250_000
    )  # apply keeps a copy in an annotation, of 256 KiB at most


def test_provisioning():
    """Grafana finds Prometheus, opens an exemplar's trace as a turn, and reads the dashboards from one folder."""
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert ("prometheus", "${PROMETHEUS_URL}", True) == (source["type"], source["url"], source["isDefault"])
    (trace,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert ("trace_id", "${OTEL_LATENCY_URL}/#/turn/$${__value.raw}") == (trace["name"], trace["url"])
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/otel-latency.yaml").read_text())["providers"]
    assert ("file", False, Path("/var/lib/grafana/dashboards")) == (
        provider["type"],
        provider["allowUiUpdates"],
        Path(provider["options"]["path"]),
    )


def test_filled():
    """What a reader chooses becomes All, and what Grafana computes a duration."""
    assert 'rate(a{b=~".+"}[7m33s] offset 1d)' == filled('rate(a{b=~"$b"}[$__rate_interval] offset $compare)')
