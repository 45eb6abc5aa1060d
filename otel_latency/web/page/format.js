// Numbers as people read them; an en dash for what is not known.

export const UNKNOWN = "–";

export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size === 0) return "0 ms";
  if (size < 0.00995) return `${(value * 1000).toFixed(1)} ms`;
  if (size < 0.9995) return `${(value * 1000).toFixed(0)} ms`;
  if (size < 9.995) return `${value.toFixed(2)} s`;
  if (size < 99.95) return `${value.toFixed(1)} s`;
  if (size < 5999.5) return `${Math.floor(value / 60)} m ${String(Math.floor(value % 60)).padStart(2, "0")} s`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function percent(ratio, digits = 1) {
  return ratio === null || ratio === undefined ? UNKNOWN : `${(ratio * 100).toFixed(digits)} %`;
}

export function rate(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

export function count(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  return value >= 1e4 ? `${(value / 1e3).toFixed(1)} k` : String(Math.round(value));
}

export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const place = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), units.length - 1);
  return `${(value / 1024 ** place).toFixed(place && value / 1024 ** place < 10 ? 1 : 0)} ${units[place]}`;
}

export function dollars(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value >= 1 ? value.toFixed(2) : value.toPrecision(2);
}

/** How long ago, roughly: "now", "12 s", "4 min", "2 h". */
export function ago(then, now) {
  const past = Math.max(now - then, 0);
  if (past < 1.5) return "now";
  if (past < 90) return `${Math.round(past)} s`;
  if (past < 5400) return `${Math.round(past / 60)} min`;
  return past < 129600 ? `${Math.round(past / 3600)} h` : `${Math.round(past / 86400)} d`;
}

const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export const clock = (unix) => CLOCK.format(new Date(unix * 1000));
