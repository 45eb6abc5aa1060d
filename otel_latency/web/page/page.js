// The live page: takes snapshots from the stream, shows them, and does what keys and buttons ask for.

import { Charts } from "./charts.js";
import { byId, clean, el, keyed, setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { ago, clock, seconds } from "./format.js";
import { Model, keyOf } from "./model.js";
import * as panels from "./panels.js";
import { openTurn, showTurns } from "./turns.js";

const KINDS = { turn: "Turns", first_audio: "First audio", stage: "Stages", first_token: "First token" };
const THEMES = ["auto", "dark", "light"];

const model = new Model();
const charts = new Charts(byId("lines"), byId("heat"), (text) => setText(byId("readout"), text));
const view = { paused: null, missed: 0, order: "latest", picked: null, isDirty: false, second: 0, theme: stored("theme") ?? "auto", receivers: null };
const feed = new Feed(take, showState);

function take(kind, told) {
  if (view.paused !== null) {
    view.missed += kind === "snapshot" ? 1 : 0;
    return showState();
  }
  if (kind === "history") return model.takeHistory(told);
  model.take(told);
  if (!view.isDirty) requestAnimationFrame(render);
  view.isDirty = true;
}

function render() {
  view.isDirty = false;
  const { snapshot } = model;
  const now = snapshot.live.time;
  const isNewSecond = view.second !== snapshot.timestamp;
  view.second = snapshot.timestamp;
  document.body.dataset.timestamp = String(snapshot.timestamp);
  document.body.dataset.renders = String(Number(document.body.dataset.renders ?? 0) + 1);
  showCharts(snapshot, now);
  showTurns(model, view.order, now);
  panels.showRunning(snapshot.live);
  panels.showTiles(model, isNewSecond);
  if (!isNewSecond) return;
  document.title = snapshot.alerts.length ? `◆ ${snapshot.alerts.length} firing · otel-latency` : "otel-latency";
  panels.showNow(snapshot, view.receivers);
  panels.showStages(snapshot, model.shares(), pick, picked(snapshot));
  panels.showProviders(snapshot.page.providers);
  panels.showAlerts(snapshot, now);
  panels.showErrors(snapshot);
  panels.showAnomalies(snapshot, now);
  panels.showChecks(snapshot);
  panels.showSystem(snapshot);
}

// --- the series that the charts show -----------------------------------------------------------------------------

function picked(snapshot) {
  const all = snapshot.page.series;
  return all.find((one) => view.picked === keyOf(one)) ?? all[0];
}

function showCharts(snapshot, now) {
  const chosen = picked(snapshot);
  const groups = Object.keys(KINDS).map((kind) => [kind, snapshot.page.series.filter((one) => one.kind === kind)]).filter(([, found]) => found.length);
  const select = byId("series");
  keyed(select, groups, ([kind]) => kind, ([kind]) => el("optgroup", { label: KINDS[kind] }), (group, [, found]) => {
    keyed(group, found, keyOf, makeOption, () => {});
  });
  select.hidden = !chosen;
  if (chosen && select.value !== keyOf(chosen)) select.value = keyOf(chosen);
  charts.show(chosen && model.series.get(keyOf(chosen)), chosen ? target(snapshot, chosen) : null, now);
}

function makeOption(one) {
  const option = el("option", {}, clean(`${one.name} of ${one.service}`, 60));
  option.value = keyOf(one);
  return option;
}

function target(snapshot, chosen) {
  if (chosen.kind === "stage") return snapshot.stages.find((one) => one.service === chosen.service && one.stage === chosen.name)?.target ?? null;
  return snapshot.milestones[chosen.kind]?.target ?? null;
}

function pick(one) {
  view.picked = keyOf(one);
  if (model.snapshot) render();
}

function pickNext(by) {
  const all = model.snapshot?.page.series ?? [];
  const at = all.findIndex((one) => keyOf(one) === keyOf(picked(model.snapshot)));
  if (all.length) pick(all[(at + by + all.length) % all.length]);
}

// --- connection, pause, theme ------------------------------------------------------------------------------------

const STATES = { connecting: "connecting", live: "live", stale: "no news", lost: "disconnected" };

function showState() {
  const isPaused = view.paused !== null;
  document.body.dataset.state = isPaused ? "paused" : feed.state;
  setText(byId("state-text"), isPaused ? "paused" : STATES[feed.state]);
  const now = Date.now() / 1000;
  const heard = feed.heard === null ? null : feed.heard / 1000;
  const banner = byId("banner");
  const isGone = feed.state === "lost" || feed.state === "stale";
  banner.hidden = !isGone && !isPaused;
  if (isPaused) setText(banner, `Paused: this is how it was at ${clock(view.paused)}. ${view.missed} snapshots have passed since.`);
  else if (isGone && heard === null) setText(banner, "The agent does not answer. Trying again.");
  else if (isGone) setText(banner, `No news from the agent for ${ago(heard, now)}: this is how it was at ${clock(heard)}. Trying again.`);
}

function togglePause() {
  if (view.paused === null && !model.snapshot) return;
  view.paused = view.paused === null ? model.snapshot.live.time : null;
  view.missed = 0;
  setAttribute(byId("pause"), "aria-pressed", String(view.paused !== null));
  setText(byId("pause"), view.paused === null ? "Pause" : "Go on");
  if (view.paused === null) feed.open(); // it begins with the minute that was missed
  showState();
}

function setTheme(theme) {
  view.theme = theme;
  document.documentElement.dataset.theme = theme;
  setText(byId("theme"), `Theme: ${theme}`);
  store("theme", theme);
  charts.repaint();
  view.second = 0;
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // it is forgotten, then
  }
}

// --- one turn, by its address ------------------------------------------------------------------------------------

function route() {
  const match = /^#\/turn\/([^/]+)(?:\/([^/]+))?$/.exec(location.hash);
  if (match) openTurn(decoded(match[1]), match[2] ?? "", model);
  else if (byId("turn").open) byId("turn").close();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function setOrder(order) {
  view.order = order;
  for (const button of document.querySelectorAll("[data-order]")) setAttribute(button, "aria-pressed", String(button.dataset.order === order));
  if (model.snapshot) render();
}

function focusTurn(by) {
  const links = [...byId("turn-list").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  links[Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

const KEYS = {
  p: togglePause,
  " ": togglePause,
  t: () => setTheme(THEMES[(THEMES.indexOf(view.theme) + 1) % THEMES.length]),
  "?": () => byId("help").showModal(),
  "[": () => pickNext(-1),
  "]": () => pickNext(1),
  j: () => focusTurn(1),
  k: () => focusTurn(-1),
  o: () => setOrder(view.order === "latest" ? "slowest" : "latest"),
};

function press(event) {
  const isTaken = event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]");
  const isTyping = event.target.closest("select, input, textarea") || (event.key === " " && event.target.closest("button, a"));
  if (isTaken || isTyping || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

async function readStatus() {
  try {
    const status = await (await fetch("/status")).json();
    view.receivers = status.receivers;
    setText(byId("meta"), clean(`${location.host}  ·  ${status.version}  ·  up ${seconds(status.uptime_seconds)}`));
  } catch {
    setText(byId("meta"), clean(location.host));
  }
}

byId("pause").addEventListener("click", togglePause);
byId("theme").addEventListener("click", KEYS.t);
byId("help-open").addEventListener("click", KEYS["?"]);
byId("series").addEventListener("change", (event) => { view.picked = event.target.value; if (model.snapshot) render(); });
byId("turn").addEventListener("close", () => { if (location.hash) history.replaceState(null, "", location.pathname); });
for (const button of document.querySelectorAll("[data-order]")) button.addEventListener("click", () => setOrder(button.dataset.order));
document.addEventListener("keydown", press);
window.addEventListener("hashchange", route);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.repaint());
setTheme(THEMES.includes(view.theme) ? view.theme : "auto");
readStatus();
feed.start();
route();
