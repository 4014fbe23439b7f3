// The table of /v1/history.

import { byId, element } from "./dom.js";
import { TYPED } from "./images.js";
import { hasTypes, loadModels, modelOf, models } from "./models.js";
import { loadInfo, server } from "./server.js";
import { errorText, formatPercent, groupText, outcomeText, reasonsText, typeText } from "./results.js";
import { language, t, tn } from "./translation.js";

const LIMIT = 100;
const SHORT_HASH = 12;

const time = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

// The id of the oldest result in the table, or undefined.
let oldest;

// Counts the requests: an answer is dropped if another one was asked for in the meantime.
let requested = 0;

function hash(digits) {
  return element("code", digits.slice(0, SHORT_HASH), { title: digits });
}

// The predicted class, with its group, if the model has more classes than disease or not.
function classText(result) {
  if (!hasTypes(modelOf(result))) return "";
  const group = groupText(result);
  return group ? t("{type} ({group})", { type: typeText(result), group }) : typeText(result);
}

function modelParts(result) {
  return [result.model_name, " ", hash(result.model)];
}

function row(result) {
  const outcome = result.outcome ?? TYPED;
  const cells = [
    element("span", outcomeText(outcome, modelOf(result)), { className: "outcome" }),
    formatPercent(result.confidence),
    classText(result),
    reasonsText(result),
    result.key,
    hash(result.sha256),
    modelParts(result),
  ];
  const made = element("th", time.format(new Date(result.time)), { scope: "row" });
  return element("tr", [made, ...cells.map((content) => element("td", content))], { className: outcome });
}

async function load() {
  const number = (requested += 1);
  const model = byId("choice").value;
  const query = new URLSearchParams({ limit: LIMIT, ...(oldest && { before: oldest }), ...(model && { model }) });
  const headers = byId("key").value ? { "X-API-Key": byId("key").value } : {};
  const response = await fetch(`v1/history?${query}`, { headers });
  const body = await response.json();
  if (number !== requested) return;
  if (!response.ok) throw Object.assign(new Error(body.message), { code: body.code });
  byId("results").append(...body.results.map(row));
  oldest = body.results.at(-1)?.id ?? oldest;
  byId("older").hidden = body.results.length < LIMIT;
  byId("frame").hidden = !byId("results").children.length;
  const count = tn("{n} result.", "{n} results.", byId("results").children.length);
  const kept = tn("Results are deleted after {n} day.", "Results are deleted after {n} days.", body.days);
  byId("status").textContent = `${count} ${kept}`;
}

function message(error) {
  if (error.code === "unauthorized") return t("The API key is missing or wrong.");
  if (error.code === "no_history") return t("This server keeps no history. Its operator can set HistoryDays.");
  if (error.code === "history_unavailable") return t("The history can't be read. The server's log has the reason.");
  return errorText(error.code ?? "no_answer", error.message);
}

async function show() {
  try {
    await load();
  } catch (error) {
    byId("status").textContent = message(error);
  }
}

function showFromNewest() {
  byId("results").replaceChildren();
  oldest = undefined;
  show();
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  showFromNewest();
});
byId("choice").addEventListener("change", showFromNewest);
byId("older").addEventListener("click", show);

await Promise.all([loadInfo().catch(() => {}), loadModels().catch(() => {})]);
const names = models.list.map(({ name }) => element("option", name, { value: name }));
byId("choice").append(element("option", t("All models"), { value: "" }), ...names);
byId("model-field").hidden = models.list.length < 2;
byId("form").hidden = !server.info?.key_required;
if (server.info?.key_required) byId("status").textContent = "";
else show();
