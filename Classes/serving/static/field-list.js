// The photographs: one button each, with state, counts or error, and one that removes it.

import { byId, element } from "./dom.js";
import { cellsOf, fieldImages } from "./field-cells.js";
import { t, tn } from "./translation.js";

const items = new WeakMap();

export function showList(current, { onOpen, onRemove }) {
  const list = byId("field-list");
  const rows = fieldImages().map((image) => {
    const item = items.get(image) ?? create(image, onOpen, onRemove);
    items.set(image, item);
    render(image, item, image === current);
    return item.row;
  });
  if (rows.length !== list.children.length || rows.some((row, index) => row !== list.children[index])) list.replaceChildren(...rows);
}

function create(image, onOpen, onRemove) {
  const [picture, words] = [element("span", "", { className: "thumb" }), element("span", "", { className: "words" })];
  const open = element("button", [picture, words], { type: "button", className: "photograph" });
  const remove = element("button", "×", { type: "button", className: "remove", ariaLabel: t("Remove {name}", { name: image.name }) });
  open.addEventListener("click", () => onOpen(image));
  remove.addEventListener("click", () => onRemove(image));
  return { row: element("li", [open, remove]), open, picture, words };
}

function render(image, { row, open, picture, words }, isCurrent) {
  row.className = image.state;
  open.setAttribute("aria-pressed", isCurrent);
  if (image.thumbnail && !picture.firstElementChild) picture.append(element("img", "", { src: image.thumbnail, alt: "" }));
  const lines = [element("strong", image.name.split("/").at(-1), { title: image.name }), element("span", stateText(image))];
  words.replaceChildren(...lines);
}

function stateText(image) {
  if (image.state === "failed") return t("No result: {text}", { text: image.text || image.code });
  if (image.state === "sending") return image.text || t("Sending…");
  if (image.state !== "done") return t("Waiting");
  const cells = cellsOf(image);
  const review = cells.filter((cell) => cell.row.needs_review && !cell.isSeen).length;
  const number = tn("{n} white cell", "{n} white cells", cells.length);
  return review ? t("{cells}; {review}", { cells: number, review: tn("{n} needs review", "{n} need review", review) }) : number;
}
