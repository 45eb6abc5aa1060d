// Everything but charts and turns: what is slow now, tiles, and the tables and lists.

import { palette, sparkline } from "./charts.js";
import { atMost, byId, clean, el, keyed, name, setAttribute, setEmpty, setName, setStyle, setText } from "./dom.js";
import { ago, bytes, clock, count, dollars, percent, rate, seconds } from "./format.js";

const VERDICTS = { ok: ["✓", "ok"], slow: ["▲", "slow"], critical: ["◆", "critical"], unknown: ["·", "no target"] };
const HEADLINES = 3;
const LISTED = 8;
const MOST_ROWS = 20;

// --- what is slow, for whom, since when, why ---------------------------------------------------------------------

export function showNow(snapshot, receivers) {
  const { slow } = snapshot.page;
  const rows = slow.filter((one) => one.verdict === "critical").concat(slow.filter((one) => one.verdict !== "critical")).slice(0, HEADLINES);
  const isEmpty = !snapshot.turns.length && !snapshot.stages.length;
  const lines = rows.map((one) => ({ key: JSON.stringify([one.kind, one.service, one.name]), ...one }));
  if (!lines.length) lines.push({ key: "quiet", quiet: isEmpty ? waiting(receivers) : quiet(snapshot), isEmpty });
  else if (slow.length > HEADLINES) lines.at(-1).more = slow.length - HEADLINES;
  keyed(byId("now"), lines, (line) => line.key, makeHeadline, updateHeadline);
}

function waiting(receivers) {
  const at = receivers?.http ? ` to http://${receivers.http.host}:${receivers.http.port}` : "";
  return `Nothing has come in the last minutes. Send OTLP traces${at}, or start otel-latency demo for a look.`;
}

function quiet(snapshot) {
  const judged = snapshot.stages.filter((one) => one.verdict === "ok").length;
  if (!judged) return "No stage has a target: set some under targets in the configuration, and this line tells what is too slow.";
  return `Nothing is slow: ${judged === 1 ? "the stage with a target is" : `all ${judged} stages with a target are`} within it.`;
}

function makeHeadline(line) {
  if (line.quiet) return el("p", { class: "headline" }, el("span", { class: "verdict-sign" }), el("span", { class: "what" }));
  return el("p", { class: "headline" }, el("span", { class: "verdict-sign" }), el("span", { class: "what" }, name("", "b"), el("span", {}), name(""), el("span", {})), el("span", { class: "why" }));
}

function updateHeadline(node, line) {
  const [sign, what, why] = node.children;
  if (line.quiet) {
    setAttribute(node, "data-verdict", line.isEmpty ? "unknown" : "ok");
    setText(sign, line.isEmpty ? "○" : "✓");
    return setText(what, line.quiet);
  }
  const [glyph, word] = VERDICTS[line.verdict];
  setAttribute(node, "data-verdict", line.verdict);
  setText(sign, `${glyph} ${word}`);
  const [whose, of, service, rest] = what.children;
  setName(whose, line.kind === "stage" ? line.name : `${line.kind.replaceAll("_", " ")} of ${line.name}`);
  setText(of, " in ");
  setName(service, line.service);
  const since = line.since === null ? "" : `, since ${clock(line.since).slice(0, 5)}`;
  setText(rest, `: p95 ${seconds(line.p95)}, ${line.verdict === "critical" ? "limit" : "target"} ${seconds(line.limit)}${since}`);
  const more = line.more ? `and ${line.more} more below` : "";
  setText(why, [line.advice?.[0] ?? "", more].filter(Boolean).join("  ·  "));
}

// --- tiles -------------------------------------------------------------------------------------------------------

const TILES = [
  ["turns_per_second", "turns / s", (one) => [one.turns_per_second, rate(one.turns_per_second), sessions(one)]],
  ["p50", "p50", (one) => percentile(one, "p50")],
  ["p90", "p90", (one) => percentile(one, "p90")],
  ["p99", "p99", (one) => percentile(one, "p99")],
  ["first_audio", "first audio", firstAudio],
  ["error_ratio", "errors", (one) => [one.error_ratio, percent(one.error_ratio), one.success_ratio === null ? "" : `${percent(one.success_ratio)} succeed`]],
  ["running", "running", (one) => [one.operations.running, count(one.operations.running), oldest(one)]],
  ["alerts", "alerts", (one) => [one.alerts.length, count(one.alerts.length), one.page.pending.length ? `${one.page.pending.length} pending` : "none pending"]],
];

const sessions = (one) => (one.active_sessions === null ? "" : `${count(one.active_sessions)} sessions`);
const oldest = (one) => (one.operations.oldest_seconds === null ? "" : `oldest ${seconds(one.operations.oldest_seconds)}`);

function percentile(one, which) {
  const turn = one.turns[0];
  return [turn?.[which] ?? null, seconds(turn?.[which]), turn ? `${turn.turn}, ${turn.service}` : "no turns"];
}

function firstAudio(one) {
  const row = one.milestones.first_audio;
  return [row?.p50 ?? null, seconds(row?.p50), row ? `p95 ${seconds(row.p95)}` : "none heard", row?.verdict];
}

export function showTiles(model, isNewSecond) {
  const { snapshot } = model;
  const colours = isNewSecond ? palette() : null;
  keyed(byId("tiles"), TILES, ([id]) => id, makeTile, (node, [id, , read]) => {
    const [value, text, note, verdict] = read(snapshot);
    const [, shown, below, line] = node.children;
    setText(shown, text);
    setAttribute(shown, "data-value", JSON.stringify(value));
    setName(below, note || "\u00a0");
    setAttribute(node, "data-verdict", state(id, value, verdict));
    if (isNewSecond) sparkline(line, model.note(id, snapshot.timestamp, value), snapshot.live.time, colours.accent);
  });
}

function state(id, value, verdict) {
  if (id === "alerts" && value) return "critical";
  if (id === "error_ratio" && value > 0.05) return "slow";
  return verdict ?? "unknown";
}

function makeTile([id, label]) {
  return el("div", { class: "tile", "data-tile": id }, el("h2", {}, label), el("output", {}), name("", "p"), el("canvas", { "aria-hidden": "true" }));
}

// --- stages ------------------------------------------------------------------------------------------------------

const name_ = (row) => `${row.stage}/${row.service}`;

/** *shares* tells by service and stage how much of what users waited for it was. */
export function showStages(snapshot, shares, pick, picked) {
  const order = ["critical", "slow", "ok", "unknown"];
  const rows = [...snapshot.stages].sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || (name_(a) < name_(b) ? -1 : 1));
  const trends = new Map(snapshot.trends.map((one) => [`${one.service}/${one.stage}`, one]));
  keyed(byId("stage-rows"), atMost(MOST_ROWS, rows, byId("stages"), "last minute"), (row) => JSON.stringify([row.service, row.stage]), (row) => makeStage(row, pick), (node, row) => updateStage(node, row, trends, shares, picked));
  setEmpty(byId("stages"), rows.length ? "" : "No stage has ended in the last minute.");
}

function makeStage(row, pick) {
  const button = el("button", { type: "button", class: "plain" }, name(row.stage || "others"), name(row.service, "small"));
  button.addEventListener("click", () => pick({ kind: "stage", service: row.service, name: row.stage || "others" }));
  const gauge = el("span", { class: "gauge" }, el("i", { class: "fill" }), el("i", { class: "target" }));
  return el("tr", {}, el("th", { scope: "row" }, button), el("td", { class: "range" }, gauge), el("td", { class: "p50" }), el("td"), el("td"), el("td", { class: "text" }));
}

function updateStage(node, row, trends, shares, picked) {
  const [head, range, p50, p95, share, verdict] = node.children;
  const [fill, target] = range.firstChild.children;
  const limit = row.critical ?? row.target;
  const most = limit === null ? null : Math.max(limit * 1.25, row.p95 ?? 0);
  setStyle(fill, "width", most ? `${(100 * (row.p95 ?? 0)) / most}%` : "0");
  setStyle(target, "left", most && row.target !== null ? `${(100 * row.target) / most}%` : "-9px");
  setAttribute(range, "title", row.target === null ? "no target is set" : `target ${seconds(row.target)}${row.critical === null ? "" : `, critical ${seconds(row.critical)}`}`);
  setText(p50, seconds(row.p50));
  setText(p95, seconds(row.p95));
  setText(share, percent(shares.get(JSON.stringify([row.service, row.stage])), 0));
  const [glyph, word] = VERDICTS[row.verdict];
  const trend = trends.get(`${row.service}/${row.stage}`);
  setText(verdict, `${glyph} ${word}${trend ? ` ${trend.direction === "slower" ? "↗" : "↘"}` : ""}`);
  setAttribute(verdict, "title", clean([trend ? `${trend.percentile} was ${seconds(trend.before)}, is ${seconds(trend.now)}` : "", ...row.advice].filter(Boolean).join("; "), 400));
  setAttribute(node, "data-verdict", row.verdict);
  setAttribute(head.firstChild, "aria-pressed", String(picked?.kind === "stage" && picked.service === row.service && picked.name === row.stage));
}

// --- running operations ------------------------------------------------------------------------------------------

export function showRunning(live) {
  const rows = live.operations.slice(0, LISTED + 4);
  keyed(byId("running-rows"), rows, (row) => row.span_id, makeRunning, updateRunning);
  setText(byId("running-note"), live.running > rows.length ? `the oldest ${rows.length} of ${live.running}` : "elapsed of expected");
  setEmpty(byId("running"), rows.length ? "" : "Nothing is running, as far as it was reported.");
}

function makeRunning(row) {
  const what = el("span", { class: "what" }, name(row.stage || row.task || "operation"), name([row.task, row.model || row.provider || row.service].filter(Boolean).join(" · "), "small"));
  return el("li", {}, what, el("span", { class: "gauge" }, el("i", { class: "fill" }), el("i", { class: "target" })), el("span", { class: "took" }));
}

function updateRunning(node, row) {
  const [, gauge, took] = node.children;
  const [fill, expected] = gauge.children;
  const estimate = row.estimate_seconds;
  const whole = Math.max(estimate ?? 0, row.elapsed_seconds) * (row.elapsed_seconds > (estimate ?? Infinity) ? 1.05 : 1) || 1;
  setStyle(fill, "width", `${(100 * row.elapsed_seconds) / whole}%`);
  setStyle(expected, "left", estimate === null ? "-9px" : `${Math.min((100 * estimate) / whole, 99.5)}%`);
  const isLate = estimate !== null && row.elapsed_seconds > estimate;
  setAttribute(node, "data-verdict", row.is_warning ? "critical" : isLate ? "slow" : "unknown");
  setText(took, `${row.is_warning ? "◆ " : isLate ? "▲ " : ""}${seconds(row.elapsed_seconds)} of ${estimate === null ? "?" : seconds(estimate)}`);
}

// --- providers ---------------------------------------------------------------------------------------------------

export function showProviders(found) {
  const rows = found?.providers ?? [];
  const most = Math.max(...rows.map((row) => row.p95 ?? 0), 0.001);
  keyed(byId("provider-rows"), atMost(MOST_ROWS, rows, byId("providers"), "last hour"), (row) => JSON.stringify([row.provider, row.model]), makeProvider, (node, row) => updateProvider(node, row, most, rows));
  setEmpty(byId("providers"), rows.length ? "" : found ? "No call of a model in the last hour." : "Not read yet.");
}

function makeProvider(row) {
  const range = el("span", { class: "gauge span" }, el("i", { class: "fill" }), el("i", { class: "target" }));
  const cells = Array.from({ length: 5 }, () => el("td"));
  return el("tr", {}, el("th", { scope: "row" }, name(row.model || "any model"), name(row.provider || "unknown", "small")), el("td"), el("td", { class: "range" }, range), ...cells, el("td", { class: "text" }));
}

function updateProvider(node, row, most, rows) {
  const [, calls, range, p50, p95, token, success, cost, against] = node.children;
  const [fill, middle] = range.firstChild.children;
  setText(calls, count(row.count));
  setStyle(fill, "left", `${(100 * (row.p50 ?? 0)) / most}%`);
  setStyle(fill, "width", `${(100 * Math.max((row.p95 ?? 0) - (row.p50 ?? 0), 0)) / most}%`);
  setStyle(middle, "left", `${(100 * (row.p50 ?? 0)) / most}%`);
  setText(p50, seconds(row.p50));
  setText(p95, seconds(row.p95));
  setText(token, seconds(row.first_token?.p50));
  setText(success, percent(row.success_ratio));
  setText(cost, dollars(row.cost_per_call_usd));
  setName(against, difference(row, rows));
}

function difference(row, rows) {
  const found = row.difference;
  if (!found) return row === rows[0] && row.p50 !== null ? "fastest" : "never succeeded";
  if (found.verdict === "same") return "no difference shown";
  return `${seconds(Math.abs(found.seconds))} ${found.seconds > 0 ? "slower" : "faster"}`;
}

// --- alerts, errors, anomalies, checks ---------------------------------------------------------------------------

export function showAlerts(snapshot, now) {
  const rows = atMost(2 * LISTED, [...snapshot.alerts, ...snapshot.page.pending], byId("alerts"));
  keyed(byId("alert-rows"), rows, (row) => JSON.stringify(row.labels), makeNote, (node, row) => {
    const { alertname, severity, ...rest } = row.labels;
    const isFiring = row.state === "firing";
    const level = !isFiring ? "unknown" : severity === "critical" ? "critical" : "slow";
    const about = row.annotations.summary || Object.values(rest).join(" ");
    const since = ago(Date.parse(row.activeAt) / 1000, now);
    updateNote(node, level, isFiring ? `${severity === "critical" ? "◆" : "▲"} firing` : "○ pending", alertname, about, since, row.annotations.description);
  });
  setEmpty(byId("alerts"), rows.length ? "" : "No alert fires, and none is pending.");
}

export function showErrors(snapshot) {
  const rows = snapshot.top_errors.slice(0, LISTED);
  keyed(byId("error-rows"), rows, (row) => JSON.stringify([row.kind, row.service, row.turn, row.stage, row.provider, row.model, row.task, row.status]), makeNote, (node, row) => {
    const what = row.turn || row.stage || [row.provider, row.model].filter(Boolean).join(" ") || "others";
    const types = Object.entries(row.error_types).map(([type, times]) => `${type} ${times}`).join(", ");
    updateNote(node, "slow", `${count(row.count)} ×`, what, [row.kind === "llm" ? "call" : row.kind, row.service, row.status, types].filter(Boolean).join(" · "), "", "");
  });
  setEmpty(byId("errors"), rows.length ? "" : "Nothing failed in the last minute.");
}

export function showAnomalies(snapshot, now) {
  const rows = snapshot.page.anomalies.slice(0, LISTED);
  keyed(byId("anomaly-rows"), rows, (row) => JSON.stringify([row.kind, row.time, row.span_id]), makeNote, (node, row) => {
    const word = { slow_call: "slow call", level_shift: "all slower", tail_shift: "tail slower" }[row.kind] ?? clean(row.kind);
    const link = row.trace_id && row.kind === "slow_call" ? `#/turn/${row.trace_id}` : "";
    updateNote(node, "unknown", word, row.stage || row.task, row.text, ago(row.time, now), row.text, link);
  });
  setEmpty(byId("anomalies"), rows.length ? "" : "Nothing is unlike its own past.");
}

export function showChecks(snapshot) {
  keyed(byId("check-rows"), snapshot.checks, (row) => row.check, makeNote, (node, row) => {
    updateNote(node, row.up ? "ok" : "critical", row.up ? "✓ up" : "✕ down", row.check, row.up ? "" : row.error, seconds(row.seconds), row.error);
  });
  setEmpty(byId("checks"), snapshot.checks.length ? "" : "No external service is watched.");
}

function makeNote() {
  return el("li", {}, el("span", { class: "verdict-sign" }), el("span", { class: "what" }, name("", "b"), name("", "small")), el("span", { class: "took" }));
}

function updateNote(node, level, sign, what, about, aside, title, link = "") {
  const [glyph, text, past] = node.children;
  setAttribute(node, "data-verdict", level);
  setText(glyph, sign);
  setName(text.children[0], what);
  text.children[1].hidden = !about;
  setName(text.children[1], about);
  setAttribute(text, "title", clean(title, 600));
  if (link && !past.firstElementChild) past.replaceChildren(el("a", { href: link }));
  setText(past.firstElementChild ?? past, aside);
}

// --- system ------------------------------------------------------------------------------------------------------

export function showSystem(snapshot) {
  const { machine, judgements } = snapshot.page;
  const { system } = snapshot;
  const rows = [
    ["CPU", system.cpu_ratio, percent(system.cpu_ratio, 0), machine.load1 === null ? "" : `load ${machine.load1.toFixed(2)}`],
    ["memory", system.memory_ratio, percent(system.memory_ratio, 0), ""],
    ["throttled", machine.throttled_ratio, percent(machine.throttled_ratio, 0), "of the container's periods"],
    ["disk used", machine.disk_free_ratio === null ? null : 1 - machine.disk_free_ratio, percent(machine.disk_free_ratio === null ? null : 1 - machine.disk_free_ratio, 0), ""],
    ...Object.entries(machine.pressure).filter(([of]) => of.includes("some")).map(([of, ratio]) => [`${of.replace("some", "").trim()} pressure`, ratio, percent(ratio, 0), ""]),
    ...machine.gpus.flatMap(gpuRows),
    ...(machine.gpus.length ? [] : [["GPU", null, "none seen", ""]]),
    ...(system.connections === null ? [] : [["connections", null, count(system.connections), ""]]),
    ...(system.queue === null ? [] : [["queue", null, count(system.queue), ""]]),
    ...snapshot.workers.map((one) => [`process ${one.worker}`, one.cpu_ratio, one.up ? percent(one.cpu_ratio, 0) : "✕ down", bytes(one.resident_memory_bytes)]),
  ].filter(([label, ratio, text]) => ratio !== null || text !== "–" || label === "CPU" || label === "memory");
  keyed(byId("system-rows"), rows, ([label]) => label, makeGauge, updateGauge);
  const short = judgements.filter((one) => one.status !== "ok");
  keyed(byId("judgement-rows"), short, (one) => one.resource, makeNote, (node, one) => updateNote(node, "slow", "▲ short", one.resource, one.reason, "", one.reason));
}

function gpuRows(gpu) {
  const memory = gpu.memory_total_bytes ? gpu.memory_used_bytes / gpu.memory_total_bytes : null;
  const heat = gpu.temperature_celsius === null ? "" : `${gpu.temperature_celsius.toFixed(0)} °C`;
  return [
    [`GPU ${gpu.gpu}`, gpu.utilization_ratio, percent(gpu.utilization_ratio, 0), heat],
    [`GPU ${gpu.gpu} memory`, memory, percent(memory, 0), memory === null ? "" : `${bytes(gpu.memory_used_bytes)} of ${bytes(gpu.memory_total_bytes)}`],
  ];
}

function makeGauge([label]) {
  return el("li", {}, name(label), el("span", { class: "gauge" }, el("i", { class: "fill" })), el("span", { class: "took" }), el("small", {}));
}

function updateGauge(node, [, ratio, text, note]) {
  const [, gauge, figure, small] = node.children;
  setStyle(gauge.firstChild, "width", `${100 * Math.min(Math.max(ratio ?? 0, 0), 1)}%`);
  setAttribute(node, "data-verdict", ratio > 0.95 ? "critical" : ratio > 0.85 ? "slow" : "unknown");
  setText(figure, text);
  setText(small, note);
}

