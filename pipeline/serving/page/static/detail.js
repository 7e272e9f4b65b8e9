// One row: a large picture, all columns, and the texts that are nearest to it.
import { askJson } from "./api.js";
import { bar, byId, copy, data, make, onPlainClick, phrase } from "./dom.js";
import { said } from "./faults.js";
import { tile } from "./pictures.js";
import { brief, put, visible } from "./say.js";
import { link, searchFor } from "./state.js";

let shown = null; // id of the row
let asking = null;
let onText = null;

/** Make the dialog work. The handlers: onClose(), onStep(-1 | 1), onLike(id), onText(text). */
export function detailKeys({ onClose, onStep, onLike, ...handlers }) {
  const dialog = byId("detail"), likeThis = () => { if (!byId("detail-actions").hidden) { onLike(shown); } };
  onText = handlers.onText;
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); onClose(); });
  dialog.addEventListener("close", () => { if (shown !== null && !dialog.open) { onClose(); } }); // by the browser, unasked
  dialog.addEventListener("click", (event) => { if (event.target === dialog) { onClose(); } });
  document.addEventListener("keydown", (event) => { // a click on its text leaves the keyboard with the page
    const steps = { ArrowLeft: -1, ArrowRight: 1 }, isHere = event.target === document.body || dialog.contains(event.target);
    if (!dialog.open || !isHere || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) { return; }
    if (steps[event.key]) { event.preventDefault(); onStep(steps[event.key]); }
    if (event.key === "m" || event.key === "M") { likeThis(); }
  });
  dialog.querySelectorAll("[data-step]").forEach((one) => {
    one.addEventListener("click", () => onStep(Number(one.dataset.step)));
  });
  byId("detail-close").addEventListener("click", onClose);
  byId("detail-like").addEventListener("click", likeThis);
  byId("detail-copy-id").addEventListener("click", (event) => copy(shown, event.currentTarget, "detail.copy_id"));
  byId("detail-copy-link").addEventListener("click", (event) => copy(address(), event.currentTarget, "detail.copy_link"));
}

/** A picture that was searched for is in this tab alone. */
function address() {
  const found = new URL(location.href);
  found.searchParams.delete("picture");
  return found.href;
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
  const isStep = dialog.open && document.activeElement?.dataset.step; // the button keeps the keyboard
  if (!dialog.open) { dialog.showModal(); }
  dialog.scrollTop = 0;
  if (!isStep) { byId("detail-title").focus({ preventScroll: true }); }
  try {
    const row = await askJson("v1/row", { parameters: { id }, signal: asking.signal });
    if (shown !== id) { return; }
    if (!hit && pictures) { byId("detail-picture").replaceChildren(tile(row, "large")); }
    title(row.columns.text, id);
    texts(row);
    columns(row);
  } catch (fault) {
    if (fault.name === "AbortError" || shown !== id) { return; }
    const again = () => open(id, hit, place, count, pictures);
    byId("detail-texts").replaceChildren(make("div", "fault", ...said(fault, again)));
    if (hit) { return; }
    byId("detail-picture").replaceChildren();
    byId("detail-actions").hidden = fault.status === 404;
  }
}

function title(text, id) {
  const element = byId("detail-title");
  element.textContent = visible(brief(text || id)); // all of it is among the columns
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
    const search = data("a", one.text === row.columns.text ? "own" : "", brief(one.text));
    search.href = link(searchFor(one.text));
    onPlainClick(search, () => onText(one.text));
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
