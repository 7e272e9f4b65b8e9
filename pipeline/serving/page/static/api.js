// Asks the API. With keys, the one that the reader enters is kept for this tab and sent as any other client sends it.
import { byId } from "./dom.js";

const KEY = "hanclip-key";
/** What a header can hold: anything else in a key would fail as if the server were gone. */
const KEY_FORM = /^[\x21-\x7e]+$/;
/** A server that is busy for longer than this, or at the last try still, is a fault. */
const MOST_WAIT_S = 3, TRIES = 3;
let memory = null; // where nothing can be stored
let asking = null;

/** What the API says is wrong. `code` is one word; `retryS` is when to try again. */
export class ApiFault extends Error {
  constructor(message, status, code, retryS) {
    super(message);
    Object.assign(this, { status, code, retryS });
  }
}

export function key(value) {
  try {
    if (value === null) { sessionStorage.removeItem(KEY); } else if (value) { sessionStorage.setItem(KEY, value); }
    return sessionStorage.getItem(KEY);
  } catch {
    if (value !== undefined) { memory = value; }
    return memory;
  }
}

/** The answer to a request; `body` makes it a POST. Asks the reader for a key if one is needed, and a busy server again. */
export async function ask(path, { body, parameters = {}, signal, tries = TRIES } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) { url.searchParams.set(name, value); }
  for (let left = tries; ;) {
    const used = key();
    const headers = used ? { Authorization: `Bearer ${used}` } : {};
    const options = { headers, signal, cache: "default", redirect: "error" };
    if (body) { Object.assign(options, { method: "POST", body: JSON.stringify(body) }); }
    let answer;
    try {
      answer = await fetch(url, options);
    } catch (error) {
      throw error.name === "AbortError" ? error : new ApiFault("", 0, "unreachable");
    }
    if (answer.ok) { return answer; }
    if (answer.status === 401) {
      await entered(used);
      continue;
    }
    const found = await fault(answer);
    if (--left < 1 || !found.retryS || found.retryS > MOST_WAIT_S) { throw found; }
    await pause(found.retryS, signal);
  }
}

export async function askJson(path, options) {
  const answer = await ask(path, options);
  try {
    return JSON.parse(await answer.text(), exact);
  } catch (error) {
    if (error.name === "AbortError") { throw error; }
    throw error instanceof SyntaxError ? new ApiFault("", 502, "unknown") : new ApiFault("", 0, "unreachable");
  }
}

/** Whole numbers that JavaScript would round, such as hashes of 64 bits, stay as they are written. */
function exact(_, value, { source } = {}) {
  return source && Number.isInteger(value) && !Number.isSafeInteger(value) ? source : value;
}

async function fault(answer) {
  const retryS = Number(answer.headers.get("retry-after")) || null;
  let error = null;
  try { error = (await answer.json()).error; } catch { /* a proxy's own answer is no JSON */ }
  return new ApiFault(error?.message ?? "", answer.status, error?.code ?? "unknown", retryS);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/** Wait until the reader has entered another key than `refused`; one dialog for all requests that wait. */
function entered(refused) {
  if (key() !== refused) { return Promise.resolve(); }
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog"), form = byId("key-form"), field = byId("key");
    byId("key-wrong").hidden = !refused;
    field.value = "";
    dialog.oncancel = (event) => event.preventDefault(); // nothing works without
    dialog.onclose = () => { if (asking && !dialog.open) { dialog.showModal(); } }; // a browser may close it all the same
    form.onsubmit = (event) => {
      event.preventDefault();
      const given = field.value.trim();
      byId("key-wrong").hidden = KEY_FORM.test(given);
      if (!KEY_FORM.test(given)) {
        field.select();
        return;
      }
      key(given);
      byId("forget-key").hidden = false;
      asking = null;
      dialog.close();
      resolve();
    };
    dialog.showModal();
    field.focus();
  });
  return asking;
}
