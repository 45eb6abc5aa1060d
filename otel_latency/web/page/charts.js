// Lines and heatmap of one series over the last minute, with one cursor over both.

import { clock, seconds } from "./format.js";
import { ended } from "./model.js";

export const SPAN = 60;
const QUANTUM = 0.25;
const LEFT = 52;
const RIGHT = 74;
const TOP = 8;
const FOOT = 18;
const FEWEST_ROWS = 10;
const STEPS = [1, 2, 2.5, 5, 10];

export class Charts {
  /** *told* gets what lies under the cursor, as text, or nothing. */
  constructor(lines, heat, told) {
    this.parts = [lines, heat];
    this.told = told;
    this.cursor = null; // seconds before the right edge
    this.colours = null;
    for (const part of this.parts) {
      part.addEventListener("pointermove", (event) => this.point(part, event));
      part.addEventListener("pointerleave", () => this.move(null));
      part.addEventListener("blur", () => this.move(null));
      part.addEventListener("keydown", (event) => this.step(event));
    }
    new ResizeObserver(() => this.draw()).observe(lines);
  }

  /** *line* is a series of the model, *target* its limit in seconds or null, *now* the right edge. */
  show(line, target, now) {
    this.line = line;
    this.target = target;
    this.now = now;
    this.draw();
  }

  repaint() {
    this.colours = null;
    this.draw();
  }

  point(part, event) {
    const box = part.getBoundingClientRect();
    const width = box.width - LEFT - RIGHT;
    const share = (event.clientX - box.left - LEFT) / width;
    this.move(share < 0 || share > 1 ? null : (1 - share) * SPAN);
  }

  step(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    const by = (event.shiftKey ? 5 : 1) * (event.key === "ArrowLeft" ? 1 : -1);
    this.move(Math.min(Math.max((this.cursor ?? 0) + by, 0), SPAN));
  }

  move(cursor) {
    this.cursor = cursor;
    this.draw();
  }

  draw() {
    if (!this.now) return;
    this.colours ??= palette();
    const [lines, heat] = this.parts.map((part) => new Plot(part, this.now, this.colours));
    this.drawLines(lines);
    this.drawHeat(heat);
    this.told(this.cursor === null || !this.line ? "" : this.reading(this.now - this.cursor));
    if (this.cursor !== null) for (const plot of [lines, heat]) plot.vertical(this.now - this.cursor);
  }

  drawLines(plot) {
    const points = (this.line?.lines ?? []).filter(([time]) => time > this.now - SPAN - 1);
    const values = points.flatMap(([, ...three]) => three).filter((value) => value !== null);
    if (!values.length) return plot.say("no values in the last minute");
    const most = Math.max(...values, this.target && this.target < 2 * Math.max(...values) ? this.target : 0);
    const scale = niceScale(most * 1.08, 4);
    const at = (value) => plot.bottom - (value / scale.most) * (plot.bottom - TOP);
    for (const tick of scale.ticks) plot.grid(at(tick), seconds(tick));
    plot.times();
    if (this.target && this.target <= scale.most) plot.limit(at(this.target), `target ${seconds(this.target)}`);
    const labels = [];
    [["p99", 3, [1.5, 3]], ["p90", 2, [5, 3]], ["p50", 1, []]].forEach(([label, column, dash]) => {
      const last = plot.line(points.map((point) => [point[0], point[column]]), at, this.colours[label], dash, label === "p50" ? 2 : 1.5);
      if (last !== null) labels.push({ text: `${label} ${seconds(last)}`, y: at(last), colour: this.colours[label] });
    });
    plot.ends(labels);
  }

  drawHeat(plot) {
    const columns = [...(this.line?.heat ?? [])].filter(([quantum]) => quantum * QUANTUM > this.now - SPAN - 1);
    if (!columns.length) return plot.say("nothing ended in the last minute");
    let [low, high, most] = [Infinity, -Infinity, 1];
    for (const [, cells] of columns) {
      for (let place = 0; place < cells.length; place += 2) {
        low = Math.min(low, cells[place]);
        high = Math.max(high, cells[place]);
        most = Math.max(most, cells[place + 1]);
      }
    }
    const spare = Math.max(FEWEST_ROWS - (high - low + 1), 0);
    low -= Math.ceil(spare / 2);
    high += Math.floor(spare / 2);
    const step = (plot.bottom - TOP) / (high - low + 1);
    const at = (row) => plot.bottom - (row - low + 1) * step;
    plot.times();
    const every = high - low > 24 ? 8 : 4;
    for (let row = low; row <= high; row++) {
      if (row % every === 0) plot.grid(at(row), seconds(2 ** (row / 4)), true);
    }
    const width = Math.max(plot.perSecond * QUANTUM - 0.5, 2.2);
    for (const [quantum, cells] of columns) {
      const x = plot.x(quantum * QUANTUM);
      if (x < LEFT - 1) continue;
      for (let place = 0; place < cells.length; place += 2) {
        plot.cell(x, at(cells[place]) + 0.5, width, step - 1, this.colours.heat(cells[place + 1] / most));
      }
    }
    plot.aside(["per 250 ms", `most ${most}`]);
  }

  reading(time) {
    const near = this.line.lines.reduce((best, one) => (Math.abs(one[0] - time) < Math.abs((best?.[0] ?? -1e9) - time) ? one : best), null);
    const cells = this.line.heat.get(Math.floor(time / QUANTUM)) ?? [];
    const figures = near && Math.abs(near[0] - time) < 1.5 ? ` p50 ${seconds(near[1])}  p90 ${seconds(near[2])}  p99 ${seconds(near[3])}` : "";
    return `${clock(time)} ${figures}  ${ended(cells)} ended`;
  }
}

class Plot {
  constructor(part, now, colours) {
    const canvas = part.firstElementChild;
    const density = window.devicePixelRatio || 1;
    this.width = part.clientWidth;
    this.height = part.clientHeight;
    if (canvas.width !== Math.round(this.width * density) || canvas.height !== Math.round(this.height * density)) {
      canvas.width = Math.round(this.width * density);
      canvas.height = Math.round(this.height * density);
    }
    this.now = now;
    this.colours = colours;
    this.bottom = this.height - FOOT;
    this.right = this.width - RIGHT;
    this.perSecond = (this.right - LEFT) / SPAN;
    this.pen = canvas.getContext("2d");
    this.pen.setTransform(density, 0, 0, density, 0, 0);
    this.pen.clearRect(0, 0, this.width, this.height);
    this.pen.font = `11px ${colours.font}`;
    this.pen.textBaseline = "middle";
  }

  x(time) {
    return this.right - (this.now - time) * this.perSecond;
  }

  text(text, x, y, align = "left", colour = this.colours.muted) {
    this.pen.fillStyle = colour;
    this.pen.textAlign = align;
    this.pen.fillText(text, x, y);
  }

  say(text) {
    this.text(text, this.width / 2, this.height / 2, "center");
  }

  rule(x1, y1, x2, y2, colour, dash = []) {
    this.pen.strokeStyle = colour;
    this.pen.lineWidth = 1;
    this.pen.setLineDash(dash);
    this.pen.beginPath();
    this.pen.moveTo(x1, y1);
    this.pen.lineTo(x2, y2);
    this.pen.stroke();
    this.pen.setLineDash([]);
  }

  grid(y, label, isBetween = false) {
    const line = Math.round(y) + 0.5;
    this.rule(LEFT, line, this.right, line, this.colours.grid);
    this.text(label, LEFT - 8, isBetween ? line : Math.max(line, 6), "right");
  }

  times() {
    const every = this.perSecond * 15 < 55 ? 30 : 15;
    for (let past = 0; past <= SPAN; past += every) {
      const x = Math.round(this.x(this.now - past)) + 0.5;
      this.rule(x, TOP, x, this.bottom, this.colours.grid);
      this.text(past ? `−${past} s` : "now", x, this.bottom + 11, past === SPAN ? "left" : "center");
    }
  }

  limit(y, label) {
    this.rule(LEFT, y, this.right, y, this.colours.limit, [6, 4]);
    this.text(label, LEFT + 6, y - 7, "left", this.colours.limit);
  }

  line(points, at, colour, dash, width) {
    this.pen.save();
    this.pen.beginPath();
    this.pen.rect(LEFT, 0, this.right - LEFT, this.height);
    this.pen.clip();
    this.pen.strokeStyle = colour;
    this.pen.lineWidth = width;
    this.pen.lineJoin = "round";
    this.pen.setLineDash(dash);
    this.pen.beginPath();
    let [before, last] = [null, null];
    for (const [time, value] of points) {
      if (value === null) before = null;
      else {
        if (before === null || time - before > 3) this.pen.moveTo(this.x(time), at(value));
        else this.pen.lineTo(this.x(time), at(value));
        before = time;
      }
      last = value;
    }
    this.pen.stroke();
    this.pen.restore();
    return last;
  }

  /** Labels at the right end of lines, moved apart. */
  ends(labels) {
    labels.sort((a, b) => a.y - b.y);
    let floor = 6;
    for (const label of labels) {
      label.y = Math.max(label.y, floor);
      floor = label.y + 13;
    }
    let ceiling = this.bottom;
    for (const label of labels.reverse()) {
      label.y = Math.min(label.y, ceiling);
      ceiling = label.y - 13;
      this.text(label.text, this.right + 6, label.y, "left", label.colour);
    }
  }

  aside(texts) {
    texts.forEach((text, line) => this.text(text, this.right + 6, TOP + 6 + 14 * line));
  }

  cell(x, y, width, height, colour) {
    this.pen.fillStyle = colour;
    this.pen.fillRect(Math.max(x, LEFT), y, Math.min(width, this.right - x), height);
  }

  vertical(time) {
    this.rule(this.x(time), TOP, this.x(time), this.bottom, this.colours.text);
  }
}

/** A small line without axes, for a tile. */
export function sparkline(canvas, points, now, colour) {
  const density = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * density;
  canvas.height = height * density;
  const pen = canvas.getContext("2d");
  pen.scale(density, density);
  const known = points.filter(([, value]) => value !== null && value !== undefined);
  if (known.length < 2) return;
  const most = Math.max(...known.map(([, value]) => value)) || 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.25;
  pen.beginPath();
  for (const [time, value] of known) pen.lineTo(width - ((now - time) / SPAN) * width, height - 2 - (value / most) * (height - 4));
  pen.stroke();
}

export function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const [faint, strong] = [of("--heat-faint"), of("--heat-strong")].map((text) => text.split(" ").map(Number));
  const heat = (share) => {
    const root = Math.sqrt(share);
    return `rgb(${faint.map((from, place) => Math.round(from + (strong[place] - from) * root)).join(" ")})`;
  };
  return {
    heat, text: of("--text"), muted: of("--muted"), grid: of("--grid"), limit: of("--slow"), font: of("--font"),
    p50: of("--p50"), p90: of("--p90"), p99: of("--p99"), accent: of("--accent"),
  };
}

function niceScale(most, count) {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = STEPS.map((each) => each * power).find((each) => each >= rough * 0.999);
  const ticks = [];
  for (let tick = 0; tick < most + step * 0.999; tick += step) ticks.push(tick);
  return { most: ticks.at(-1), ticks };
}
