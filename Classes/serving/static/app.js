// Sends the selected images, a few at a time, and shows the results.

const CONCURRENCY = 3;

// Classifying changes nothing on the server, so these requests can be repeated; 0 means no response.
const RETRY_STATUS = [0, 429, 502, 503, 504];
const MAX_ATTEMPTS = 12;
const LONGEST_WAIT = 60;
const TIMEOUT_MS = 60_000;

// A spreadsheet runs a cell that begins with one of these as a formula, and anybody can choose a file's name.
const FORMULA = /^[=+\-@\t\r]/;
const COLUMNS = ["file", "class", "verdict", "confidence", "low", "uncertain"];
const LAST_COLUMNS = ["seconds", "error", "remark", "sha256", "engine", "precision", "model", "request_id", "notice"];

const byId = (id) => document.getElementById(id);
const images = [];
const imageOfRow = new WeakMap();
let sending = 0;
let requestingHeatMaps = false;

// Selecting files

byId("files").addEventListener("change", (event) => {
  addFiles(event.target.files);
  // Otherwise the same files could not be selected again.
  event.target.value = "";
});

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  // On the whole page, because a browser opens a file dropped elsewhere, and all results would be lost.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") addFiles(event.dataTransfer.files);
  });
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  retryFailed();
});
byId("again").addEventListener("click", retryFailed);
byId("clear").addEventListener("click", clearList);
byId("save").addEventListener("click", saveCsv);

function addFiles(files) {
  for (const file of files) {
    const image = { file, state: "waiting", text: "waiting", code: "" };
    image.url = URL.createObjectURL(file);
    image.canceled = new AbortController();
    image.row = element("tr");
    image.row.setAttribute("role", "row");
    images.push(image);
    imageOfRow.set(image.row, image);
    byId("rows").append(image.row);
    visibility.observe(image.row);
    render(image);
  }
  sendWaiting();
}

function retryFailed() {
  for (const image of images.filter((each) => each.state === "failed")) setState(image, "waiting", "waiting");
  sendWaiting();
}

function clearList() {
  for (const image of images.splice(0)) {
    image.canceled.abort();
    visibility.unobserve(image.row);
    image.row.remove();
    URL.revokeObjectURL(image.url);
  }
  updateStatus();
  byId("files").focus();
}

// Practice images, offered as long as the list is empty

async function fetchExamples() {
  const response = await fetch("v1/examples");
  return response.ok ? (await response.json()).examples : [];
}

async function addExamples() {
  byId("examples").hidden = true;
  const files = (await fetchExamples()).map(async ({ name, url }) => {
    const content = await (await fetch(url)).blob();
    return new File([content], name, { type: content.type });
  });
  addFiles(await Promise.all(files));
}

let examplesOffered = false;
fetchExamples()
  .then((examples) => {
    examplesOffered = examples.length > 0;
    updateStatus();
  })
  .catch(() => {});
byId("try-examples").addEventListener("click", () => addExamples().catch(updateStatus));

// Sending requests

function sendWaiting() {
  while (sending < CONCURRENCY) {
    const image = images.find((each) => each.state === "waiting");
    if (!image) break;
    sending += 1;
    setState(image, "sending", "sending…");
    classify(image).finally(() => {
      sending -= 1;
      sendWaiting();
    });
  }
  updateStatus();
}

async function classify(image) {
  const onRetry = (text) => setState(image, "sending", text);
  const response = await requestWithRetries(image, "v1/classify", "verdict", onRetry);
  if (!response) return;
  if (response.status === 200) {
    image.result = response.body;
    setState(image, "done", "");
    requestHeatMaps();
    return;
  }
  const { code, message } = response.body;
  if (code === "unauthorized") {
    // All other images would fail in the same way.
    for (const each of images.filter((one) => one.state === "waiting")) setState(each, "failed", message, code);
    byId("key").focus();
  }
  setState(image, "failed", message, code);
}

// Returns the last response, or undefined if the image was removed from the list.
async function requestWithRetries(image, address, field, onRetry) {
  const canceled = image.canceled.signal;
  let content;
  try {
    content = await image.file.arrayBuffer();
  } catch {
    const message = "The file cannot be read. Was it moved, or is it a folder?";
    return { status: 0, body: { code: "unreadable_file", message } };
  }
  for (let attempt = 1; !canceled.aborted; attempt += 1) {
    const response = await request(content, address, field, canceled);
    if (canceled.aborted) break;
    if (!RETRY_STATUS.includes(response.status) || attempt === MAX_ATTEMPTS) return response;
    const seconds = Math.min(response.wait || 2 ** (attempt - 1), LONGEST_WAIT);
    onRetry(`${response.body.message} Retry in ${seconds} s.`);
    await pause(seconds, canceled);
  }
  return undefined;
}

// Returns {status, wait, body}, whatever a server or proxy sends; throws no exception.
async function request(content, address, field, canceled) {
  const limit = new AbortController();
  const abort = () => limit.abort();
  const timer = setTimeout(abort, TIMEOUT_MS);
  canceled.addEventListener("abort", abort);
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    if (byId("key").value) headers["X-API-Key"] = byId("key").value;
    const response = await fetch(address, { method: "POST", body: content, headers, signal: limit.signal });
    const wait = Number(response.headers.get("Retry-After")) || 0;
    const unknown = { code: "no_answer", message: `The response is not one of this API (HTTP ${response.status}).` };
    const body = await response.json().catch(() => unknown);
    const valid = body && (response.ok ? body[field] : body.message);
    return { status: response.ok && !valid ? 500 : response.status, wait, body: valid ? body : unknown };
  } catch {
    const message = "The server does not respond. Check that it is running and that the API key is ASCII text.";
    return { status: 0, wait: 0, body: { code: "no_answer", message } };
  } finally {
    clearTimeout(timer);
    canceled.removeEventListener("abort", abort);
  }
}

function pause(seconds, canceled) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    canceled.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

// Heat maps: only of the rows on the screen, one request at a time

const visibility = new IntersectionObserver((entries) => {
  for (const entry of entries) imageOfRow.get(entry.target).visible = entry.isIntersecting;
  requestHeatMaps();
});
byId("heat-maps").addEventListener("change", requestHeatMaps);

function lacksHeatMap(image) {
  return image.state === "done" && image.visible && !image.heatMap && !image.heatMapError;
}

async function requestHeatMaps() {
  if (requestingHeatMaps) return;
  requestingHeatMaps = true;
  while (byId("heat-maps").checked && images.some(lacksHeatMap)) await requestHeatMap(images.find(lacksHeatMap));
  requestingHeatMaps = false;
}

async function requestHeatMap(image) {
  const response = await requestWithRetries(image, "v1/heatmap", "heat_map", () => {});
  if (!response) return;
  if (response.status === 200) image.heatMap = response.body.heat_map;
  // The model has none, whatever the image is.
  else if (response.body.code === "no_heat_map") byId("heat-maps").checked = false;
  else image.heatMapError = `no heat map (${response.body.code})`;
  render(image);
}

// Rendering

function setState(image, state, text, code = "") {
  Object.assign(image, { state, text, code });
  render(image);
  updateStatus();
}

function element(name, content = "", fields = {}) {
  const made = Object.assign(document.createElement(name), fields);
  made.append(...[content].flat());
  return made;
}

function cell(kind, content, name = "td") {
  const made = element(name, content, { className: kind });
  made.setAttribute("role", name === "th" ? "rowheader" : "cell");
  if (name === "th") made.scope = "row";
  return made;
}

function render(image) {
  image.picture ||= cell("picture", thumbnail(image));
  image.name ||= cell("name", image.file.name, "th");
  image.row.className = image.state;
  image.row.replaceChildren(
    image.picture,
    image.name,
    cell("result", resultText(image)),
    cell("confidence", image.result ? confidence(image.result) : ""),
    cell("map", image.heatMap ? heatMap(image) : (image.heatMapError ?? "")),
  );
}

function thumbnail(image) {
  const made = element("img", "", { src: image.url, alt: "", loading: "lazy", decoding: "async" });
  // The server supports more image formats than browsers.
  made.addEventListener("error", () => made.replaceWith(element("span", "no preview", { className: "help" })));
  return made;
}

function resultText(image) {
  if (image.state === "failed") {
    return [element("strong", "No result"), element("span", `${image.text} (${image.code})`, { className: "error" })];
  }
  if (image.state !== "done") return [element("span", image.text, { className: "help" })];
  return [element("strong", image.result.verdict, { className: image.result.detected ? "detected" : "fine" })];
}

function confidence(result) {
  const percent = `${(100 * result.confidence).toFixed(2)} %`;
  const meter = element("meter", percent, { min: 0, max: 1, value: result.confidence });
  meter.setAttribute("aria-label", "Confidence");
  const parts = [element("span", percent, { className: "percent" }), meter];
  if (result.low_confidence) parts.push(element("span", "⚠ low confidence", { className: "low" }));
  if (result.uncertain) parts.push(element("span", "⚠ uncertain: a person should decide", { className: "low" }));
  if (result.remark) parts.push(element("span", `⚠ ${result.remark}`, { className: "low" }));
  return parts;
}

function heatMap(image) {
  const name = image.file.name;
  const made = element("button", element("img", "", { src: image.heatMap, alt: "" }), { type: "button" });
  made.setAttribute("aria-label", `Enlarge ${name} and its heat map`);
  made.addEventListener("click", () => {
    byId("larger-title").textContent = name;
    byId("larger-result").replaceChildren(...resultText(image), ...confidence(image.result));
    byId("larger-image").src = image.url;
    byId("larger-map").src = image.heatMap;
    byId("larger").showModal();
  });
  return made;
}

function updateStatus() {
  const count = (test) => images.filter(test).length;
  const done = images.filter((each) => each.state === "done");
  const failed = count((each) => each.state === "failed");
  const detected = done.filter((each) => each.result.detected).length;
  const low = done.filter((each) => each.result.low_confidence).length;
  const failures = failed ? `; ${failed} failed` : "";
  const counts = `${detected} ALL detected, ${done.length - detected} not detected; ${low} with low confidence`;
  const summary = `${done.length} of ${images.length} images have a result: ${counts}${failures}.`;
  const text = images.length ? summary : "No images yet.";
  // Setting the same text again would make screen readers repeat it.
  if (byId("status").textContent !== text) byId("status").textContent = text;
  byId("table").hidden = images.length === 0;
  byId("examples").hidden = !examplesOffered || images.length > 0;
  byId("clear").disabled = images.length === 0;
  byId("save").disabled = done.length + failed === 0;
  byId("again").disabled = failed === 0;
  const last = done.at(-1)?.result;
  byId("model").textContent = last ? `Model ${last.model.slice(0, 12)} on ${last.engine}, ${last.precision}` : "";
  byId("synthetic").hidden = !last?.synthetic;
}

// Saving the table

function saveCsv() {
  // Spreadsheets recognize UTF-8 by the byte order mark.
  const content = new Blob(["\ufeff", csv()], { type: "text/csv;charset=utf-8" });
  const link = element("a", "", { href: URL.createObjectURL(content), download: "ALL results.csv" });
  link.click();
  // Later, because the browser may not have started the download.
  setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT_MS);
}

function csv() {
  const classes = Object.keys(images.find((each) => each.result)?.result.probabilities ?? {});
  const header = [...COLUMNS, ...classes.map((name) => `probability_${name}`), ...LAST_COLUMNS];
  const lines = [header, ...images.map((image) => row(image, classes))];
  return lines.map((line) => `${line.map(field).join(",")}\r\n`).join("");
}

function row(image, classes) {
  const result = image.result ?? {};
  const error = image.state === "done" ? "" : `${image.text}${image.code ? ` (${image.code})` : ""}`;
  const values = { ...result, file: image.file.name, low: result.low_confidence, error };
  const take = (names) => names.map((name) => values[name]);
  return [...take(COLUMNS), ...classes.map((name) => result.probabilities?.[name]), ...take(LAST_COLUMNS)];
}

function field(value) {
  const text = String(value ?? "");
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
