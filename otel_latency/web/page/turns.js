// Turns as waterfalls: a lane for each stage, thick where it is on the critical path; and one turn in full.

import { byId, clean, el, keyed, name, setAttribute, setStyle, setText } from "./dom.js";
import { ago, clock, count, dollars, percent, seconds } from "./format.js";
import { turnKey } from "./model.js";

const SHOWN = 12;
const LANES = 8;
const SLOTS = 7;
const FIXED = { stt: 0, retrieval: 1, llm: 2, tts: 3 };
const SIGNS = { ok: ["✓", "ok"], error: ["✕", "error"], timeout: ["◷", "timeout"], cancelled: ["⊘", "cancelled"], interrupted: ["◧", "interrupted"] };
const UNOWNED = "unowned";

const slots = new Map();

/** A colour for a stage, always the same one; there are seven. */
function slot(stage) {
  if (stage in FIXED) return FIXED[stage];
  if (!slots.has(stage)) slots.set(stage, 4 + (slots.size % (SLOTS - 4)));
  return slots.get(stage);
}

export function showTurns(model, order, now) {
  const turns = [...model.turns.values()];
  const by = order === "slowest" ? (a, b) => b.duration_seconds - a.duration_seconds : (a, b) => end(b) - end(a);
  const shown = turns.sort(by).slice(0, SHOWN);
  const longest = Math.max(...shown.map(wholeSpan), 0.001);
  const stages = new Set(shown.flatMap((turn) => turn.stages.map((stage) => stage.stage)));
  const known = [...stages].sort((a, b) => slot(a) - slot(b) || (a < b ? -1 : 1)).slice(0, 10);
  keyed(byId("legend"), known, (stage) => stage, makeLegend, () => {});
  keyed(byId("turn-list"), shown, turnKey, makeTurn, (row, turn) => updateTurn(row, turn, longest, now));
  const note = shown.length ? `${seconds(longest)} across` : "none yet: a turn appears when its root span has ended";
  setText(byId("turns-note"), note);
}

function makeLegend(stage) {
  const sample = el("i", { class: `c${slot(stage)}` });
  return el("li", {}, sample, name(stage));
}

const end = (turn) => turn.start + turn.duration_seconds;

/** From the first moment of any of its parts to the last. */
function bounds(turn) {
  const starts = turn.stages.map((stage) => stage.start);
  const ends = turn.stages.map((stage) => stage.end);
  return [Math.min(turn.start, ...starts), Math.max(end(turn), ...ends)];
}

const wholeSpan = (turn) => bounds(turn)[1] - bounds(turn)[0];

function makeTurn(turn) {
  const link = el("a", { href: `#/turn/${turn.trace_id}${turn.span_id ? `/${turn.span_id}` : ""}`, class: "turn" });
  link.append(
    el("span", { class: "sign" }), name(turn.turn || "turn", "b"), name(turn.service), el("span", { class: "ago" }),
    el("span", { class: "strip" }), el("span", { class: "took" }),
  );
  return el("li", {}, link);
}

function updateTurn(row, turn, longest, now) {
  const link = row.firstChild;
  const [sign, , , past, strip, took] = link.children;
  setText(past, ago(end(turn), now));
  if (link.drawn !== turn) {
    const [glyph, word] = SIGNS[turn.status] ?? ["?", clean(turn.status)];
    setText(sign, glyph);
    setAttribute(sign, "title", word);
    setAttribute(link, "data-status", clean(turn.status));
    setText(took, seconds(turn.duration_seconds));
    const says = turn.status === "ok" ? "" : `, ${word}`;
    setAttribute(link, "aria-label", clean(`${turn.turn} of ${turn.service}, ${seconds(turn.duration_seconds)}${says}`));
    strip.replaceChildren(...bars(turn, LANES));
    link.drawn = turn;
  }
  setStyle(strip, "--scale", String(wholeSpan(turn) / longest));
}

/** The bars of a turn, placed in percent of its whole span. */
function bars(turn, lanes, withMarks = true) {
  const [from, to] = bounds(turn);
  const share = (time) => (100 * (time - from)) / Math.max(to - from, 1e-9);
  const place = (node, start, stop) => {
    node.style.setProperty("left", `${share(start)}%`);
    node.style.setProperty("width", `${Math.max(share(stop) - share(start), 0.3)}%`);
    return node;
  };
  const nodes = [];
  for (const stage of turn.stages.slice(0, lanes)) {
    const row = el("span", { class: "lane" });
    row.append(place(el("i", { class: `bar c${slot(stage.stage)}` }), stage.start, stage.end));
    for (const tile of critical(turn, stage)) {
      row.append(place(el("i", { class: `bar critical c${slot(stage.stage)}` }), tile.from, tile.to));
    }
    nodes.push(row);
  }
  const idle = turn.critical_path.filter((tile) => tile.stage === UNOWNED);
  if (idle.length) {
    const row = el("span", { class: "lane unowned" });
    row.append(...idle.map((tile) => place(el("i", { class: "bar critical" }), tile.from, tile.to)));
    nodes.push(row);
  }
  const goal = turn.critical_path.at(-1)?.to;
  if (withMarks && goal !== undefined && heard(turn)) {
    const mark = el("i", { class: "goal" });
    mark.style.setProperty("left", `${share(goal)}%`);
    nodes.push(mark);
  }
  return nodes;
}

const heard = (turn) => "first_audio" in turn.milestones || "first_audible" in turn.milestones;

/** Tiles of the critical path that lie in this stage: by name, and in time where several have it. */
function critical(turn, stage) {
  const same = turn.stages.filter((one) => one.stage === stage.stage);
  return joined(turn.critical_path).filter((tile) => {
    if (tile.stage !== stage.stage) return false;
    const owner = same.find((one) => one.start <= tile.from + 1e-6 && one.end >= tile.to - 1e-6) ?? same[0];
    return owner === stage;
  });
}

/** Tiles that follow each other in the same stage, as one. */
function joined(tiles) {
  const found = [];
  for (const tile of tiles) {
    const last = found.at(-1);
    if (last && last.stage === tile.stage && tile.from - last.to < 1e-6) found[found.length - 1] = { ...last, to: tile.to, seconds: last.seconds + tile.seconds };
    else found.push(tile);
  }
  return found;
}

/** Fill the dialog with the turn that the address names; answers whether there is one. */
export async function openTurn(identity, spanId, model) {
  const dialog = byId("turn");
  const body = byId("turn-body");
  const known = [...model.turns.values()].find((turn) => turn.trace_id === identity && (!spanId || turn.span_id === spanId));
  const turn = known ?? (await ask(identity, spanId));
  body.replaceChildren(...(turn.error ? refusal(identity, turn.error) : detail(turn)));
  if (!dialog.open) dialog.showModal();
}

async function ask(identity, spanId) {
  try {
    const query = spanId ? `?span_id=${encodeURIComponent(spanId)}` : "";
    const answer = await fetch(`/api/v1/turns/${encodeURIComponent(identity)}${query}`);
    return await answer.json();
  } catch {
    return { error: "the agent cannot be reached" };
  }
}

function refusal(identity, why) {
  return [el("h2", { id: "turn-title" }, "No such turn"), el("p", {}, clean(why, 300)), el("p", { class: "id" }, clean(identity))];
}

function detail(turn) {
  const [, word] = SIGNS[turn.status] ?? ["?", clean(turn.status)];
  const title = el("h2", { id: "turn-title" }, name(turn.turn || "turn", "b"), " of ", name(turn.service), ` took ${seconds(turn.duration_seconds)}`);
  const facts = [`${clock(turn.start)}, ended ${word}`, turn.session && `session ${clean(turn.session)}`, `trace ${clean(turn.trace_id)}`];
  return [
    title, el("p", { class: "id" }, facts.filter(Boolean).join("  ·  ")), el("p", { class: "verdict" }, clean(turn.verdict, 1200)),
    pathBar(turn), waterfall(turn), overlap(turn), milestones(turn),
  ];
}

/** What the wait was made of, as one bar. */
function pathBar(turn) {
  const total = turn.critical_path.reduce((sum, tile) => sum + tile.seconds, 0);
  const bar = el("div", { class: "path" });
  for (const tile of joined(turn.critical_path)) {
    const part = el("span", { class: tile.stage === UNOWNED ? "unowned" : `c${slot(tile.stage)}`, title: `${tile.stage}: ${seconds(tile.seconds)}` });
    part.style.setProperty("flex-grow", String(Math.max((100 * tile.seconds) / total, 0.2) || 1));
    if (tile.seconds > total * 0.09) part.append(el("b", {}, name(tile.stage)), ` ${percent(tile.seconds / total, 0)}`);
    bar.append(part);
  }
  const goal = heard(turn) ? "first audio" : "the end";
  return el("figure", {}, el("figcaption", {}, `Critical path: ${seconds(total)} to ${goal}`), bar);
}

function waterfall(turn) {
  const table = el("div", { class: "waterfall" });
  const drawn = bars(turn, turn.stages.length);
  turn.stages.forEach((stage, place) => {
    const call = stage.llm ? [stage.llm.provider, stage.llm.model].filter(Boolean).join(" ") : "";
    const label = el("span", { class: "what" }, name(stage.stage), call ? name(call, "small") : "");
    const exposed = stage.exposed_seconds > 0 ? seconds(stage.exposed_seconds) : "hidden";
    const took = el("span", { class: "took", title: "how long it took, and how much of that the user waited for" }, seconds(stage.end - stage.start), el("small", {}, exposed));
    const row = el("div", { class: "step", "data-status": stage.status }, label, drawn[place], took);
    for (const mark of marks(stage, turn)) drawn[place].append(mark);
    table.append(row);
    if (stage.llm) table.append(el("p", { class: "call" }, usage(stage.llm)));
  });
  return table;
}

function marks(stage, turn) {
  const [from, to] = bounds(turn);
  return Object.entries(stage.milestones).map(([what, after]) => {
    const mark = el("i", { class: "mark", title: `${what} after ${seconds(after)}` });
    mark.style.setProperty("left", `${(100 * (stage.start + after - from)) / Math.max(to - from, 1e-9)}%`);
    return mark;
  });
}

function usage(call) {
  const cost = call.cost_usd === null ? "" : `$ ${dollars(call.cost_usd)}`;
  const tokens = call.input_tokens === null && call.output_tokens === null ? "" : `${count(call.input_tokens)} tokens in, ${count(call.output_tokens)} out`;
  return [clean(call.task), tokens, cost].filter(Boolean).join("  ·  ");
}

function overlap(turn) {
  const { sum_seconds: sum, wall_seconds: wall, saved_seconds: saved, concurrency } = turn.overlap;
  const text = `${seconds(sum)} of work in ${seconds(wall)}: ${seconds(saved)} saved by overlap` + (concurrency ? `, ${concurrency.toFixed(2)} at a time` : "");
  return el("p", { class: "overlap" }, text);
}

function milestones(turn) {
  const list = el("dl", { class: "milestones" });
  for (const [what, after] of Object.entries(turn.milestones).sort((a, b) => a[1] - b[1])) {
    list.append(el("div", {}, el("dt", {}, name(what.replaceAll("_", " "))), el("dd", {}, seconds(after))));
  }
  return list;
}
