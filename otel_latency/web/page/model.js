// What the page knows: the latest snapshot, a minute of lines and columns, and the latest turns.

const KEPT_SECONDS = 75;
const KEPT_TURNS = 80;
const QUANTUM = 0.25;

export const keyOf = (one) => JSON.stringify([one.kind, one.service, one.name]);
export const turnKey = (turn) => `${turn.trace_id}/${turn.span_id}`;

/** How many values a column of the heatmap has: pairs of row and count. */
export const ended = (cells) => cells.reduce((sum, number, place) => (place % 2 ? sum + number : sum), 0);

export class Model {
  constructor() {
    this.snapshot = null;
    this.series = new Map(); // key -> {kind, service, name, lines: [[time, p50, p90, p99]], heat: Map(quantum -> [row, count, ...])}
    this.turns = new Map();
    this.tiles = new Map(); // name of a tile -> [[time, value]]
  }

  takeHistory(past) {
    const known = past.series.map((one) => this.line(one));
    known.forEach((line, index) => {
      const first = past.time - past.lines[index].length;
      const told = past.lines[index].map((values, second) => [first + second, ...values]);
      const missed = told.filter(([time]) => !line.lines.some((one) => Math.abs(one[0] - time) < 0.9));
      line.lines = [...missed, ...line.lines].sort((a, b) => a[0] - b[0]);
    });
    this.addHeat(past.heat, known);
    this.addTurns([...past.turns].sort((a, b) => a.start - b.start));
  }

  take(snapshot) {
    this.snapshot = snapshot;
    const { time, lines, heat, turns } = snapshot.live;
    const known = snapshot.page.series.map((one) => this.line(one));
    known.forEach((line, index) => {
      if (lines[index]) line.lines.push([time, ...lines[index]]);
    });
    this.addHeat(heat, known);
    this.addTurns(turns);
    this.forget(time);
  }

  /** Remember a tile's value, for its line. */
  note(name, time, value) {
    const points = this.tiles.get(name) ?? [];
    if (points.at(-1)?.[0] !== time) points.push([time, value]);
    while (points.length && points[0][0] < time - 60) points.shift();
    this.tiles.set(name, points);
    return points;
  }

  line(one) {
    const key = keyOf(one);
    if (!this.series.has(key)) this.series.set(key, { ...one, key, lines: [], heat: new Map() });
    return this.series.get(key);
  }

  addHeat(columns, known) {
    for (const [index, quantum, ...cells] of columns) {
      const before = known[index].heat.get(quantum);
      if (!before || ended(cells) >= ended(before)) known[index].heat.set(quantum, cells); // a history may be older
    }
  }

  addTurns(turns) {
    for (const turn of turns) this.turns.set(turnKey(turn), turn);
    if (this.turns.size <= KEPT_TURNS) return;
    const newest = [...this.turns.values()].sort((a, b) => b.start - a.start).slice(0, KEPT_TURNS);
    this.turns = new Map(newest.map((turn) => [turnKey(turn), turn]));
  }

  /** By service and stage, its share of the critical paths of the turns that are known. */
  shares() {
    const exposed = new Map();
    let total = 0;
    for (const turn of this.turns.values()) {
      for (const stage of turn.stages) {
        const key = JSON.stringify([stage.service, stage.stage]);
        exposed.set(key, (exposed.get(key) ?? 0) + stage.exposed_seconds);
      }
      total += turn.critical_path.reduce((sum, tile) => sum + tile.seconds, 0);
    }
    return new Map([...exposed].map(([key, seconds]) => [key, total ? seconds / total : null]));
  }

  forget(now) {
    const oldest = now - KEPT_SECONDS;
    for (const [key, line] of this.series) {
      while (line.lines.length && line.lines[0][0] < oldest) line.lines.shift();
      for (const quantum of line.heat.keys()) if (quantum * QUANTUM < oldest) line.heat.delete(quantum);
      if (!line.lines.length && !line.heat.size) this.series.delete(key);
    }
  }
}
