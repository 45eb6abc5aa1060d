"""Panels, rows and dashboards as Grafana's JSON, schema 39: Grafana 10.4 and later take it.

A dashboard lists rows of panels; here they get their ids and places. Panels stand side by side in their order, and a
new line begins where the grid of 24 columns is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

from scripts.dashboards import thresholds
from scripts.dashboards.promql import select

Json = dict[str, Any]
Steps = Sequence[tuple[str, float | None]]

COLUMNS: Final = 24
LETTERS: Final = "ABCDEFGHIJ"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
TAG: Final = "otel-latency"
NO_THRESHOLD: Final[Steps] = (("text", None),)
GOOD_BELOW_TARGET: Final[Steps] = (("green", None), ("orange", 0.8), ("red", 1.0))
"""Of a value over its target."""
_STARTED: Final = "otel_latency_agent_tick_lateness_seconds_count"


@dataclass(frozen=True)
class Query:
    """One expression; `legend` names its series by their labels."""

    expr: str
    legend: str = ""
    has_exemplars: bool = False
    is_instant: bool = False
    format: str = "time_series"

    def json(self, letter: str) -> Json:
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "exemplar": self.has_exemplars,
            "expr": self.expr,
            "format": self.format,
            "instant": self.is_instant,
            "legendFormat": self.legend or "__auto",
            "range": not self.is_instant,
            "refId": letter,
        }


@dataclass(frozen=True)
class Panel:
    """A panel without its place; `options` and `custom` are what its type adds."""

    type: str
    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    width: int
    height: int = 8
    steps: Steps = NO_THRESHOLD
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    more: Json = field(default_factory=dict)
    """Further defaults of the fields."""
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()

    def json(self, number: int, x: int, y: int) -> Json:
        steps = [{"color": color, "value": value} for color, value in self.steps]
        return {
            "id": number,
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [query.json(letter) for query, letter in zip(self.queries, LETTERS, strict=False)],
            "fieldConfig": {
                "defaults": {
                    "custom": self.custom,
                    "mappings": [_mapping("nan", "no traffic")],
                    "noValue": "no data",
                    "thresholds": {"mode": "absolute", "steps": steps},
                    "unit": self.unit,
                    **self.more,
                },
                "overrides": list(self.overrides),
            },
            "options": self.options,
            "transformations": list(self.transformations),
        }


@dataclass(frozen=True)
class Row:
    """Panels under a heading; a collapsed row is for what not everybody has."""

    title: str
    panels: Sequence[Panel]
    is_collapsed: bool = False


@dataclass(frozen=True)
class Variable:
    """What a reader can choose from: the values of *label*. `all` also takes series without it."""

    name: str
    label: str
    series: str
    all: str = ".*"

    def json(self) -> Json:
        return {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "datasource": DATASOURCE,
            "query": f"label_values({self.series}, {self.name})",
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": self.all,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "options": [],
            "hide": 0,
        }


JOB: Final = Variable("job", "Job", "otel_latency_build_info", ".+")
INSTANCE: Final = Variable("instance", "Instance", 'otel_latency_build_info{job=~"$job"}', ".+")
SERVICE: Final = Variable("service", "Service", select("otel_latency_stages_total"))


@dataclass(frozen=True)
class Dashboard:
    """A file in `dashboards/`; `uid` is its name there and in links."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    choices: Sequence[Json] = ()
    """Variables whose values are written down."""
    time_from: str = "now-1h"

    def json(self) -> Json:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "editable": False,
            "graphTooltip": 1,
            "schemaVersion": 39,
            "version": 1,
            "refresh": "30s",
            "time": {"from": self.time_from, "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m"]},
            "timezone": "browser",
            "templating": {
                "list": [
                    _datasource(),
                    *(variable.json() for variable in (JOB, INSTANCE, *self.variables)),
                    *self.choices,
                ]
            },
            "annotations": {"list": list(_annotations())},
            "links": [_links()],
            "panels": list(_placed(self.rows)),
        }


def stat(
    title: str, description: str, query: str, unit: str, *, steps: Steps = NO_THRESHOLD, width: int = 3, **more: Any
) -> Panel:
    """One number, with its course behind it."""
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
        **more.pop("options", {}),
    }
    defaults = {"noValue": "no traffic", "color": {"mode": "thresholds"}, **more}
    return Panel("stat", title, description, [Query(query)], unit, width, 4, steps, options, more=defaults)


def named(title: str, description: str, query: Query) -> Panel:
    """One word: the legend of the query."""
    panel = stat(title, description, query.expr, "string", options={"textMode": "name", "graphMode": "none"})
    return replace(panel, queries=[query])


def graph(
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str,
    *,
    width: int = 12,
    stack: str = "none",
    steps: Steps = NO_THRESHOLD,
    **more: Any,
) -> Panel:
    """Lines over time; *stack* is none, normal or percent. *steps* beyond the first become lines, too."""
    custom = {
        "axisPlacement": "auto",
        "drawStyle": "line",
        "fillOpacity": 8 if stack == "none" else 40,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "pointSize": 5,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": stack},
        "thresholdsStyle": {"mode": "dashed" if len(steps) > 1 else "off"},
    }
    options = {
        "legend": {"calcs": ["mean", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = {"color": {"mode": "palette-classic"}, "min": 0, **more}
    overrides = [_dashed(level, color) for level, color in (("target", "orange"), ("critical", "red"))]
    return Panel("timeseries", title, description, queries, unit, width, 8, steps, options, custom, defaults, overrides)


def heatmap(title: str, description: str, expr: str, *, width: int = 12) -> Panel:
    """How many took how long, over time; exemplars are dots on it."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "exponent": 0.5,
            "fill": "dark-orange",
            "mode": "scheme",
            "reverse": False,
            "scheme": "Oranges",
            "steps": 64,
        },
        "exemplars": {"color": "rgba(31, 120, 193, 0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    custom = {"scaleDistribution": {"type": "linear"}}
    query = Query(expr, "{{le}}", has_exemplars=True, format="heatmap")
    return Panel("heatmap", title, description, [query], "short", width, options=options, custom=custom)


def table(
    title: str,
    description: str,
    columns: Sequence[tuple[str, str, str, Steps]],
    key: Sequence[str],
    *,
    width: int = 24,
    links: Sequence[tuple[str, str]] = (),
) -> Panel:
    """A row for each set of the labels *key*; a column is its name, unit, expression and thresholds.

    *links* are (title, address) behind the first label; the first column decides the order.
    """
    queries = [Query(expr, is_instant=True, format="table") for _, _, expr, _ in columns]
    # Grafana numbers the values of several queries, and only those.
    values = [f"Value #{letter}" for letter in LETTERS[: len(columns)]] if len(columns) > 1 else ["Value"]
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate([*key, *values])},
        "renameByName": {value: name for value, (name, *_) in zip(values, columns, strict=True)},
    }
    overrides = [_column(name, unit, steps) for name, unit, _, steps in columns]
    if links:
        overrides.append(_linked(key[0], links))
    options = {
        "cellHeight": "sm",
        "showHeader": True,
        "sortBy": [{"desc": True, "displayName": columns[0][0]}],
    }
    return Panel(
        "table",
        title,
        description,
        queries,
        "short",
        width,
        options=options,
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        overrides=overrides,
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
    )


def states(
    title: str, description: str, queries: Sequence[Query], values: dict[str, tuple[str, str]], *, width: int = 12
) -> Panel:
    """Bars over time; *values* gives each value a word and a colour."""
    options = {
        "alignValue": "left",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    words = {
        value: {"color": color, "index": place, "text": text}
        for place, (value, (text, color)) in enumerate(values.items())
    }
    more = {"mappings": [{"type": "value", "options": words}], "color": {"mode": "thresholds"}}
    custom = {"fillOpacity": 70, "lineWidth": 0}
    return Panel(
        "state-timeline", title, description, queries, "short", width, options=options, custom=custom, more=more
    )


def choice(name: str, label: str, values: Sequence[str], default: str) -> Json:
    """A variable whose values are written down; one is chosen."""
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(values),
        "multi": False,
        "includeAll": False,
        "current": {"selected": True, "text": default, "value": default},
        "options": [{"selected": value == default, "text": value, "value": value} for value in values],
        "hide": 0,
    }


def between(warning: str, critical: str = "") -> Steps:
    """Green, then orange from the threshold of the alert *warning* on, and red from that of *critical* on."""
    steps = [("green", None), ("orange", thresholds.threshold(warning))]
    return [*steps, ("red", thresholds.threshold(critical))] if critical else steps


def below(alert: str) -> Steps:
    """Red up to the threshold of *alert*, then green."""
    return [("red", None), ("green", thresholds.threshold(alert))]


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    numbers, y = count(1), 0
    for row in rows:
        heading = {
            "id": next(numbers),
            "type": "row",
            "title": row.title,
            "collapsed": row.is_collapsed,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            "panels": [],
        }
        panels, end = _in_lines(row.panels, numbers, y + 1)
        if row.is_collapsed:
            yield {**heading, "panels": panels}
            y += 1
        else:
            yield heading
            yield from panels
            y = end


def _in_lines(panels: Sequence[Panel], numbers: Iterator[int], top: int) -> tuple[list[Json], int]:
    """The panels in their places, and where what follows may begin."""
    placed, x, y, end = [], 0, top, top
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y = 0, end
        placed.append(panel.json(next(numbers), x, y))
        x, end = x + panel.width, max(end, y + panel.height)
    return placed, end


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "options": [],
        "multi": False,
        "includeAll": False,
        "hide": 0,
    }


def _annotations() -> Iterator[Json]:
    yield {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    firing = f'ALERTS{{alertstate="firing", alertname=~"{"|".join(thresholds.names())}"}}'
    yield _annotation("Alerts", "red", firing, "{{alertname}}", "{{service}} {{stage}} {{turn}} {{model}} {{reason}}")
    restarts = f"sum by (instance) (resets({select(_STARTED)}[$__rate_interval])) > 0"
    yield _annotation("Restarts of the agent", "blue", restarts, "Agent restarted", "{{instance}}")


def _annotation(name: str, color: str, expr: str, title: str, text: str) -> Json:
    return {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": expr,
        "iconColor": color,
        "name": name,
        "step": "",
        "tagKeys": "severity",
        "textFormat": text,
        "titleFormat": title,
        "useValueForTime": False,
    }


def _links() -> Json:
    return {
        "type": "dashboards",
        "title": "otel-latency",
        "tags": [TAG],
        "icon": "external link",
        "tooltip": "",
        "url": "",
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _mapping(match: str, text: str) -> Json:
    return {"type": "special", "options": {"match": match, "result": {"color": "text", "text": text}}}


def _dashed(level: str, color: str) -> Json:
    """A series named for a threshold is a line, not data."""
    return {
        "matcher": {"id": "byRegexp", "options": f"/^{level}\\b.*/"},
        "properties": [
            {"id": "color", "value": {"fixedColor": color, "mode": "fixed"}},
            {"id": "custom.lineStyle", "value": {"dash": [10, 10], "fill": "dash"}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.stacking", "value": {"group": False, "mode": "none"}},
        ],
    }


def _column(name: str, unit: str, steps: Steps) -> Json:
    properties: list[Json] = [{"id": "unit", "value": unit}]
    if len(steps) > 1:
        properties += [
            {"id": "thresholds", "value": {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in steps]}},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def _linked(label: str, links: Sequence[tuple[str, str]]) -> Json:
    addresses = [{"title": title, "url": address, "targetBlank": False} for title, address in links]
    return {"matcher": {"id": "byName", "options": label}, "properties": [{"id": "links", "value": addresses}]}
