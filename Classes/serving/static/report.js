// The printed report: sheets with eight images each, made when the browser prints.

import { byId, element } from "./dom.js";
import { countOutcomes, images, outcomeOf, REVIEW, TYPED } from "./images.js";
import { CELLS } from "./mode.js";
import { modelOf, models, pageTitle } from "./models.js";
import { formatPercent, groupText, leaningText, reasonsText, resultText } from "./results.js";
import { server } from "./server.js";
import { summary } from "./status.js";
import { makeAllThumbnails } from "./thumbnails.js";
import { formatNumber, language, t } from "./translation.js";

const PER_SHEET = 8;

let shown = () => [];
const printed = () => shown().filter((image) => outcomeOf(image));

// `listShown` returns the images that the page shows, in order; those with an outcome are printed.
export function preparePrinting(listShown) {
  shown = listShown;
  // Also if somebody prints with the browser's menu.
  window.addEventListener("beforeprint", renderReport);
  window.addEventListener("afterprint", () => byId("report").replaceChildren());
}

export async function printReport() {
  byId("print").disabled = true;
  await makeAllThumbnails(printed());
  byId("print").disabled = false;
  window.print();
}

function renderReport() {
  const list = printed();
  const date = new Date().toLocaleString(language, { dateStyle: "long", timeStyle: "short" });
  const count = Math.ceil(list.length / PER_SHEET);
  const sheets = Array.from({ length: count }, (_, sheet) => {
    const cells = list.slice(sheet * PER_SHEET, (sheet + 1) * PER_SHEET).map(printedCell);
    return element("section", [
      sheet ? shortHead(date) : head(list, date),
      element("div", cells, { className: "cells" }),
      ...(sheet === count - 1 ? [signature()] : []),
      foot(sheet + 1, count),
    ], { className: "sheet" });
  });
  byId("report").replaceChildren(...sheets);
}

function head(list, date) {
  const { info } = server;
  const last = list.find((image) => image.result)?.result;
  const facts = [
    [t("Date"), date],
    [t("Model"), last ? `${modelOf(last)?.network ?? ""} ${last.model.slice(0, 12)}, ${last.engine}, ${last.precision}` : ""],
    [t("Version"), info?.version ?? ""],
    [t("Images"), summary(countOutcomes(images.filter((image) => image.kind === CELLS)))],
    [t("Printed"), t("{number} of {total}", { number: formatNumber(list.length), total: formatNumber(images.filter((image) => image.kind === CELLS).length) })],
  ];
  const parts = [
    element("p", info?.site_name ?? "", { className: "site" }),
    element("h1", t("{title}: report", { title: pageTitle() })),
    element("dl", facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)])),
  ];
  if (models.chosen?.synthetic) parts.push(element("p", byId("synthetic").textContent, { className: "warning" }));
  if (!byId("limits").hidden) parts.push(element("p", byId("first-limit").textContent, { className: "warning" }));
  return element("header", parts);
}

function shortHead(date) {
  return element("header", element("p", [server.info?.site_name, date].filter(Boolean).join(" · "), { className: "site" }));
}

function foot(number, total) {
  const page = t("Page {number} of {total}", { number: formatNumber(number), total: formatNumber(total) });
  return element("footer", [element("span", byId("notice").textContent.trim()), element("span", page)]);
}

function signature() {
  const lines = [t("Reviewed by"), t("Date"), t("Signature")].map((text) => element("span", text));
  return element("div", lines, { className: "signature" });
}

function printedCell(image) {
  const outcome = outcomeOf(image);
  const words = [element("strong", resultText(image, outcome), { className: "outcome" })];
  if (outcome === REVIEW) words.push(element("span", leaningText(image.result)), element("span", reasonsText(image.result)));
  else if (outcome === TYPED) words.push(element("span", [formatPercent(image.result.class_confidence), groupText(image.result)].filter(Boolean).join(", ")));
  else if (image.result) words.push(element("span", t("Confidence {percent}", { percent: formatPercent(image.result.confidence) })));
  else words.push(element("span", image.text));
  const picture = image.thumbnail
    ? element("img", "", { src: image.thumbnail, alt: "" })
    : element("span", t("No preview"), { className: "help" });
  return element("article", [
    element("div", picture, { className: "frame" }),
    element("div", [...words, element("span", image.name, { className: "file" })]),
  ], { className: outcome });
}
