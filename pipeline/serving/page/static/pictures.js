// Pictures of rows, fetched when they come into view, a few at a time, and kept for going back.
import { ask } from "./api.js";
import { make, phrase } from "./dom.js";
import { brief, isKnown, label, say, visible } from "./say.js";

/** A browser has six connections to a server: searches and rows need some. */
const AT_ONCE = 4, KEPT = 400;
/** A grid asks for many at once, more than a key with a low rate may: they come one after the other. */
const TRIES = 30;
const kept = new Map(); // key -> address of a blob
const waiting = [];
const running = new Map(); // element -> what ends its request
const asked = new WeakMap();

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const place = waiting.indexOf(target);
    if (!isIntersecting) {
      if (place >= 0) { waiting.splice(place, 1); } // the reader went past it
    } else if (place < 0 && !running.has(target)) {
      if (asked.get(target).size === "large") { waiting.unshift(target); } else { waiting.push(target); }
    }
  }
  next();
}, { rootMargin: "300px" });

/** A tile with the picture of a row, once it is in view; in its place, if it is not to be had, the reason. */
export function tile(row, size = "small") {
  const element = make("span", "tile loading");
  const key = keyOf(row, size), small = keyOf(row, "small");
  if (kept.has(small)) { show(element, kept.get(small), row); } // until the large one is there
  if (kept.has(key)) {
    show(element, kept.get(key), row);
  } else {
    asked.set(element, { row, size, key });
    seen.observe(element);
  }
  return element;
}

function keyOf(row, size) { return JSON.stringify([row.id, row.source_fingerprint, size]); }

function next() {
  for (const [element, ending] of running) {
    if (!element.isConnected) { ending.abort(); } // a newer search took its place
  }
  while (running.size < AT_ONCE && waiting.length) {
    const element = waiting.shift();
    if (element.isConnected) { fetched(element); }
  }
}

async function fetched(element) {
  const { row, size, key } = asked.get(element), ending = new AbortController();
  running.set(element, ending);
  const parameters = { id: row.id, source_fingerprint: row.source_fingerprint, size };
  try {
    const answer = await ask("v1/picture", { parameters, signal: ending.signal, tries: TRIES });
    const address = URL.createObjectURL(await answer.blob());
    keep(key, address);
    show(element, address, row);
  } catch (fault) {
    if (fault.name !== "AbortError") { gap(element, fault, size); }
  } finally {
    running.delete(element);
    seen.unobserve(element);
    next();
  }
}

function keep(key, address) {
  kept.set(key, address);
  if (kept.size > KEPT) {
    const [oldest, unused] = kept.entries().next().value;
    kept.delete(oldest);
    URL.revokeObjectURL(unused);
  }
}

function show(element, address, row) {
  const image = make("img", "");
  image.alt = row.columns?.text ? visible(brief(row.columns.text)) : say("results.picture_of", { id: row.id });
  image.decoding = "async";
  image.addEventListener("error", () => { if (element.contains(image)) { gap(element, {}); } });
  image.src = address;
  element.classList.remove("loading");
  element.replaceChildren(image);
}

function gap(element, fault, size) {
  const reason = `reason.${fault.code}`;
  const word = isKnown(reason) ? reason : fault.retryS ? "fault.busy" : "results.no_picture";
  element.classList.remove("loading");
  element.classList.add("gap");
  element.replaceChildren(phrase("span", "", word));
  const why = size === "large" && isKnown(`${reason}_why`);
  if (why) { element.append(phrase("span", "", `${reason}_why`)); }
  element.setAttribute("role", "img");
  label(element, "aria-label", why ? `${reason}_why` : word);
  element.title = fault.message ?? "";
}
