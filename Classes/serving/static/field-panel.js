// The selected cell: what the models suggest, and one key or button per type for a person.

import { byId, element, setText } from "./dom.js";
import { canUndo } from "./field-cells.js";
import { CHOICES, FLAGS, flagText, symbol, typeTitle } from "./field-data.js";
import { reasonText, formatPercent } from "./results.js";
import { modelOf } from "./models.js";
import { t } from "./translation.js";

let onChoose = () => {};
let onUndo = () => {};
let selected;

const buttons = new Map();

// `choose(group)` and `undo()` are called by buttons and keys.
export function listenForChoices(choose, undo) {
  onChoose = choose;
  onUndo = undo;
  const items = CHOICES().map(({ group, key }) => {
    const label = [symbol(group), element("span", typeTitle(group)), element("kbd", key)];
    const button = element("button", label, { type: "button" });
    button.addEventListener("click", () => onChoose(group));
    buttons.set(group, button);
    return element("li", button);
  });
  byId("field-choices").replaceChildren(...items);
  byId("field-confirm").addEventListener("click", () => onChoose(selected.row.group));
  byId("field-undo").addEventListener("click", () => onUndo());
  // Single keys work only where cells are, so that they disturb nothing else.
  for (const id of ["field-stage", "field-gallery", "field-panel"]) byId(id).addEventListener("keydown", pressed);
}

function pressed(event) {
  if (event.altKey || event.metaKey) return;
  const isUndo = event.key === "u" || (event.key === "z" && event.ctrlKey);
  if (event.ctrlKey && !isUndo) return;
  const choice = CHOICES().find(({ key }) => key === event.key);
  if (isUndo) onUndo();
  else if (selected && event.key === "c") onChoose(selected.row.group);
  else if (selected && choice) onChoose(choice.group);
  else return;
  event.preventDefault();
}

export function showPanel(cell) {
  selected = cell;
  byId("field-panel").hidden = !cell;
  byId("field-undo").disabled = !canUndo();
  if (!cell) return;
  const { row } = cell;
  setText(byId("field-cell"), t("Cell {number}: {type}", { number: cell.number, type: typeTitle(cell.group) }));
  setText(byId("field-cell-state"), state(cell));
  byId("field-cell-state").className = cell.isChanged ? "changed" : "";
  const notes = FLAGS.filter((flag) => row[flag]).map(flagText);
  const reasons = row.reason_codes.split(" ").filter(Boolean).map((code) => reasonText(code, modelOf(cell.image.result)));
  byId("field-cell-notes").replaceChildren(...[...notes, ...reasons].map((text) => element("li", text)));
  for (const [group, button] of buttons) button.setAttribute("aria-pressed", group === cell.group);
}

function state(cell) {
  const { row } = cell;
  const values = { type: typeTitle(row.name), percent: formatPercent(row.confidence) };
  if (cell.isChanged) return t("Changed by a person. Suggested: {type}, {percent}.", values);
  if (cell.isSeen) return t("Confirmed by a person. Suggested: {type}, {percent}.", values);
  return t("Suggested: {type}, {percent}. Nobody has looked yet.", values);
}
