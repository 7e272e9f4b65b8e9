// One row: a large picture, all columns, and the texts that are nearest to it.
import { askJson } from "./api.js";
import { bar, byId, copy, data, make, phrase } from "./dom.js";
import { message } from "./faults.js";
import { tile } from "./pictures.js";
import { put, visible } from "./say.js";
import { link } from "./state.js";

let shown = null; // id of the row
let asking = null;

/** Make the dialog work. The handlers: onClose(), onStep(-1 | 1), onLike(id). */
export function detailKeys({ onClose, onStep, onLike }) {
  const dialog = byId("detail");
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); onClose(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) { onClose(); } });
  dialog.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (steps[event.key]) { event.preventDefault(); onStep(steps[event.key]); }
    if (event.key === "m" || event.key === "M") { onLike(shown); }
  });
  dialog.querySelectorAll("[data-step]").forEach((one) => {
    one.addEventListener("click", () => onStep(Number(one.dataset.step)));
  });
  byId("detail-close").addEventListener("click", onClose);
  byId("detail-like").addEventListener("click", () => onLike(shown));
  byId("detail-copy-id").addEventListener("click", (event) => copy(shown, event.currentTarget, "detail.copy_id"));
  byId("detail-copy-link").addEventListener("click", (event) => copy(location.href, event.currentTarget, "detail.copy_link"));
}

export function isOpen() { return byId("detail").open; }

export function close() {
  asking?.abort();
  shown = null;
  byId("detail").close();
}

/** Show a row. `hit` is what a search knows of it, `place` where it is among the hits, from 0, `count` their number. */
export async function open(id, hit, place, count, pictures) {
  const dialog = byId("detail");
  asking?.abort();
  asking = new AbortController();
  shown = id;
  byId("detail-picture").replaceChildren(...(pictures ? [hit ? tile(hit, "large") : make("span", "tile loading")] : []));
  title(hit?.columns.text, id);
  showPlace(hit, place, count);
  byId("detail-texts").replaceChildren(make("span", "ghost"), make("span", "ghost short"));
  byId("detail-columns").replaceChildren();
  byId("detail-actions").hidden = false;
  if (!dialog.open) { dialog.showModal(); }
  dialog.scrollTop = 0;
  byId("detail-title").focus({ preventScroll: true });
  try {
    const row = await askJson("v1/row", { parameters: { id }, signal: asking.signal });
    if (shown !== id) { return; }
    if (!hit && pictures) { byId("detail-picture").replaceChildren(tile(row, "large")); }
    title(row.columns.text, id);
    texts(row);
    columns(row);
  } catch (fault) {
    if (fault.name === "AbortError" || shown !== id) { return; }
    byId("detail-texts").replaceChildren(make("p", "wrong", fault.message ? message(fault.message) : phrase("span", "", "fault.unreachable")));
    if (hit) { return; }
    byId("detail-picture").replaceChildren();
    byId("detail-actions").hidden = fault.status === 404;
  }
}

function title(text, id) {
  const element = byId("detail-title");
  element.textContent = visible(text || id);
  element.dir = "auto";
}

/** Say where a row is among the hits; without a hit it is not among them. */
export function showPlace(hit, place, count) {
  byId("detail-place").textContent = hit ? `${place + 1} / ${count}` : "";
  byId("detail").querySelectorAll("[data-step]").forEach((one) => { one.disabled = count < 2; });
  const element = byId("detail-similarity");
  element.hidden = hit?.similarity === undefined;
  if (!element.hidden) { put(element, "detail.similarity", { similarity: hit.similarity.toFixed(3), rank: hit.rank }); }
}

function texts(row) {
  const place = byId("detail-texts");
  place.replaceChildren();
  if (!row.texts.length) { return; }
  const best = Math.max(...row.texts.map((one) => one.similarity), 0.01);
  const list = make("ol", "nearest", ...row.texts.map((one) => {
    const search = data("a", one.text === row.columns.text ? "own" : "", one.text);
    search.href = link({ q: one.text });
    return make("li", "", search, bar(one.similarity / best), make("span", "number", one.similarity.toFixed(3)));
  }));
  place.append(phrase("h3", "", "detail.texts"), list);
}

function columns(row) {
  const table = make("table", "facts"), body = make("tbody");
  for (const [name, value] of [["id", row.id], ...Object.entries(row.columns)]) {
    const head = data("th", "", name);
    head.scope = "row";
    body.append(make("tr", "", head, make("td", "", shownValue(value))));
  }
  table.append(body);
  byId("detail-columns").replaceChildren(phrase("h3", "", "detail.columns"), table);
}

function shownValue(value) {
  if (value === null) { return phrase("span", "soft", "detail.null"); }
  if (typeof value !== "string") { return data("span", "value", JSON.stringify(value)); }
  if (!/^https?:\/\/[^\s]+$/i.test(value)) { return data("span", "value", value); }
  const away = data("a", "value", value);
  away.href = value;
  away.target = "_blank";
  away.rel = "noopener noreferrer";
  return away;
}
