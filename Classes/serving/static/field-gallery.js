// The cells by type, the rarest type and the least certain cells first. One stop of the Tab key; arrow keys move.

import { byId, element } from "./dom.js";
import { allCells, byRarity, cellsOf } from "./field-cells.js";
import { FLAGS, flagText, sample, symbol, typeTitle } from "./field-data.js";
import { formatPercent } from "./results.js";
import { formatNumber, t } from "./translation.js";

const gallery = byId("field-gallery");
const buttons = new WeakMap();

let scope = "one";
let cells = [];
let chosen;
let onSelect = () => {};
let changedScope = () => {};

// `onSelected(cell)` is called if a cell is chosen, `onScope` if other cells are to be shown.
export function listenForGallery(onSelected, onScope) {
  onSelect = onSelected;
  changedScope = onScope;
}

for (const each of ["one", "all"]) {
  byId(`scope-${each}`).addEventListener("click", () => {
    scope = each;
    for (const other of ["one", "all"]) byId(`scope-${other}`).setAttribute("aria-pressed", other === scope);
    changedScope();
  });
}

// Shows the cells of a photograph or of all; `selected` is one of them or undefined.
export function showGallery(image, selected) {
  cells = byRarity(scope === "all" ? allCells() : image ? cellsOf(image) : []);
  chosen = cells.find((cell) => isSame(cell, selected)) ?? cells[0];
  const focused = gallery.contains(document.activeElement);
  const groups = [...new Set(cells.map((cell) => cell.group))];
  gallery.replaceChildren(...groups.map((group) => section(group, cells.filter((cell) => cell.group === group), selected)));
  if (focused) buttonOf(chosen)?.focus({ preventScroll: true });
}

function section(group, members, selected) {
  const title = element("h4", [sample(group), t("{type} ({count})", { type: typeTitle(group), count: formatNumber(members.length) })]);
  return element("section", [title, element("ul", members.map((cell) => element("li", render(cell, isSame(cell, selected)))))]);
}

const isSame = (one, other) => Boolean(one && other) && one.image === other.image && one.number === other.number;

function buttonsOf(image) {
  if (!buttons.has(image)) buttons.set(image, new Map());
  return buttons.get(image);
}

const buttonOf = (cell) => cell && buttonsOf(cell.image).get(cell.number);

function render(cell, isSelected) {
  const button = buttonOf(cell) ?? create(cell);
  button.cell = cell;
  const { image, number, row, isSeen, isChanged } = cell;
  const crop = image.crops?.[number - 1];
  const picture = button.firstElementChild;
  if (crop && picture.tagName !== "IMG") picture.replaceWith(element("img", "", { src: crop, alt: "", width: 88, height: 88, decoding: "async" }));
  const parts = [`${number}`];
  if (isChanged) parts.push(t("changed by a person"));
  else if (isSeen) parts.push(t("confirmed"));
  else parts.push(formatPercent(row.group_confidence));
  const flags = FLAGS.filter((flag) => row[flag] && !(flag === "needs_review" && isSeen)).map(flagText);
  button.lastElementChild.replaceChildren(
    element("span", parts.join(" · "), { className: isChanged ? "changed" : "" }),
    ...flags.map((text) => element("small", text)),
    // Not an aria-label: the name of the button has to contain what is visible, for people who control it by voice.
    element("span", `${typeTitle(cell.group)}, ${image.name}`, { className: "for-screen-readers" }),
  );
  button.setAttribute("aria-pressed", isSelected);
  button.tabIndex = isSame(cell, chosen) ? 0 : -1;
  return button;
}

function create(cell) {
  const placeholder = element("span", symbol(cell.group), { className: "no-crop" });
  const button = element("button", [placeholder, element("span", "", { className: "words" })], { type: "button" });
  button.addEventListener("click", () => onSelect(button.cell));
  buttonsOf(cell.image).set(cell.number, button);
  return button;
}

// The cell after this one, or the one before if it is the last.
export function neighbor(cell, step = 1) {
  const index = cells.findIndex((each) => isSame(each, cell));
  return cells[index + step] ?? cells[index - 1];
}

export function scrollToCell(cell) {
  const button = buttonOf(cell);
  if (!button?.isConnected) return;
  // Not scrollIntoView, which would also move the page.
  const [inner, outer] = [button.getBoundingClientRect(), gallery.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) gallery.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
}

gallery.addEventListener("keydown", (event) => {
  const index = cells.findIndex((each) => buttonOf(each) === event.target);
  if (index < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const target = { Home: 0, End: cells.length - 1, ArrowLeft: index - 1, ArrowRight: index + 1, ArrowUp: vertical(index, -1), ArrowDown: vertical(index, 1) }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  const next = cells[target];
  if (!next) return;
  onSelect(next);
  buttonOf(next)?.focus({ preventScroll: true });
});

// The nearest cell in the next row up or down.
function vertical(index, step) {
  const places = cells.map((cell) => buttonOf(cell).getBoundingClientRect());
  const own = places[index];
  const rows = places.map((place, each) => ({ each, gap: step * (place.top - own.top), side: Math.abs(place.left - own.left) })).filter(({ gap }) => gap > 1);
  const nearest = Math.min(...rows.map(({ gap }) => gap));
  return rows.filter(({ gap }) => gap < nearest + 1).sort((one, other) => one.side - other.side)[0]?.each;
}
