// The list of images and their states; knows nothing of how they are shown.

import { element } from "./dom.js";
import { CELLS } from "./mode.js";

const REFRESH_MS = 100;

// Outcomes of a result, as in the API, and of an image without one.
export const REVIEW = "review";
export const POSITIVE = "positive";
export const NEGATIVE = "negative";
export const FAILED = "failed";
// The model detects nothing and named the type of the cell; the API then answers with null.
export const TYPED = "typed";
export const OUTCOMES = [REVIEW, POSITIVE, NEGATIVE, FAILED];

// In the order in which they were added. Fields of an image:
//   file (null after a reload), name (with the path inside a chosen folder), size, modified
//   state: "waiting", "sending", "done" or "failed"; text and code: why it waits or failed; result: JSON of the API
//   kind: of mode.js; of a field: photograph (its picture for the browser), crops (object URLs), corrections ({cell: type})
//   row: its row in the table; thumbnail, heatMap: object URLs; visible: whether the row is on the screen
export const images = [];

const listeners = [];
const changedImages = new Set();
let timer;
let reportedAt = -Infinity;
let added = 0;

// `listener` gets the images that changed; several changes are reported together.
export function onChange(listener) {
  listeners.push(listener);
}

export function changed(image) {
  if (image) changedImages.add(image);
  timer ??= setTimeout(() => {
    timer = undefined;
    reportedAt = performance.now();
    const list = [...changedImages];
    changedImages.clear();
    for (const listener of listeners) listener(list);
  }, Math.max(0, reportedAt + REFRESH_MS - performance.now()));
}

export function addImage(fields) {
  const image = { kind: CELLS, state: "waiting", text: "", code: "", ...fields, number: (added += 1) };
  image.canceled = new AbortController();
  image.row = element("tr");
  images.push(image);
  changed(image);
  return image;
}

export function removeImages(removed) {
  for (const image of removed) {
    images.splice(images.indexOf(image), 1);
    image.canceled.abort();
    for (const url of [image.thumbnail, image.heatMap, ...(image.crops ?? [])]) if (url) URL.revokeObjectURL(url);
    changedImages.delete(image);
  }
  changed();
}

// Forgets the results of some images, to classify them again; without a file that is not possible.
export function resetImages(some, textWithoutFile) {
  for (const image of some) {
    image.canceled.abort();
    if (image.heatMap) URL.revokeObjectURL(image.heatMap);
    const state = image.file ? { state: "waiting", text: "", code: "" } : { state: "failed", text: textWithoutFile, code: "reloaded" };
    Object.assign(image, state, { result: undefined, heatMap: undefined, heatMapError: undefined, canceled: new AbortController() });
    changed(image);
  }
}

export function setState(image, state, text = "", code = "") {
  Object.assign(image, { state, text, code });
  changed(image);
}

// One of OUTCOMES, TYPED, or "" while the image waits.
export function outcomeOf(image) {
  if (image.state === "done") return image.result.outcome ?? TYPED;
  return image.state === "failed" ? FAILED : "";
}

// {outcome: number of images}, also with `all` and `pending`.
export function countOutcomes(list = images) {
  const counts = { all: list.length, pending: 0, [REVIEW]: 0, [POSITIVE]: 0, [NEGATIVE]: 0, [TYPED]: 0, [FAILED]: 0 };
  for (const image of list) counts[outcomeOf(image) || "pending"] += 1;
  return counts;
}

// Two files with the same key are taken for the same file, whichever folder was chosen.
export function fileKey({ name, size, modified }) {
  return `${name.split("/").at(-1)}|${size}|${modified}`;
}
