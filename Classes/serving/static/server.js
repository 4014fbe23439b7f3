// Requests to the server.

import { byId } from "./dom.js";

// Classifying changes nothing on the server, so these requests can be repeated; 0 means no response.
const RETRY_STATUS = [0, 429, 502, 503, 504];
const MAX_ATTEMPTS = 12;
const LONGEST_WAIT = 60;
const TIMEOUT_MS = 60_000;

// `info` is what /v1/info answers, or undefined.
export const server = { info: undefined };

export async function loadInfo() {
  const response = await fetch("v1/info");
  if (response.ok) server.info = await response.json();
}

// [{name, url}] of the server's example images; none if it has no such endpoint.
export async function loadExamples() {
  const response = await fetch("v1/examples");
  return response.ok ? (await response.json()).examples : [];
}

// The file in a data URI, which would stay in the memory of the page as it is.
export function blobOf(dataUri) {
  const [head, content] = dataUri.split(",");
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice("data:".length).split(";")[0] });
}

// Sends a file until there is an answer worth showing. Returns {status, body}, or undefined if `canceled` was aborted.
// `field` is in every successful answer; `onRetry(code, message, seconds)` is called before a pause.
export async function sendFile(file, address, field, canceled, onRetry = () => {}) {
  let content;
  try {
    content = await file.arrayBuffer();
  } catch {
    return { status: 0, body: { code: "unreadable_file", message: "" } };
  }
  for (let attempt = 1; !canceled.aborted; attempt += 1) {
    const response = await request(content, address, field, canceled);
    if (canceled.aborted) break;
    if (!RETRY_STATUS.includes(response.status) || attempt === MAX_ATTEMPTS) return response;
    const seconds = Math.min(response.wait || 2 ** (attempt - 1), LONGEST_WAIT);
    onRetry(response.body.code, response.body.message, seconds);
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
    const unknown = { code: "no_answer", message: `HTTP ${response.status}` };
    const body = await response.json().catch(() => unknown);
    const valid = body && (response.ok ? body[field] : body.message);
    return { status: response.ok && !valid ? 500 : response.status, wait, body: valid ? body : unknown };
  } catch {
    return { status: 0, wait: 0, body: { code: "no_answer", message: "" } };
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
