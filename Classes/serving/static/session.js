// Nothing is lost by a slip: results survive a reload of the tab, and leaving the page asks first.
// Images are not kept, and the browser forgets the results with the tab.

import { addImage, fileKey, images } from "./images.js";
import { errorText } from "./results.js";

const PREFIX = "all.result.";
const UNFINISHED = "all.unfinished";

let unsaved = 0;

export function hasUnsavedResults() {
  return unsaved > 0;
}

export function markSaved() {
  unsaved = 0;
}

// Keeps the results of these images.
export function keepResults(changedImages) {
  for (const image of changedImages) {
    if (image.state !== "done" || image.kept === image.result) continue;
    image.kept = image.result;
    unsaved += 1;
    const { name, size, modified, result, kind, corrections } = image;
    try {
      sessionStorage.setItem(PREFIX + String(image.number).padStart(6, "0"), JSON.stringify({ name, size, modified, result, kind, corrections }));
    } catch {
      // The storage is full or switched off; leaving the page still asks.
    }
  }
}

export function forgetResults() {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith("all.")) sessionStorage.removeItem(key);
  unsaved = 0;
}

// Forgets the results of images that are no longer in the list.
export function forgetOthers() {
  forgetResults();
  for (const image of images) image.kept = undefined;
  keepResults(images);
}

// Adds the images of an earlier load of the page to the list; returns their number.
export function restoreResults() {
  const records = Object.keys(sessionStorage)
    .filter((key) => key.startsWith(PREFIX))
    .sort()
    .map((key) => read(key));
  const unfinished = read(UNFINISHED) ?? [];
  forgetResults();
  for (const record of records) if (record?.result?.class || record?.result?.cells) addImage({ ...record, state: "done", file: null });
  for (const each of unfinished) {
    const lost = { state: "failed", code: "reloaded", text: errorText("reloaded") };
    addImage({ ...each, ...(each.state === "failed" ? {} : lost), file: null });
  }
  keepResults(images);
  return images.length;
}

function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key));
  } catch {
    return null;
  }
}

// Gives files that were added again to their images; returns the other files.
export function reattachFiles(files, kind) {
  const without = new Map(images.filter((image) => !image.file && image.kind === kind).map((image) => [fileKey(image), image]));
  return files.filter((each) => {
    const key = fileKey({ name: each.name, size: each.file.size, modified: each.file.lastModified });
    const image = without.get(key);
    if (!image) return true;
    without.delete(key);
    image.file = each.file;
    image.cells?.open.replaceChildren();
    if (image.state === "failed") Object.assign(image, { state: "waiting", text: "", code: "" });
    return false;
  });
}

window.addEventListener("beforeunload", (event) => {
  if (unsaved || images.some((image) => image.state === "waiting" || image.state === "sending")) event.preventDefault();
});

window.addEventListener("pagehide", () => {
  const unfinished = images.filter((image) => image.state !== "done");
  const records = unfinished.map(({ name, size, modified, state, code, text, kind }) => ({ name, size, modified, state, code, text, kind }));
  try {
    if (records.length) sessionStorage.setItem(UNFINISHED, JSON.stringify(records));
  } catch {
    // The storage is full or switched off.
  }
});
