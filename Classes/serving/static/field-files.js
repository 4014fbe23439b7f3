// The cells of all photographs as files, in the columns of Classifier.py Field, with the type that a person chose.

import { csvField, download, localTime } from "./csv.js";
import { byId } from "./dom.js";
import { allCells, correctedType, fieldImages } from "./field-cells.js";
import { counted } from "./field-counts.js";
import { server } from "./server.js";

// Parts of an answer that are not columns of a photograph in the file of Classifier.py Field.
const LEFT_OUT = ["message", "suggested", "counts", "sentences", "cells", "models", "notice", "date"];

function rows() {
  return allCells().map((cell) => ({ ...cell.row, field: cell.image.name, corrected_type: correctedType(cell) }));
}

export function saveFieldCsv() {
  const lines = rows();
  const columns = lines.length ? Object.keys(lines[0]) : ["field"];
  const table = [columns, ...lines.map((row) => columns.map((name) => plain(row[name])))];
  const text = table.map((line) => `${line.map((value) => csvField(value, ",")).join(",")}\n`).join("");
  download(text, "text/csv;charset=utf-8", fileName("csv"));
}

export function saveFieldJson() {
  const fields = fieldImages().map((image) => {
    if (!image.result) return { field: image.name, white_cells: null, code: image.code || null, error: image.text || image.state };
    const kept = Object.entries(image.result).filter(([name]) => !LEFT_OUT.includes(name));
    return { ...Object.fromEntries(kept), field: image.name, code: null, error: null };
  });
  const content = {
    notice: byId("notice").textContent.trim(),
    software_version: server.info?.version ?? null,
    models: fieldImages().find((image) => image.result)?.result.models ?? null,
    suggested: allCells().some((cell) => !cell.isSeen),
    counts: counted.suggested?.counts ?? null,
    corrected_counts: counted.corrected?.counts ?? null,
    fields,
    cells: rows(),
  };
  download(`${JSON.stringify(content, null, 2)}\n`, "application/json", fileName("json"));
}

const fileName = (kind) => `fields-${localTime(new Date()).replace(" ", "-").replaceAll(":", "")}.${kind}`;

// As Python writes them.
function plain(value) {
  return typeof value === "boolean" ? (value ? "True" : "False") : value;
}
