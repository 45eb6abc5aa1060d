"""The committed dashboards as a TypeScript program that compiles only if they have the types of @grafana/schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

from shown import DASHBOARDS, panels

PANELS = {
    "heatmap": ("heatmap/panelcfg/x/HeatmapPanelCfg", True),
    "stat": ("stat/panelcfg/x/StatPanelCfg", False),
    "state-timeline": ("statetimeline/panelcfg/x/StateTimelinePanelCfg", True),
    "table": ("table/panelcfg/x/TablePanelCfg", False),
    "timeseries": ("timeseries/panelcfg/x/TimeSeriesPanelCfg", True),
}
"""Where each type of panel says what its options are, and whether it says so of its fields."""
HEAD = """\
import type { AnnotationQuery, Dashboard, TableFieldOptions } from '@grafana/schema';

// JSON has no enums: their values stand for them.
type Plain<T> = T extends string
  ? `${T}`
  : T extends number ? number : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// What the Prometheus data source adds to an annotation is in no schema.
type Annotation = AnnotationQuery & {
  expr?: string; step?: string; tagKeys?: string; textFormat?: string; titleFormat?: string; useValueForTime?: boolean;
};
type Whole = Omit<Dashboard, 'annotations'> & { annotations: { list: Annotation[] } };
"""


def program() -> str:
    return "\n".join([HEAD, *_imports(), *_constants()])


def _imports() -> Iterator[str]:
    for type_, (module, _) in PANELS.items():
        yield f"import type * as {_name(type_)} from '@grafana/schema/dist/esm/raw/composable/{module}_types.gen';"
    fields = {_name(type_): f"{_name(type_)}.FieldConfig" for type_, (_, has_fields) in PANELS.items() if has_fields}
    fields |= {"stat": "Record<string, never>", "table": "TableFieldOptions"}
    yield f"type Fields = {{ {'; '.join(f'{name}: {type_}' for name, type_ in fields.items())} }};"


def _constants() -> Iterator[str]:
    for number, dashboard in enumerate(DASHBOARDS.values()):
        yield f"export const dashboard{number}: Plain<Partial<Whole>> = {json.dumps(dashboard)};"
        for panel in panels(dashboard):
            name = f"{number}_{panel['id']}"
            kind = _name(panel["type"])
            yield f"export const options{name}: Plain<Partial<{kind}.Options>> = {json.dumps(panel['options'])};"
            custom = panel["fieldConfig"]["defaults"]["custom"]
            yield f"export const custom{name}: Plain<Partial<Fields['{kind}']>> = {json.dumps(custom)};"


def _name(type_: str) -> str:
    return type_.replace("-", "")
