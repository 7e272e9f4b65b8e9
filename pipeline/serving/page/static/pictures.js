// Pictures of rows, fetched when they come into view, a few at a time, and kept for going back.
import { ask } from "./api.js";
import { make, phrase } from "./dom.js";
import { isKnown, label, say, visible } from "./say.js";

const AT_ONCE = 6, KEPT = 400;
const kept = new Map(); // key -> address of a blob
const waiting = [];
let busy = 0;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      if (asked.get(entry.target).size === "large") { waiting.unshift(entry.target); } else { waiting.push(entry.target); }
    }
  }
  next();
}, { rootMargin: "300px" });
const asked = new WeakMap();

/** A tile with the picture of a row, once it is in view; in its place, if it is not to be had, the reason. */
export function tile(row, size = "small") {
  const element = make("span", "tile loading");
  const key = JSON.stringify([row.id, row.source_fingerprint, size]);
  if (kept.has(key)) {
    show(element, kept.get(key), row);
  } else {
    asked.set(element, { row, size, key });
    seen.observe(element);
  }
  return element;
}

async function next() {
  while (busy < AT_ONCE && waiting.length) {
    const element = waiting.shift();
    if (!element.isConnected) { continue; } // a newer search took its place
    busy += 1;
    fetched(element).finally(() => { busy -= 1; next(); });
  }
}

async function fetched(element) {
  const { row, size, key } = asked.get(element);
  const parameters = { id: row.id, source_fingerprint: row.source_fingerprint, size };
  try {
    const answer = await ask("v1/picture", { parameters });
    const address = URL.createObjectURL(await answer.blob());
    keep(key, address);
    show(element, address, row);
  } catch (fault) {
    gap(element, fault);
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
  image.alt = row.columns?.text ? visible(row.columns.text) : say("results.picture_of", { id: row.id });
  image.decoding = "async";
  image.src = address;
  element.classList.remove("loading");
  element.replaceChildren(image);
}

function gap(element, fault) {
  const reason = `reason.${fault.code}`;
  const word = isKnown(reason) ? reason : "results.no_picture";
  element.classList.remove("loading");
  element.classList.add("gap");
  element.replaceChildren(phrase("span", "", word));
  element.setAttribute("role", "img");
  label(element, "aria-label", word);
  element.title = fault.message;
}
