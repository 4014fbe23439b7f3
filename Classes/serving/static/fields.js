// The view of photographed fields: connects the list of photographs, the photograph, the gallery and the counts.

import { byId, element, setText } from "./dom.js";
import { showFileAgain } from "./field-answer.js";
import { cellsOf, fieldImages, setType, undo } from "./field-cells.js";
import { showFieldCounts } from "./field-counts.js";
import { scaleText } from "./field-data.js";
import { saveFieldCsv, saveFieldJson } from "./field-files.js";
import { listenForGallery, neighbor, scrollToCell, showGallery } from "./field-gallery.js";
import { showList } from "./field-list.js";
import { listenForChoices, showPanel } from "./field-panel.js";
import { centerOn, listenForBoxes, showPhotograph } from "./field-stage.js";
import { removeImages } from "./images.js";
import { forgetOthers, markSaved } from "./session.js";
import { formatNumber, t } from "./translation.js";

// The photograph that is shown, and the number of the selected cell.
let current;
let number;

const selectedCell = () => current && cellsOf(current).find((cell) => cell.number === number);

export function showFields() {
  const list = fieldImages();
  for (const image of list) if (image.state === "done" && image.file && !image.photograph) showFileAgain(image);
  // A photograph with a result is better than one that waits.
  if (!list.includes(current) || (!current.result && list.some((image) => image.result))) {
    current = list.find((image) => image.result) ?? list[0];
    number = undefined;
  }
  showList(current, { onOpen: open, onRemove: remove });
  byId("field-work").hidden = !current;
  byId("field-order").hidden = !list.some((image) => image.result);
  draw();
  showFieldCounts();
}

function draw() {
  showPhotograph(current, number);
  showGallery(current, selectedCell());
  showPanel(selectedCell());
  setText(byId("field-name"), current?.name ?? "");
  byId("field-facts").replaceChildren(...facts(current).map((text) => element("li", text)));
  byId("field-models").replaceChildren(...modelLines().map((text) => element("li", text)));
}

function facts(image) {
  if (!image?.result) return image ? [image.state === "failed" ? t("No result: {text}", { text: image.text || image.code }) : t("No result yet")] : [];
  const { width, height, stain_matched: isMatched } = image.result;
  const found = [
    scaleText(image.result, formatNumber),
    t("searched: all {width} × {height} pixels.", { width: formatNumber(width), height: formatNumber(height) }),
  ];
  if (isMatched) found.push(t("The stain differs from that of the training images and was matched to it, so the types are less certain."));
  return found;
}

function modelLines() {
  const result = fieldImages().findLast((image) => image.result)?.result;
  if (!result) return [];
  const { types, blasts } = result.models;
  const line = (model, text) => t(text, { graph: model.graph, hash: model.graph_sha256.slice(0, 12) });
  return [
    line(types, t("Types: {graph} ({hash})")),
    blasts ? line(blasts, t("Blasts: {graph} ({hash})")) : t("No model of blasts is used, so no cell is called a blast."),
    ...types.limits.map((limit) => t(limit)),
  ];
}

function open(image) {
  current = image;
  number = undefined;
  showFields();
}

function remove(image) {
  const list = fieldImages();
  const next = list[list.indexOf(image) + 1] ?? list[list.indexOf(image) - 1];
  if (image === current) current = next;
  removeImages([image]);
  forgetOthers();
  showFields();
  (byId("field-list").querySelector("[aria-pressed=true]") ?? byId("files")).focus();
}

// Selects a cell, of this photograph or of another one.
function select(cell, isCentered) {
  if (!cell) return;
  current = cell.image;
  number = cell.number;
  showList(current, { onOpen: open, onRemove: remove });
  draw();
  if (isCentered) centerOn(cell);
  scrollToCell(cell);
}

listenForBoxes((chosen) => {
  number = chosen;
  select(selectedCell(), false);
});
listenForGallery((cell) => select(cell, true), draw);

function choose(group) {
  const cell = selectedCell();
  if (!cell) return;
  const next = neighbor(cell);
  setType(cell, group);
  // The hands stay on the keys: the next cell comes by itself.
  select(next ? cellsOf(next.image).find((each) => each.number === next.number) : selectedCell(), true);
}

listenForChoices(choose, () => select(undo(), true));
byId("save-json").addEventListener("click", () => {
  saveFieldJson();
  markSaved();
});

export { saveFieldCsv };
