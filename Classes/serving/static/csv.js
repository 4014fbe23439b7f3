// The table as a file.

import { element } from "./dom.js";

// Until the browser has certainly started the download.
const URL_LIFETIME_MS = 60_000;

// A spreadsheet runs a cell that begins with one of these as a formula, and anybody can choose a file's name.
const FORMULA = /^[=+\-@\t\r]/;
const COLUMNS = ["file", "class", "verdict", "confidence", "low", "uncertain", "outcome", "reasons"];
const LAST_COLUMNS = ["seconds", "error", "remark", "sha256", "engine", "precision", "model", "request_id", "notice"];

export function saveCsv(images) {
  // Spreadsheets recognize UTF-8 by the byte order mark.
  const content = new Blob(["\ufeff", csv(images)], { type: "text/csv;charset=utf-8" });
  const link = element("a", "", { href: URL.createObjectURL(content), download: "ALL results.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), URL_LIFETIME_MS);
}

function csv(images) {
  const classes = Object.keys(images.find((each) => each.result)?.result.probabilities ?? {});
  const header = [...COLUMNS, ...classes.map((name) => `probability_${name}`), ...LAST_COLUMNS];
  const lines = [header, ...images.map((image) => row(image, classes))];
  return lines.map((line) => `${line.map(field).join(",")}\r\n`).join("");
}

function row(image, classes) {
  const result = image.result ?? {};
  const error = image.state === "done" ? "" : `${image.text}${image.code ? ` (${image.code})` : ""}`;
  const reasons = result.reasons?.join(" ");
  const values = { ...result, file: image.name, low: result.low_confidence, reasons, error };
  const take = (names) => names.map((name) => values[name]);
  return [...take(COLUMNS), ...classes.map((name) => result.probabilities?.[name]), ...take(LAST_COLUMNS)];
}

function field(value) {
  const text = String(value ?? "");
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
