// Progress, counts, and announcements for screen readers.

import { byId, element, setText } from "./dom.js";
import { countOutcomes, FAILED, NEGATIVE, OUTCOMES, POSITIVE, REVIEW } from "./images.js";
import { FIELDS, mode } from "./mode.js";
import { conditionOf, modelOf, models } from "./models.js";
import { server } from "./server.js";
import { formatNumber, t, tn } from "./translation.js";

// Screen readers would otherwise speak without a pause while hundreds of images are classified.
const ANNOUNCE_MS = 5000;

// The time left follows the speed of the last images.
const RECENT_RESULTS = 30;

let finishedAt = [];
let finishedBefore = 0;
let announcedAt = -Infinity;
let announcement;

export function updateStatus(images) {
  const counts = countOutcomes(images);
  const finished = counts.all - counts.pending;
  const running = counts.pending > 0;
  byId("progress").hidden = !running;
  byId("progress").max = counts.all || 1;
  byId("progress").value = finished;
  setText(byId("progress-text"), running ? progressText(counts.all, finished) : doneText(counts));
  for (const id of ["all", ...OUTCOMES]) {
    setText(byId(`count-${id}`), formatNumber(counts[id]));
    byId(`filter-${id}`).classList.toggle("none", counts[id] === 0);
  }
  // A model that detects nothing has no such results.
  for (const id of [POSITIVE, NEGATIVE]) byId(`filter-${id}`).hidden = models.chosen?.detects === null;
  byId("again").hidden = counts[FAILED] === 0;
  byId("results").hidden = counts.all === 0;
  byId("intro").hidden = counts.all > 0;
  byId("save").disabled = byId("print").disabled = finished === 0;
  document.body.classList.toggle("filled", counts.all > 0);
  showModel(images);
  if (counts.all) announce(summary(counts));
}

function progressText(total, finished) {
  const now = performance.now();
  if (finished < finishedBefore) finishedAt = [];
  if (finished !== finishedBefore || !finishedAt.length) finishedAt.push([now, finished]);
  finishedAt = finishedAt.slice(-RECENT_RESULTS);
  finishedBefore = finished;
  const [since, first] = finishedAt[0];
  const done = t("{done}/{total}", { done: formatNumber(finished), total: formatNumber(total) });
  const seconds = ((now - since) / (finished - first)) * (total - finished) / 1000;
  // The first results also wait for the server to get ready.
  if (finished - first < 3 || !Number.isFinite(seconds)) return done;
  if (seconds < 90) return t("{done}, {seconds} s left", { done, seconds: formatNumber(Math.ceil(seconds)) });
  return t("{done}, {minutes} min left", { done, minutes: formatNumber(Math.ceil(seconds / 60)) });
}

function doneText(counts) {
  finishedAt = [];
  return mode.kind === FIELDS ? tn("{n} photograph", "{n} photographs", counts.all) : tn("{n} image", "{n} images", counts.all);
}

// A sentence such as "13 of 17 images have a result. …"
export function summary(counts) {
  const number = (outcome) => formatNumber(counts[outcome]);
  if (mode.kind === FIELDS) {
    return t("{done} of {total} done. Failed: {failed}.", {
      done: formatNumber(counts.all - counts.pending),
      total: formatNumber(counts.all),
      failed: number(FAILED),
    });
  }
  if (models.chosen?.detects === null) {
    return t("{done} of {total} done. Needs review: {review}. Failed: {failed}.", {
      done: formatNumber(counts.all - counts.pending),
      total: formatNumber(counts.all),
      review: number(REVIEW),
      failed: number(FAILED),
    });
  }
  return t(
    "{done} of {total} done. Needs review: {review}. Signs of {condition}: {positive}. No signs of {condition}: {negative}. Failed: {failed}.",
    {
      ...conditionOf(),
      done: formatNumber(counts.all - counts.pending),
      total: formatNumber(counts.all),
      review: number(REVIEW),
      positive: number(POSITIVE),
      negative: number(NEGATIVE),
      failed: number(FAILED),
    },
  );
}

// The latest text within ANNOUNCE_MS is announced, the others are left out.
function announce(text) {
  const waiting = announcement !== undefined;
  announcement = text;
  if (waiting) return;
  const wait = Math.max(0, announcedAt + ANNOUNCE_MS - performance.now());
  setTimeout(() => {
    announcedAt = performance.now();
    setText(byId("status"), announcement);
    announcement = undefined;
  }, wait);
}

export function showNote(text) {
  byId("note").hidden = !text;
  setText(byId("note"), text);
}

// The model, before the first image from /v1/info, later with the device of the results.
function showModel(images) {
  const info = server.info;
  const last = images.findLast?.((image) => image.result)?.result;
  const used = modelOf(last);
  const synthetic = used?.synthetic ?? last?.synthetic;
  byId("synthetic").hidden = !synthetic;
  if (!info) return;
  const model = t("Model {network} {hash}", { network: used?.network ?? info.network, hash: used?.model.slice(0, 12) ?? info.model });
  const device = last && t("{device}, {precision}", { device: last.engine, precision: last.precision });
  byId("model").replaceChildren(
    ...[model, device, t("Version {version}", { version: info.version })].filter(Boolean).map((text) => element("span", text)),
  );
}
