// Renders openapi.json: endpoints with requests and responses, error codes, and the fields of the responses.

import { byId, element } from "./dom.js";
import { loadInfo, server } from "./server.js";
import { t, tn } from "./translation.js";
import { scrolling, tryOut } from "./try.js";

const SCHEMA = "#/components/schemas/";
const KEY = t("X-API-Key or Authorization: Bearer, if the server has a key");

const code = (text) => element("code", text);

// Text in which `this` is code.
const prose = (text) => text.split("`").map((part, index) => (index % 2 ? code(part) : part));

// In its own frame, so that a narrow screen scrolls the table rather than the page.
function table(caption, header, rows, name = caption) {
  const heads = header.map((text) => element("th", text, { scope: "col" }));
  const lines = rows.map(([first, ...others]) =>
    element("tr", [element("th", first, { scope: "row" }), ...others.map((content) => element("td", content))]),
  );
  const made = element("table", [
    element("caption", caption),
    element("thead", element("tr", heads)),
    element("tbody", lines),
  ]);
  const frame = element("div", made, { className: "scroll", tabIndex: 0 });
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", name);
  return frame;
}

// Parts of a schema

function reference(schema) {
  const name = schema.$ref.slice(SCHEMA.length);
  return element("a", name, { href: `#schema-${name}` });
}

function typeOf(schema) {
  if (schema.$ref) return reference(schema);
  if (schema.const !== undefined) return code(JSON.stringify(schema.const));
  if (schema.enum) return schema.enum.flatMap((value, index) => [index ? t(" or ") : "", code(JSON.stringify(value))]);
  if (schema.items) return [t("array of "), typeOf(schema.items)].flat();
  if (schema.oneOf) return schema.oneOf.flatMap((each, index) => [index ? t(" or ") : "", typeOf(each)].flat());
  const from = schema.minimum === undefined ? "" : t(" from {minimum}", schema);
  const to = schema.maximum === undefined ? "" : t(" to {maximum}", schema);
  return `${schema.format ?? schema.type ?? t("anything")}${from}${to}`;
}

// [path, type, description] of every field; the fields of nested objects have paths such as `outer.inner`.
function fields(schema, prefix = "") {
  const inner = schema.items?.oneOf ?? [schema.items ?? schema];
  const within = schema.items ? `${prefix}[].` : prefix && `${prefix}.`;
  const found = new Map();
  for (const one of inner) {
    for (const [name, part] of Object.entries(one.properties ?? {})) {
      const path = `${within}${name}`;
      const optional = one.required?.includes(name) ? "" : t(" (optional)");
      if (!found.has(path)) found.set(path, [code(path), typeOf(part), `${part.description ?? ""}${optional}`]);
      for (const [deeper, line] of fields(part, path)) if (!found.has(deeper)) found.set(deeper, line);
    }
  }
  return found;
}

// Sections

function operation(address, method, described) {
  const parts = [element("h2", [element("span", method.toUpperCase(), { className: "method" }), ` ${address}`])];
  parts.push(element("p", element("strong", `${described.summary}.`)));
  if (described.description) parts.push(element("p", prose(described.description)));
  const inputs = (described.parameters ?? []).map((each) => [
    code(each.name),
    `${each.in}${each.required ? t(", required") : ""}`,
    typeOf(each.schema),
    each.description ?? "",
  ]);
  const ways = Object.entries(described.requestBody?.content ?? {});
  for (const [type, { schema }] of ways) {
    const lines = [...fields(schema).values()];
    const form = lines.flatMap(([path, type_]) => [t("field "), path.cloneNode(true), ": ", type_].flat());
    const meaning = ways.length > 1 ? t("one of the supported content types") : t("the request body");
    inputs.push([code(type), "body", form.length ? form : typeOf(schema), meaning]);
  }
  if (described.security) inputs.push([code("key"), "header", "string", KEY]);
  if (inputs.length) parts.push(table(t("Request"), [t("Name"), t("In"), t("Type"), t("Description")], inputs, `${t("Request")} ${address}`));
  parts.push(table(t("Responses"), [t("Status"), t("Content"), t("Description")], responses(described), `${t("Responses")} ${address}`));
  parts.push(scrolling(command(address, method, described)));
  const sample = Object.values(described.responses["200"].content)[0].example;
  if (sample) {
    const shown = scrolling(JSON.stringify(sample, null, 2));
    parts.push(element("details", [element("summary", t("Sample answer")), shown]));
  }
  parts.push(tryOut(address, method, described));
  return element("section", parts, { className: "operation", id: sectionId(address, method) });
}

const sectionId = (address, method) => `${method}-${address.slice(1).replaceAll(/[^A-Za-z0-9]/g, "-")}`;

function contents(operations) {
  const links = operations.map(([address, method]) =>
    element("li", element("a", `${method.toUpperCase()} ${address}`, { href: `#${sectionId(address, method)}` })),
  );
  const made = element("nav", element("ul", links));
  made.setAttribute("aria-label", t("Endpoints"));
  return made;
}

function responses(described) {
  return Object.entries(described.responses).map(([status, response]) => {
    const [type, content] = Object.entries(response.content ?? {})[0] ?? ["", null];
    return [status, content?.schema.$ref ? reference(content.schema) : type, response.description];
  });
}

function command(address, method, described) {
  const types = Object.keys(described.requestBody?.content ?? {});
  const key = described.security ? ' -H "X-API-Key: $ALL_API_KEY"' : "";
  const several = types.length === 1;
  const sent = several ? " -F file=@first.jpg -F file=@second.jpg" : " --data-binary @cell.jpg";
  return `curl${key}${method === "post" ? sent : ""} ${new URL(address.slice(1), document.baseURI)}`;
}

function errorCodes(codes) {
  const lines = Object.entries(codes).map(([name, { status, when }]) => [code(name), `${status}`, when]);
  const parts = [element("h2", t("Error codes")), table(t("Error codes"), [t("Code"), t("Status"), t("When")], lines)];
  return element("section", parts, { className: "operation" });
}

function schemaSection(name, schema) {
  const lines = [...fields(schema).values()];
  const body = lines.length ? table(t("Fields of {name}", { name }), [t("Field"), t("Type"), t("Description")], lines) : schema.description;
  return element("section", [element("h2", t("Response {name}", { name }), { id: `schema-${name}` }), body], {
    className: "operation",
  });
}

async function show() {
  await loadInfo().catch(() => {});
  byId("key-field").addEventListener("submit", (event) => event.preventDefault());
  byId("key-field").hidden = !server.info?.key_required;
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { paths, components, "x-error-codes": codes } = await response.json();
  const operations = Object.entries(paths).flatMap(([address, methods]) =>
    Object.entries(methods).map(([method, described]) => [address, method, described]),
  );
  const sections = operations.map((each) => operation(...each));
  const schemas = Object.entries(components.schemas).map(([name, schema]) => schemaSection(name, schema));
  byId("operations").replaceChildren(contents(operations), ...sections, errorCodes(codes), ...schemas);
  byId("status").textContent = tn("{n} endpoint.", "{n} endpoints.", sections.length);
  // The section in the URL did not exist yet when the browser looked for it.
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

show().catch((error) => {
  byId("status").textContent = t("openapi.json cannot be loaded ({reason}). Is the server running?", {
    reason: error.message,
  });
});
