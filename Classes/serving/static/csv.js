// The table as a file: first the columns for people, as in Classes/common/table_columns.py, then those for programs.

import { element } from "./dom.js";
import { outcomeOf } from "./images.js";
import { conditionOf, hasTypes, models } from "./models.js";
import { positiveProbability, reasonsText, resultText } from "./results.js";
import { server } from "./server.js";
import { formatNumber, t } from "./translation.js";

// Until the browser has certainly started the download.
const URL_LIFETIME_MS = 60_000;

// A spreadsheet runs a cell that begins with one of these as a formula, and anybody can choose a file's name.
const FORMULA = /^[=+\-@\t\r]/;

// Programs find these by name, in every language.
const TECHNICAL = ["verdict", "confidence", "low", "uncertain", "outcome", "reason_codes"];
const LAST_TECHNICAL = ["seconds", "error", "remark", "sha256", "engine", "precision", "request_id", "notice"];
// Only for models with more classes than disease or not.
const TYPES = ["model_name", "class_confidence", "group", "group_confidence"];

export function saveCsv(images) {
  // Spreadsheets recognize UTF-8 by the byte order mark.
  const content = new Blob(["\ufeff", csv(images)], { type: "text/csv;charset=utf-8" });
  const name = `${(models.chosen?.detects ?? models.chosen?.name ?? "ALL").replace(/[^\w.-]+/g, "_")}-results-${localTime(new Date()).replace(" ", "-").replaceAll(":", "").slice(0, -2)}.csv`;
  const link = element("a", "", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), URL_LIFETIME_MS);
}

function csv(images) {
  const classes = Object.keys(images.find((each) => each.result)?.result.probabilities ?? {});
  const types = hasTypes() ? TYPES : [];
  const technical = [...TECHNICAL, ...classes.map((name) => `probability_${name}`), ...LAST_TECHNICAL, ...types];
  // Where the comma separates decimals, spreadsheets separate the columns by semicolons.
  const decimal = formatNumber(0.5, 1)[1];
  const separator = decimal === "," ? ";" : ",";
  const lines = [[...headings(), ...technical], ...images.map((image) => row(image, technical, decimal))];
  return lines.map((line) => `${line.map((value) => field(value, separator)).join(separator)}\r\n`).join("");
}

function headings() {
  return [
    t("file"),
    t("result"),
    ...(models.chosen?.detects === null ? [] : [t("{condition} probability (%)", conditionOf())]),
    t("needs review"),
    t("reasons"),
    t("class"),
    t("known class"),
    t("correct"),
    t("date"),
    t("model"),
    t("software version"),
  ];
}

function row(image, technical, decimal) {
  const { result } = image;
  const error = image.state === "done" ? "" : `${image.text}${image.code ? ` (${image.code})` : ""}`;
  const people = result
    ? [
        image.name,
        resultText(image, outcomeOf(image)),
        ...(models.chosen?.detects === null ? [] : [formatNumber(100 * positiveProbability(result), 2)]),
        result.outcome === "review" ? t("yes") : t("no"),
        reasonsText(result),
        result.class,
        // The page does not know the true classes.
        "",
        "",
        result.date ?? "",
        result.model,
        server.info?.version,
      ]
    : [image.name, t("No result"), ...(models.chosen?.detects === null ? [] : [""]), "", error, "", "", "", "", "", ""];
  const values = { ...result, low: result?.low_confidence, reason_codes: result?.reasons?.join(" "), error };
  for (const [name, value] of Object.entries(result?.probabilities ?? {})) values[`probability_${name}`] = value;
  return [...people, ...technical.map((name) => localNumber(values[name], decimal))];
}

function localNumber(value, decimal) {
  return typeof value === "number" ? String(value).replace(".", decimal) : value;
}

// The local time as 2026-11-26 18:03:22, which spreadsheets read as a date.
export function localTime(date) {
  const part = (value) => String(value).padStart(2, "0");
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(part).join("-");
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(part).join(":")}`;
}

function field(value, separator) {
  const text = String(value ?? "");
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return safe.includes(separator) || /["\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
