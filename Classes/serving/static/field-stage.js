// The photograph with a numbered box around each cell; zoom and pan as in zoom.js, Tab goes from cell to cell.

import { byId, element, setText } from "./dom.js";
import { cellsOf } from "./field-cells.js";
import { styleOf, svg, symbol, typeTitle } from "./field-data.js";
import { formatPercent } from "./results.js";
import { t } from "./translation.js";
import { createZoom } from "./zoom.js";

// Share of the stage that a cell fills at most if it is brought to the middle.
const CELL_SHARE = 0.2;

const stage = byId("field-stage");
const canvas = byId("field-canvas");
const photo = byId("field-photo");
const layer = byId("field-boxes");

let shown;
let url;
let onSelect = () => {};
const boxes = new Map();

const zoom = createZoom(stage, canvas, byId("field-zoom"), ({ scale, x, y }) => {
  photo.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  layer.style.transform = `translate(${x}px, ${y}px)`;
  // The boxes grow with the photograph, their lines and numbers do not.
  layer.style.width = `${canvas.offsetWidth * scale}px`;
  layer.style.height = `${canvas.offsetHeight * scale}px`;
});

// `onSelected(number)` is called if a box is chosen.
export function listenForBoxes(onSelected) {
  onSelect = onSelected;
}

// Shows a photograph, or another state of the one that is shown; `selected` is the number of a cell.
export function showPhotograph(image, selected) {
  const isOther = image !== shown;
  shown = image;
  if (isOther) boxes.clear();
  showPicture(image, isOther);
  const cells = image ? cellsOf(image) : [];
  const fresh = cells.map((cell) => renderBox(cell, cell.number === selected));
  if (isOther || layer.children.length !== fresh.length) layer.replaceChildren(...fresh);
  if (isOther) zoom.reset();
  place();
}

function showPicture(image, isOther) {
  const source = image?.photograph ?? (image?.noPreview ? undefined : image?.file);
  if (isOther || source !== photo.source) {
    if (url) URL.revokeObjectURL(url);
    url = source ? URL.createObjectURL(source) : undefined;
    photo.source = source;
    if (url) photo.src = url;
    else photo.removeAttribute("src");
  }
  photo.hidden = !url;
  const missing = image && !url && image.result ? t("Add the file again to see the photograph.") : "";
  setText(byId("field-missing"), missing);
}

function size() {
  if (shown?.result) return [shown.result.width, shown.result.height];
  return [photo.naturalWidth || 4, photo.naturalHeight || 3];
}

function place() {
  if (stage.clientWidth) zoom.place(...size());
}

function renderBox(cell, isSelected) {
  const button = boxes.get(cell.number) ?? createBox(cell);
  boxes.set(cell.number, button);
  const style = styleOf(cell.group);
  const text = `${cell.number}${cell.row.needs_review && !cell.isSeen ? "?" : ""}`;
  const [halo, line] = button.querySelectorAll("rect");
  halo.setAttribute("stroke", style.ink);
  halo.setAttribute("stroke-width", 2 * style.weight + 3);
  line.setAttribute("stroke", style.color);
  line.setAttribute("stroke-width", 2 * style.weight);
  line.setAttribute("stroke-dasharray", style.dash.map((each) => 2 * each).join(" "));
  const tag = button.querySelector(".tag");
  tag.style.background = style.color;
  tag.style.color = style.ink;
  tag.replaceChildren(symbol(cell.group, style.ink), text);
  button.setAttribute("aria-label", boxLabel(cell));
  button.setAttribute("aria-pressed", isSelected);
  return button;
}

function boxLabel(cell) {
  const values = { number: cell.number, type: typeTitle(cell.group), percent: formatPercent(cell.row.group_confidence) };
  if (cell.isSeen) return t("Cell {number}: {type}, named by a person", values);
  return cell.row.needs_review ? t("Cell {number}: {type}, {percent}, needs review", values) : t("Cell {number}: {type}, {percent}", values);
}

function createBox({ number, row }) {
  const frame = svg("svg", { class: "frame", "aria-hidden": "true" }, ...["halo", "line"].map((name) => svg("rect", { class: name, width: "100%", height: "100%", fill: "none" })));
  const button = element("button", [frame, element("span", "", { className: "tag" })], { type: "button", className: "box" });
  const [width, height] = size();
  const [left, top] = [Math.max(0, row.x - row.width / 2), Math.max(0, row.y - row.height / 2)];
  const [right, bottom] = [Math.min(width, row.x + row.width / 2), Math.min(height, row.y + row.height / 2)];
  const percent = (value, whole) => `${(100 * value) / whole}%`;
  Object.assign(button.style, {
    left: percent(left, width), top: percent(top, height), width: percent(right - left, width), height: percent(bottom - top, height),
  });
  // Where there is no room above the box or right of it.
  button.classList.toggle("low", top < height / 20);
  button.classList.toggle("right", left > 0.9 * width);
  button.addEventListener("click", () => onSelect(number));
  button.addEventListener("focus", () => {
    if (button.matches(":focus-visible")) onSelect(number);
  });
  return button;
}

// Brings a cell to the middle, large enough to be seen.
export function centerOn({ row }) {
  const [width, height] = size();
  const side = (Math.max(row.width, row.height) / width) * canvas.offsetWidth;
  const wanted = (CELL_SHARE * Math.min(stage.clientWidth, stage.clientHeight)) / side;
  zoom.center(row.x / width, row.y / height, Math.max(zoom.scale(), wanted));
}

photo.addEventListener("load", place);
photo.addEventListener("error", () => {
  photo.hidden = true;
});
// The browser scrolls to a box that gets the focus; the photograph moves by zoom.js only.
stage.addEventListener("scroll", () => stage.scrollTo(0, 0));
new ResizeObserver(place).observe(stage);

stage.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const action = zoom.actions[event.key];
  if (action) action();
  if (action || zoom.panByKey(event.key)) event.preventDefault();
});
