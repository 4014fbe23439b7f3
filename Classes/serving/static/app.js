// Sends the chosen images, a few at a time, and shows what the server says of each.

const AT_ONCE = 3;

// Inference changes nothing on the server, so sending again is safe; 0 stands for no answer at all.
const AGAIN = [0, 429, 502, 503, 504];
const TRIES = 12;
const LONGEST_WAIT = 60;
const TIMEOUT = 60_000;

// A spreadsheet takes a text that begins so for a formula, and a file's name is a stranger's text.
const FORMULA = /^[=+\-@\t\r]/;
const COLUMNS = ["file", "class", "verdict", "confidence", "low", "uncertain"];
const LAST_COLUMNS = ["seconds", "error", "remark", "sha256", "engine", "precision", "model", "request_id", "notice"];

const byId = (id) => document.getElementById(id);
const images = [];
let sending = 0;

// Choosing

byId("files").addEventListener("change", (event) => {
  add(event.target.files);
  // Else the same files could not be chosen again.
  event.target.value = "";
});

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  // On the whole page: a browser opens a file that misses the field, and every verdict would be gone.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") add(event.dataTransfer.files);
  });
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  tryAgain();
});
byId("again").addEventListener("click", tryAgain);
byId("clear").addEventListener("click", clear);
byId("save").addEventListener("click", save);

function add(files) {
  for (const file of files) {
    const image = { file, state: "waiting", words: "waiting", code: "" };
    image.url = URL.createObjectURL(file);
    image.stop = new AbortController();
    image.row = element("tr");
    image.row.setAttribute("role", "row");
    images.push(image);
    byId("rows").append(image.row);
    draw(image);
  }
  work();
}

function tryAgain() {
  for (const image of images.filter((each) => each.state === "failed")) change(image, "waiting", "waiting");
  work();
}

function clear() {
  for (const image of images.splice(0)) {
    image.stop.abort();
    image.row.remove();
    URL.revokeObjectURL(image.url);
  }
  tell();
  byId("files").focus();
}

// Sending

function work() {
  while (sending < AT_ONCE) {
    const image = images.find((each) => each.state === "waiting");
    if (!image) break;
    sending += 1;
    change(image, "sending", "sending…");
    examine(image).finally(() => {
      sending -= 1;
      work();
    });
  }
  tell();
}

async function examine(image) {
  let content;
  try {
    content = await image.file.arrayBuffer();
  } catch {
    return change(image, "failed", "the file cannot be read; was it moved, or is it a folder?", "unreadable_file");
  }
  for (let attempt = 1; !image.stop.signal.aborted; attempt += 1) {
    const heatMaps = byId("heat-maps").checked;
    const answer = await ask(content, heatMaps, image.stop.signal);
    if (image.stop.signal.aborted) break;
    if (answer.status === 200) {
      image.answer = answer.body;
      return change(image, "done", "");
    }
    const { code, message } = answer.body;
    if (code === "no_heat_map" && heatMaps) {
      byId("heat-maps").checked = false;
      continue;
    }
    if (code === "unauthorized") {
      // Every other image would be refused alike.
      for (const each of images.filter((one) => one.state === "waiting")) change(each, "failed", message, code);
      byId("key").focus();
    }
    if (!AGAIN.includes(answer.status) || attempt === TRIES) return change(image, "failed", message, code);
    const seconds = Math.min(answer.wait || 2 ** (attempt - 1), LONGEST_WAIT);
    change(image, "sending", `${message}; again in ${seconds} s`);
    await pause(seconds, image.stop.signal);
  }
  return undefined;
}

// {status, wait, body}; whatever a server or something in front of it sends, never an exception.
async function ask(content, heatMaps, stop) {
  const limit = new AbortController();
  const abort = () => limit.abort();
  const timer = setTimeout(abort, TIMEOUT);
  stop.addEventListener("abort", abort);
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    if (byId("key").value) headers["X-API-Key"] = byId("key").value;
    const address = heatMaps ? "v1/classify?heatmap=1" : "v1/classify";
    const response = await fetch(address, { method: "POST", body: content, headers, signal: limit.signal });
    const wait = Number(response.headers.get("Retry-After")) || 0;
    const strange = { code: "no_answer", message: `the answer is not that of this API (HTTP ${response.status})` };
    const body = await response.json().catch(() => strange);
    const known = body && (response.ok ? body.verdict : body.message);
    return { status: response.ok && !known ? 500 : response.status, wait, body: known ? body : strange };
  } catch {
    const message = "no answer from the server; is it running, and is the API key plain ASCII?";
    return { status: 0, wait: 0, body: { code: "no_answer", message } };
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", abort);
  }
}

function pause(seconds, stop) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    stop.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

// Showing

function change(image, state, words, code = "") {
  Object.assign(image, { state, words, code });
  draw(image);
  tell();
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

function draw(image) {
  image.picture ||= cell("picture", thumbnail(image));
  image.name ||= cell("name", image.file.name, "th");
  image.row.className = image.state;
  image.row.replaceChildren(
    image.picture,
    image.name,
    cell("verdict", verdict(image)),
    cell("confidence", image.answer ? confidence(image.answer) : ""),
    cell("map", image.answer?.heat_map ? heatMap(image) : ""),
  );
}

function thumbnail(image) {
  const made = element("img", "", { src: image.url, alt: "", loading: "lazy", decoding: "async" });
  // Browsers show fewer formats than the server reads.
  made.addEventListener("error", () => made.replaceWith(element("span", "no preview", { className: "help" })));
  return made;
}

function verdict(image) {
  if (image.state === "failed") {
    return [element("strong", "No verdict"), element("span", `${image.words} (${image.code})`, { className: "error" })];
  }
  if (image.state !== "done") return [element("span", image.words, { className: "help" })];
  return [element("strong", image.answer.verdict, { className: image.answer.detected ? "detected" : "fine" })];
}

function confidence(answer) {
  const percent = `${(100 * answer.confidence).toFixed(2)} %`;
  const meter = element("meter", percent, { min: 0, max: 1, value: answer.confidence });
  meter.setAttribute("aria-label", "Confidence");
  const parts = [element("span", percent, { className: "percent" }), meter];
  if (answer.low_confidence) parts.push(element("span", "⚠ low confidence", { className: "low" }));
  if (answer.uncertain) parts.push(element("span", "⚠ uncertain: a person should decide", { className: "low" }));
  if (answer.remark) parts.push(element("span", `⚠ ${answer.remark}`, { className: "low" }));
  return parts;
}

function heatMap(image) {
  const name = image.file.name;
  const made = element("button", element("img", "", { src: image.answer.heat_map, alt: "" }), { type: "button" });
  made.setAttribute("aria-label", `Show ${name} and its heat map larger`);
  made.addEventListener("click", () => {
    byId("larger-title").textContent = name;
    byId("larger-verdict").replaceChildren(...verdict(image), ...confidence(image.answer));
    byId("larger-image").src = image.url;
    byId("larger-map").src = image.answer.heat_map;
    byId("larger").showModal();
  });
  return made;
}

function tell() {
  const count = (test) => images.filter(test).length;
  const done = images.filter((each) => each.state === "done");
  const failed = count((each) => each.state === "failed");
  const detected = done.filter((each) => each.answer.detected).length;
  const low = done.filter((each) => each.answer.low_confidence).length;
  const words = [`${done.length} of ${images.length} images have a verdict: ${detected} ALL detected, `];
  words.push(`${done.length - detected} not detected; ${low} with low confidence`);
  if (failed) words.push(`; ${failed} failed`);
  const text = images.length ? `${words.join("")}.` : "No image yet.";
  // Said again, it would be read aloud again.
  if (byId("status").textContent !== text) byId("status").textContent = text;
  byId("table").hidden = images.length === 0;
  byId("clear").disabled = images.length === 0;
  byId("save").disabled = done.length + failed === 0;
  byId("again").disabled = failed === 0;
  const last = done.at(-1)?.answer;
  byId("model").textContent = last ? `Model ${last.model.slice(0, 12)} on ${last.engine}, ${last.precision}` : "";
  byId("synthetic").hidden = !last?.synthetic;
}

// Saving

function save() {
  // The mark at the beginning tells a spreadsheet that this is UTF-8.
  const content = new Blob(["\ufeff", csv()], { type: "text/csv;charset=utf-8" });
  const link = element("a", "", { href: URL.createObjectURL(content), download: "ALL verdicts.csv" });
  link.click();
  // Not at once: a browser may not have begun to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), TIMEOUT);
}

function csv() {
  const classes = Object.keys(images.find((each) => each.answer)?.answer.probabilities ?? {});
  const header = [...COLUMNS, ...classes.map((name) => `probability_${name}`), ...LAST_COLUMNS];
  const lines = [header, ...images.map((image) => row(image, classes))];
  return lines.map((line) => `${line.map(field).join(",")}\r\n`).join("");
}

function row(image, classes) {
  const answer = image.answer ?? {};
  const error = image.state === "done" ? "" : `${image.words}${image.code ? ` (${image.code})` : ""}`;
  const known = { ...answer, file: image.file.name, low: answer.low_confidence, error };
  const take = (names) => names.map((name) => known[name]);
  return [...take(COLUMNS), ...classes.map((name) => answer.probabilities?.[name]), ...take(LAST_COLUMNS)];
}

function field(value) {
  const text = String(value ?? "");
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
