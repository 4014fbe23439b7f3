// Small pictures of the images on the screen, and of all images for a report.

import { changed, images } from "./images.js";

// Pixels: about a cell of the gallery, because browsers keep many decoded pictures.
const SIDE = 160;

const worker = "OffscreenCanvas" in window ? new Worker("thumbnail-worker.js") : undefined;
const finished = new Map();
let busy = false;
let requests = 0;

export async function requestVisibleThumbnails() {
  if (busy) return;
  busy = true;
  for (let image = next(); image; image = next()) await makeThumbnail(image);
  busy = false;
}

function next() {
  return images.find((image) => image.visible && lacksThumbnail(image));
}

function lacksThumbnail(image) {
  return image.file && !image.thumbnail && !image.noPreview;
}

export async function makeAllThumbnails(list) {
  for (const image of list) if (lacksThumbnail(image)) await makeThumbnail(image);
}

// The list and a report may ask for the same picture.
function makeThumbnail(image) {
  image.making ??= fetchThumbnail(image).finally(() => {
    image.making = undefined;
  });
  return image.making;
}

async function fetchThumbnail(image) {
  const { blob } = await makePictures(image.file);
  if (image.canceled.signal.aborted) return;
  if (blob) image.thumbnail = URL.createObjectURL(blob);
  else image.noPreview = true;
  changed(image);
}

// Returns {blob: a small picture of a file, cells: pictures of the squares {x, y, side} in it}; the blob is null if the
// browser cannot read the file.
export async function makePictures(file, crops = []) {
  if (!worker) return { blob: file, cells: [] };
  const key = (requests += 1);
  return new Promise((resolve) => {
    finished.set(key, resolve);
    worker.postMessage({ key, file, side: SIDE, crops });
  });
}

worker?.addEventListener("message", ({ data: { key, ...pictures } }) => {
  finished.get(key)?.(pictures);
  finished.delete(key);
});
