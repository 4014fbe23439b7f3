// Sends the waiting images, a few at a time, and asks for heat maps.

import { localTime } from "./csv.js";
import { byId } from "./dom.js";
import { fieldAddress, takeFieldAnswer } from "./field-answer.js";
import { changed, images, setState } from "./images.js";
import { FIELDS, mode } from "./mode.js";
import { withModel } from "./models.js";
import { errorText } from "./results.js";
import { blobOf, sendFile } from "./server.js";
import { t } from "./translation.js";

const CONCURRENCY = 3;

// Heat maps that are kept, so that looking through thousands of images does not fill the memory.
const MAX_HEAT_MAPS = 300;

const withHeatMap = new Set();
let sending = 0;
let requestingHeatMaps = false;

export function sendWaiting() {
  while (sending < CONCURRENCY) {
    const image = images.find((each) => each.state === "waiting");
    if (!image) break;
    sending += 1;
    setState(image, "sending");
    classify(image).finally(() => {
      sending -= 1;
      sendWaiting();
    });
  }
}

export function retryFailed() {
  for (const image of images) if (image.kind === mode.kind && image.state === "failed" && image.file) setState(image, "waiting");
  sendWaiting();
}

async function classify(image) {
  const onRetry = (code, message, seconds) => {
    const text = t("{problem} Trying again in {seconds} s.", { problem: errorText(code, message), seconds });
    setState(image, "sending", text, code);
  };
  const isField = image.kind === FIELDS;
  const address = isField ? await fieldAddress(image) : withModel("v1/classify");
  const response = await sendFile(image.file, address, isField ? "cells" : "class", image.canceled.signal, onRetry);
  if (!response) return;
  if (response.status === 200) {
    image.result = { ...response.body, date: localTime(new Date()) };
    if (isField) takeFieldAnswer(image);
    setState(image, "done");
    requestVisibleHeatMaps();
    return;
  }
  const { code, message } = response.body;
  if (code === "unauthorized") {
    // All other images would fail in the same way.
    for (const each of images) if (each.state === "waiting") setState(each, "failed", errorText(code, message), code);
    byId("key-field").hidden = false;
    byId("key").focus();
  }
  setState(image, "failed", errorText(code, message), code);
}

// Heat maps of the rows on the screen, one request at a time

export async function requestVisibleHeatMaps() {
  if (requestingHeatMaps) return;
  requestingHeatMaps = true;
  const lacksHeatMap = (image) => image.state === "done" && image.visible && canHaveHeatMap(image);
  while (byId("heat-maps").checked && images.some(lacksHeatMap)) await requestHeatMap(images.find(lacksHeatMap));
  requestingHeatMaps = false;
}

export function canHaveHeatMap(image) {
  return Boolean(image.file && !image.heatMap && !image.heatMapError);
}

export async function requestHeatMap(image) {
  const response = await sendFile(image.file, withModel("v1/heatmap"), "heat_map", image.canceled.signal);
  if (!response || image.heatMap) return;
  if (response.status === 200) {
    image.heatMap = URL.createObjectURL(blobOf(response.body.heat_map));
    image.heatMapClass = response.body.heat_map_class;
    keepFew(image);
  } else if (response.body.code === "no_heat_map") {
    // The model has none, whatever the image is.
    byId("heat-maps").checked = false;
    byId("heat-maps").disabled = true;
    image.heatMapError = t("This model has no heat maps.");
  } else {
    image.heatMapError = t("No heat map ({code}).", { code: response.body.code });
  }
  changed(image);
}

function keepFew(image) {
  withHeatMap.add(image);
  for (const oldest of withHeatMap) {
    if (withHeatMap.size <= MAX_HEAT_MAPS) break;
    if (oldest.visible || oldest === image) continue;
    withHeatMap.delete(oldest);
    URL.revokeObjectURL(oldest.heatMap);
    oldest.heatMap = undefined;
    changed(oldest);
  }
}
