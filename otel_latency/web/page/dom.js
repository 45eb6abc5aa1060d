// Nodes and text. Text of others is only ever set as text, without what could turn a line around or break it.

const MOST = 160;
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]/g;

export const byId = (id) => document.getElementById(id);

export function clean(text, most = MOST) {
  const plain = String(text ?? "").slice(0, 4 * most).replace(UNSEEN, " ");
  const letters = Array.from(plain);
  return letters.length > most ? letters.slice(0, most - 1).join("") + "…" : plain;
}

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, clean(value, 600));
  node.append(...children);
  return node;
}

/** A name that came from outside: cut where it does not fit, whole in its tooltip. */
export function name(text, tag = "span") {
  const shown = clean(text).trim() || "unnamed";
  return el(tag, { class: "name", title: clean(text, 600), dir: "auto" }, shown);
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setName(node, text) {
  setText(node, clean(text).trim() || (text === "\u00a0" ? text : "unnamed"));
  setAttribute(node, "title", clean(text, 600));
}

export function setAttribute(node, attribute, value) {
  if (node.getAttribute(attribute) !== value) node.setAttribute(attribute, value);
}

export function setStyle(node, property, value) {
  if (node.style.getPropertyValue(property) !== value) node.style.setProperty(property, value);
}

const rowsOf = new WeakMap();

/** Make the children of *parent* those of *items*, reusing nodes by key, so that focus and hover stay. */
export function keyed(parent, items, key, make, update) {
  const known = rowsOf.get(parent) ?? new Map();
  const next = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const id = key(item);
    if (next.has(id)) continue;
    const node = known.get(id) ?? make(item);
    update(node, item);
    next.set(id, node);
    if (place === node) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  for (const [id, node] of known) if (!next.has(id)) node.remove();
  rowsOf.set(parent, next);
}

/** Of many rows the first ones; the note beside the heading says how many there are. */
export function atMost(most, rows, section, note = "") {
  setText(section.querySelector("h2 small"), rows.length > most ? `${most} of ${rows.length}` : note);
  return rows.slice(0, most);
}

/** Show why there is nothing, where there is nothing. */
export function setEmpty(section, text) {
  const note = section.querySelector(".empty");
  note.hidden = !text;
  setText(note, text);
  const table = section.querySelector(".scroll");
  if (table) table.hidden = Boolean(text);
}
