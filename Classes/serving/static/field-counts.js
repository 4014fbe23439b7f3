// The differential of all photographs: suggested, and after correction. The server counts, so that intervals and words
// are those of Classifier.py Field.

import { byId, element, setText } from "./dom.js";
import { allCells, countGroups, fieldImages } from "./field-cells.js";
import { NO_WHITE_CELL, sample, typeTitle } from "./field-data.js";
import { language, t, tn } from "./translation.js";

let asked = "";
let number = 0;

// What was counted last: {suggested, corrected}, the latter null without a correction; see field_page.py.
export const counted = { suggested: null, corrected: null };

export async function showFieldCounts() {
  const cells = allCells();
  const questions = [suggestedQuestion(cells), cells.some((cell) => cell.isSeen) ? { groups: countGroups(cells, true) } : null];
  byId("differential").hidden = cells.length === 0 && !fieldImages().some((image) => image.result);
  showSeen(cells);
  const text = JSON.stringify(questions);
  if (text === asked || byId("differential").hidden) return;
  asked = text;
  const own = (number += 1);
  try {
    const [suggested, corrected] = await Promise.all(questions.map((question) => question && ask(question)));
    if (own !== number) return;
    Object.assign(counted, { suggested, corrected });
    show(cells);
    setText(byId("counts-problem"), "");
  } catch {
    if (own !== number) return;
    asked = "";
    setText(byId("counts-problem"), t("The server is not responding, so these counts are not up to date."));
  }
}

function suggestedQuestion(cells) {
  const blasts = fieldImages().map((image) => image.result?.models.blasts).find(Boolean);
  const question = { groups: countGroups(cells, false) };
  const kind = fieldImages().map((image) => image.result?.counts.blasts?.type).find(Boolean);
  if (!blasts || !kind) return question;
  const isCounted = ({ row }) => row.group !== "erythroblast";
  return {
    ...question,
    blast: kind,
    blasts: cells.filter(({ row }) => row.blast).length,
    unlike: cells.filter((cell) => isCounted(cell) && cell.row.unlike_training).length,
    sensitivity: blasts.sensitivity,
    specificity: blasts.specificity,
  };
}

async function ask(question) {
  const response = await fetch(`field-counts?${new URLSearchParams({ counts: JSON.stringify(question), language })}`);
  if (!response.ok) throw new Error(response.status);
  return response.json();
}

function show(cells) {
  const { suggested, corrected } = counted;
  const [name, percent, count, interval] = suggested.heads;
  const columns = (answer) => [percent, count, interval].map((text) => [answer, text]);
  const heads = [...columns(suggested), ...(corrected ? columns(corrected) : [])];
  const groups = [...new Set([...(corrected?.rows ?? []), ...suggested.rows].map((row) => row.group))];
  const known = [...suggested.rows, ...(corrected?.rows ?? [])];
  const body = groups.map((group) => {
    const values = [suggested, corrected].filter(Boolean).flatMap((answer) => {
      const row = answer.rows.find((each) => each.group === group);
      return [row?.percent ?? "", row?.count ?? "", row?.interval ?? ""].map((text) => element("td", text));
    });
    const title = known.find((row) => row.group === group).title;
    return element("tr", [element("th", [sample(group), title], { scope: "row" }), ...values]);
  });
  const first = [element("th", name, { scope: "col", rowSpan: corrected ? 2 : 1 })];
  const second = heads.map(([, text]) => element("th", text, { scope: "col" }));
  const spans = [t("suggested"), t("after correction")].map((text) => element("th", text, { scope: "colgroup", colSpan: 3 }));
  const head = corrected ? [element("tr", [...first, ...spans]), element("tr", second)] : [element("tr", [...first, ...second])];
  byId("differential-head").replaceChildren(...head);
  byId("differential-body").replaceChildren(...body);
  byId("differential-table").hidden = groups.length === 0;
  byId("differential-sentences").replaceChildren(...sentences(cells).map((text) => element("li", text)));
}

function sentences(cells) {
  const { suggested, corrected } = counted;
  const texts = corrected ? [...corrected.sentences, ...suggested.sentences.slice(1).filter((text) => !corrected.sentences.includes(text))] : [...suggested.sentences];
  const none = cells.filter((cell) => cell.group === NO_WHITE_CELL).length;
  if (none) texts.push(tn("{n} is marked as: {name}.", "{n} are marked as: {name}.", none, { name: typeTitle(NO_WHITE_CELL) }));
  const matched = fieldImages().filter((image) => image.result?.stain_matched).length;
  if (matched) {
    texts.push(tn(
      "{n} photograph has another stain than the training images. It was matched, but types are less certain.",
      "{n} photographs have another stain than the training images. It was matched, but types are less certain.",
      matched,
    ));
  }
  return texts;
}

function showSeen(cells) {
  const seen = cells.filter((cell) => cell.isSeen).length;
  const changed = cells.filter((cell) => cell.isChanged).length;
  setText(byId("seen"), t("Looked at by a person: {seen} of {total} cells, {changed} changed.", { seen, total: cells.length, changed }));
}
