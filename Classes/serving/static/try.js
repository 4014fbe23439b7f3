// "Try it out": sends a request of the API page and shows the answer.

import { byId, element } from "./dom.js";
import { formatNumber, t } from "./translation.js";

// Longer texts, such as heat maps, are cut in the answer that is shown.
const LONGEST_TEXT = 200;

let forms = 0;

function field(id, label, input) {
  return element("p", [element("label", label, { htmlFor: id }), " ", Object.assign(input, { id })]);
}

function parameterField(id, { name, schema, description }) {
  const label = `${name} (${description})`;
  if (!schema.enum) return field(id, label, element("input", "", { name, type: "text", placeholder: schema.default ?? "" }));
  const choices = ["", ...schema.enum].map((value) => element("option", value, { value }));
  return field(id, label, element("select", choices, { name }));
}

function fileField(id, several) {
  return field(id, several ? t("Images") : t("Image"), element("input", "", { type: "file", required: true, multiple: several }));
}

// The element of one operation; `several`: it takes a form with any number of images.
export function tryOut(address, method, described) {
  forms += 1;
  const types = Object.keys(described.requestBody?.content ?? {});
  const several = types.length === 1;
  const inputs = (described.parameters ?? []).map((each, index) => parameterField(`try-${forms}-${index}`, each));
  if (types.length) inputs.push(fileField(`try-${forms}-file`, several));
  const answer = element("div", "", { className: "answer" });
  answer.setAttribute("role", "status");
  const form = element("form", [...inputs, element("button", t("Send")), answer]);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.replaceChildren(t("Waiting for the answer…"));
    answer.replaceChildren(...(await send(form, address, method, described, several)));
  });
  return element("details", [element("summary", t("Try it out")), form], { className: "try" });
}

async function send(form, address, method, described, several) {
  const query = new URLSearchParams();
  for (const input of form.querySelectorAll("[name]")) if (input.value) query.set(input.name, input.value);
  const url = `${address.slice(1)}${query.size ? `?${query}` : ""}`;
  const headers = described.security && byId("key").value ? { "X-API-Key": byId("key").value } : {};
  const start = performance.now();
  try {
    const response = await fetch(url, { method: method.toUpperCase(), headers, body: body(form, several) });
    const text = await response.text();
    const milliseconds = formatNumber(performance.now() - start);
    const line = t("{status} after {milliseconds} ms", { status: response.status, milliseconds });
    return [element("p", element("strong", line)), scrolling(pretty(text))];
  } catch (error) {
    return [t("No answer ({reason}). Is the server running?", { reason: error.message })];
  }
}

function body(form, several) {
  const files = form.querySelector("[type=file]")?.files;
  if (!files) return undefined;
  if (!several) return files[0];
  const data = new FormData();
  for (const file of files) data.append("file", file);
  return data;
}

function pretty(text) {
  const shorten = (key, value) =>
    typeof value === "string" && value.length > LONGEST_TEXT ? `${value.slice(0, LONGEST_TEXT)}…` : value;
  try {
    return JSON.stringify(JSON.parse(text, shorten), null, 2);
  } catch {
    return text;
  }
}

// A keyboard can scroll it.
export function scrolling(text) {
  return element("pre", text, { tabIndex: 0 });
}
