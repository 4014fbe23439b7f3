// The table of /v1/history.

import { byId, element } from "./dom.js";
import { loadInfo, server } from "./server.js";
import { errorText, formatPercent, outcomeText, reasonsText } from "./results.js";
import { language, t, tn } from "./translation.js";

const LIMIT = 100;
const SHORT_HASH = 12;

const time = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });

// The id of the oldest result in the table, or undefined.
let oldest;

function hash(digits) {
  return element("code", digits.slice(0, SHORT_HASH), { title: digits });
}

function row(result) {
  const cells = [
    element("span", outcomeText(result.outcome), { className: "outcome" }),
    formatPercent(result.confidence),
    reasonsText(result),
    result.key,
    hash(result.sha256),
    hash(result.model),
  ];
  const made = element("th", time.format(new Date(result.time)), { scope: "row" });
  return element("tr", [made, ...cells.map((content) => element("td", content))], { className: result.outcome });
}

async function load() {
  const query = new URLSearchParams({ limit: LIMIT, ...(oldest && { before: oldest }) });
  const headers = byId("key").value ? { "X-API-Key": byId("key").value } : {};
  const response = await fetch(`v1/history?${query}`, { headers });
  const body = await response.json();
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
  return errorText(error.code ?? "no_answer", error.message);
}

async function show() {
  try {
    await load();
  } catch (error) {
    byId("status").textContent = message(error);
  }
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("results").replaceChildren();
  oldest = undefined;
  show();
});
byId("older").addEventListener("click", show);

await loadInfo().catch(() => {});
byId("form").hidden = !server.info?.key_required;
if (server.info?.key_required) byId("status").textContent = "";
else show();
