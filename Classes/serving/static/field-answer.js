// A photographed field: how it is sent, and what is kept of its answer.

import { changed } from "./images.js";
import { blobOf } from "./server.js";
import { makePictures } from "./thumbnails.js";

// Side of a cell's picture relative to its box, so that its surroundings are seen too.
const AROUND = 1.5;

// The address; a photograph that the browser cannot show comes back as a JPEG.
export async function fieldAddress(image) {
  await makeThumbnail(image);
  return image.noPreview ? "v1/field?photograph=1" : "v1/field";
}

async function makeThumbnail(image) {
  if (image.thumbnail || image.noPreview) return;
  const { blob } = await makePictures(image.file);
  if (image.canceled.signal.aborted) return;
  if (blob) image.thumbnail = URL.createObjectURL(blob);
  else image.noPreview = true;
  changed(image);
}

// Takes the pictures out of the answer, which is kept for a reload, and makes those of the cells.
export function takeFieldAnswer(image) {
  const { photograph } = image.result;
  delete image.result.photograph;
  image.photograph = photograph ? blobOf(photograph) : image.file;
  image.corrections ??= {};
  makeCrops(image);
}

// The file of a result from before a reload is back.
export function showFileAgain(image) {
  image.photograph = image.file;
  makeCrops(image);
}

async function makeCrops(image) {
  const squares = image.result.cells.map(({ x, y, width, height }) => ({ x, y, side: AROUND * Math.max(width, height) }));
  const { blob, cells } = await makePictures(image.photograph, squares);
  if (image.canceled.signal.aborted) return;
  if (blob) {
    image.thumbnail ??= URL.createObjectURL(blob);
  } else {
    image.noPreview = true;
    image.photograph = undefined;
  }
  image.crops = cells.map((each) => URL.createObjectURL(each));
  changed(image);
}
