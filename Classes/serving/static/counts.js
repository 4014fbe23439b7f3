// How many cells there are of each group or class; a press on a line shows only its images.

import { byId, element, setText } from "./dom.js";
import { REVIEW } from "./images.js";
import { classTitle, groupTitle, hasGroups, hasTypes, models } from "./models.js";
import { formatPercent } from "./results.js";
import { formatNumber, t } from "./translation.js";

const GROUPS = "groups";
const CLASSES = "classes";

let level = GROUPS;
let pressed = "";
let changedSelection = () => {};
let drawn = "";

// `onSelect` is called when another group or class is selected.
export function listenForCounts(onSelect) {
  changedSelection = onSelect;
  for (const each of [GROUPS, CLASSES]) {
    byId(`level-${each}`).addEventListener("click", () => {
      level = each;
      pressed = "";
      changedSelection();
    });
  }
}

export function resetSelection() {
  pressed = "";
}

// Whether an image is of the selected group or class; all are if none is selected.
export function isSelected(image) {
  return !pressed || (image.result && nameOf(image.result) === pressed);
}

function nameOf(result) {
  return hasGroups() && level === GROUPS ? result.group : result.class;
}

export function showCounts(images) {
  const results = images.filter((image) => image.result).map((image) => image.result);
  byId("counts").hidden = !hasTypes() || results.length === 0;
  if (byId("counts").hidden) return;
  byId("levels").hidden = !hasGroups();
  for (const each of [GROUPS, CLASSES]) byId(`level-${each}`).setAttribute("aria-pressed", each === level);
  const counted = results.filter((result) => models.chosen.counted.includes(result.class));
  const lines = countLines(counted);
  setText(byId("counts-note"), note(results, counted));
  // Only if something changed, so that the focus stays where it is.
  const state = JSON.stringify([lines, counted.length, pressed, level]);
  if (state === drawn) return;
  drawn = state;
  const focused = document.activeElement?.dataset?.cell;
  byId("count-lines").replaceChildren(...lines.map((line) => countButton(line, counted.length)));
  [...byId("count-lines").querySelectorAll("button")].find((each) => each.dataset.cell === focused)?.focus();
}

// [[name, number]], the most frequent first.
function countLines(counted) {
  const numbers = new Map();
  for (const result of counted) numbers.set(nameOf(result), (numbers.get(nameOf(result)) ?? 0) + 1);
  return [...numbers].sort(([one, first], [other, second]) => second - first || one.localeCompare(other));
}

function countButton([name, number], total) {
  const title = hasGroups() && level === GROUPS ? groupTitle(name) : classTitle(name);
  const parts = [
    element("span", title, { className: "title" }),
    element("span", formatNumber(number), { className: "number" }),
    element("span", formatPercent(number / total, true), { className: "percent" }),
    element("meter", "", { min: 0, max: 1, value: number / total, ariaHidden: "true" }),
  ];
  const button = element("button", parts, { type: "button" });
  button.dataset.cell = name;
  button.setAttribute("aria-pressed", name === pressed);
  button.addEventListener("click", () => {
    pressed = name === pressed ? "" : name;
    changedSelection();
  });
  return element("li", button);
}

function note(results, counted) {
  const review = counted.filter((result) => result.outcome === REVIEW).length;
  const texts = [t("{counted} cells are counted, {review} of them need review.", { counted: formatNumber(counted.length), review: formatNumber(review) })];
  const others = results.length - counted.length;
  if (others) texts.push(t("{number} other images are not counted.", { number: formatNumber(others) }));
  return texts.join(" ");
}
