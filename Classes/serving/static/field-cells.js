// The cells of all photographs: what the models suggest, and what a person says. Knows nothing of how they are shown.

import { changed, images } from "./images.js";
import { FIELDS } from "./mode.js";
import { modelOf } from "./models.js";
import { NO_WHITE_CELL } from "./field-data.js";

// Corrections that can be undone, the last one at the end: {image, number, before}.
const done = [];

export const fieldImages = () => images.filter((image) => image.kind === FIELDS);

// [{image, number, row: as in the API, group: the type that counts, isSeen, isChanged}]
export function cellsOf(image) {
  return (image.result?.cells ?? []).map((row) => {
    const corrected = image.corrections?.[row.cell];
    return {
      image,
      number: row.cell,
      row,
      group: corrected ?? row.group,
      isSeen: corrected !== undefined,
      isChanged: corrected !== undefined && corrected !== row.group,
    };
  });
}

export const allCells = () => fieldImages().flatMap(cellsOf);

// The rarest type first, in it the least certain cells first; what a person has seen keeps its place.
export function byRarity(cells) {
  const numbers = new Map();
  for (const { group } of cells) numbers.set(group, (numbers.get(group) ?? 0) + 1);
  const rank = (cell) => numbers.get(cell.group);
  return [...cells].sort(
    (one, other) =>
      rank(one) - rank(other) || one.group.localeCompare(other.group) || one.row.group_confidence - other.row.group_confidence,
  );
}

export function setType({ image, number }, group) {
  done.push({ image, number, before: image.corrections?.[number] });
  write(image, number, group);
}

export const canUndo = () => done.some(({ image }) => images.includes(image));

// Returns the restored cell, or undefined.
export function undo() {
  let last = done.pop();
  while (last && !images.includes(last.image)) last = done.pop();
  if (!last) return undefined;
  write(last.image, last.number, last.before);
  return cellsOf(last.image).find((cell) => cell.number === last.number);
}

function write(image, number, group) {
  image.corrections = { ...image.corrections, [number]: group };
  if (group === undefined) delete image.corrections[number];
  // Kept at once, so that a reload loses no click.
  image.kept = undefined;
  changed(image);
}

// {group: number of cells}: as suggested by the models, or as corrected, without what a person called no white cell.
export function countGroups(cells, isCorrected) {
  const numbers = {};
  for (const cell of cells) {
    const group = isCorrected ? cell.group : cell.row.group;
    if (group !== NO_WHITE_CELL) numbers[group] = (numbers[group] ?? 0) + 1;
  }
  return numbers;
}

// What a person chose, as a class of the model if it has one for it; "" if nobody has looked.
export function correctedType(cell) {
  if (!cell.isSeen) return "";
  if (!cell.isChanged) return cell.row.type;
  const classes = modelOf(cell.image.result)?.groups?.[cell.group] ?? [];
  return classes.length === 1 ? classes[0] : cell.group;
}
