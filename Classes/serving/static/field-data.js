// Styles and names of the types of cells, which the server puts into the page; see field_page.py.

import { t } from "./translation.js";

const data = JSON.parse(document.getElementById("field-data")?.textContent || "{}");

// What a person calls a "cell" that is none. As Data.py Fields reads it.
export const NO_WHITE_CELL = "no white cell";

const SVG = "http://www.w3.org/2000/svg";

// [{group, key}] that a person can choose: one key each.
export const CHOICES = () => [
  ...data.choices.map((group, index) => ({ group, key: String(index + 1) })),
  { group: NO_WHITE_CELL, key: "x" },
];

export function styleOf(group) {
  return data.types[group] ?? (group.endsWith("blast") ? data.blast : data.other);
}

export function typeTitle(name) {
  return name === NO_WHITE_CELL ? t("no white cell") : (data.names[name] ?? name);
}

export const flagText = (flag) => data.flags[flag];
export const FLAGS = Object.keys(data.flags ?? {});

export function scaleText({ um_per_pixel: microns, scale_source: source }, format) {
  if (microns === null) return t("scale unknown");
  return t("{scale} µm per pixel ({source})", { scale: format(microns, 3), source: data.sources[source] ?? source });
}

export function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The symbol of a type in its color, or in another one.
export function symbol(group, fill) {
  const style = styleOf(group);
  const shape = svg("polygon", { points: style.symbol, fill: fill ?? style.color });
  if (!fill) shape.setAttribute("class", "edged");
  return svg("svg", { viewBox: "-1.2 -1.2 2.4 2.4", class: "symbol", "aria-hidden": "true" }, shape);
}

// Its line and symbol, for a legend.
export function sample(group) {
  const { color, dash, weight, symbol: points } = styleOf(group);
  const line = { x1: 1, x2: 35, y1: 8, y2: 8, stroke: color, "stroke-width": 3 * weight, "stroke-dasharray": dash.map((each) => 3 * each).join(" ") };
  const shape = svg("polygon", { points, fill: color, class: "edged", transform: "translate(18 8) scale(6)" });
  return svg("svg", { viewBox: "0 0 36 16", class: "sample", "aria-hidden": "true" }, svg("line", line), shape);
}
