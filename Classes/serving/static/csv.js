// The table as a file: first the columns for people, as in Classes/common/table_columns.py, then those for programs.

import { element } from "./dom.js";
import { conditionOf, hasTypes, modelOf, models } from "./models.js";
import { outcomeText, positiveProbability, reasonsText, typeText } from "./results.js";
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
const TYPES = ["class_confidence", "group", "group_confidence", "model_name"];

export function saveCsv(images) {
  const name = `${(models.chosen?.detects ?? models.chosen?.name ?? "ALL").replace(/[^\w.-]+/g, "_")}-results-${localTime(new Date()).replace(" ", "-").replaceAll(":", "").slice(0, -2)}.csv`;
  // Spreadsheets recognize UTF-8 by the byte order mark.
  download(`\ufeff${csv(images)}`, "text/csv;charset=utf-8", name);
}

export function download(text, type, name) {
  const link = element("a", "", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
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
  const people = columns();
  const headings = [...people.map(([heading]) => heading), ...technical];
  const lines = [headings, ...images.map((image) => row(image, people, technical, decimal))];
  return lines.map((line) => `${line.map((value) => csvField(value, separator)).join(separator)}\r\n`).join("");
}

// [[heading, value of an image with a result]]
function columns() {
  const detects = models.chosen?.detects !== null;
  const titled = Object.keys(models.chosen?.class_titles ?? {}).length > 0;
  const percent = (value) => formatNumber(100 * value, 2);
  // The page does not know the true classes.
  const unknown = () => "";
  const found = [[t("file"), (image) => image.name]];
  if (detects) {
    found.push([t("result"), ({ result }) => outcomeText(result.outcome, modelOf(result))]);
    found.push([t("{condition} probability (%)", conditionOf()), ({ result }) => percent(positiveProbability(result))]);
  }
  found.push(
    [t("needs review"), ({ result }) => (result.outcome === "review" ? t("yes") : t("no"))],
    [t("reasons"), ({ result }) => reasonsText(result)],
    [t("class"), ({ result }) => result.class],
  );
  if (titled) found.push([t("cell type"), ({ result }) => typeText(result)]);
  if (hasTypes()) {
    found.push([t("class probability (%)"), ({ result }) => percent(result.class_confidence)]);
    found.push([t("group of classes"), ({ result }) => result.group]);
  }
  found.push([t("known class"), unknown], [t("correct"), unknown]);
  if (detects && hasTypes()) found.push([t("class correct"), unknown]);
  return [
    ...found,
    [t("date"), ({ result }) => result.date ?? ""],
    [t("model"), ({ result }) => result.model],
    [t("software version"), () => server.info?.version],
  ];
}

function row(image, people, technical, decimal) {
  const { result } = image;
  const error = image.state === "done" ? "" : `${image.text}${image.code ? ` (${image.code})` : ""}`;
  const values = { ...result, low: result?.low_confidence, reason_codes: result?.reasons?.join(" "), error };
  for (const [name, value] of Object.entries(result?.probabilities ?? {})) values[`probability_${name}`] = value;
  const cells = people.map(([heading, value]) => (result ? value(image) : withoutResult(image, heading, error)));
  return [...cells, ...technical.map((name) => localNumber(values[name], decimal))];
}

function withoutResult(image, heading, error) {
  return { [t("file")]: image.name, [t("result")]: t("No result"), [t("reasons")]: error }[heading] ?? "";
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

export function csvField(value, separator) {
  const text = String(value ?? "");
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return safe.includes(separator) || /["\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
