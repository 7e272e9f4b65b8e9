// The grid of rows that were found.
import { bar, button, byId, data, make, phrase } from "./dom.js";
import { tile } from "./pictures.js";
import { label, visible } from "./say.js";
import { link } from "./state.js";

const SKELETONS = 12;

/** Empty tiles while a search runs. */
export function showWaiting() {
  const list = byId("results");
  list.setAttribute("aria-busy", "true");
  list.replaceChildren(...Array.from({ length: SKELETONS }, () => {
    const item = make("li", "", make("span", "tile loading"), make("span", "ghost"), make("span", "ghost short"));
    item.setAttribute("aria-hidden", "true");
    return item;
  }));
  byId("empty").hidden = true;
  byId("more").hidden = true;
}

/** Show hits, or rows of a sample, which have no similarity. `onOpen` and `onLike` are called with a hit. */
export function showHits(hits, state, pictures, { onOpen, onLike }) {
  const list = byId("results"), best = Math.max(...hits.map((hit) => hit.similarity ?? 0), 0.01);
  byId("empty").hidden = true;
  list.removeAttribute("aria-busy");
  list.classList.toggle("texts", !pictures);
  list.replaceChildren(...hits.map((hit) => card(hit, state, pictures, best, onOpen, onLike)));
}

function card(hit, state, pictures, best, onOpen, onLike) {
  const text = hit.columns.text, open = make("a", "card");
  open.href = link({ ...state, row: hit.id });
  open.dataset.id = hit.id;
  if (pictures) { open.append(tile(hit)); }
  open.append(text ? data("span", "text", text) : data("span", "text rid", hit.id));
  if (hit.similarity === undefined) {
    open.setAttribute("aria-label", visible(text || hit.id));
  } else {
    open.append(foot(hit, best));
    label(open, "aria-label", "results.card", {
      rank: hit.rank, text: visible(text || hit.id), similarity: hit.similarity.toFixed(3),
    });
  }
  open.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; } // a new tab
    event.preventDefault();
    onOpen(hit);
  });
  const like = button("like", "results.like", {}, () => onLike(hit));
  like.tabIndex = -1; // M does the same from the card, and the row's own view has it too
  return make("li", "", open, like);
}

function foot(hit, best) {
  const found = make("span", "foot", bar(hit.similarity / best), make("span", "number", hit.similarity.toFixed(3)));
  if (hit.group_size > 1) { found.append(phrase("span", "alike", "results.alike", { rows: hit.group_size - 1 })); }
  return found;
}

/** The arrow keys move among cards, M searches for more like the one in focus. */
export function gridKeys(onLike) {
  byId("results").addEventListener("keydown", (event) => {
    const at = event.target.closest?.("a.card");
    if (!at || event.ctrlKey || event.metaKey || event.altKey) { return; }
    const cards = [...byId("results").querySelectorAll("a.card")], place = cards.indexOf(at);
    if (event.key === "m" || event.key === "M") { onLike(at.dataset.id); return; }
    const wide = columnsOf(cards);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide, Home: -place, End: cards.length - 1 - place };
    if (!(event.key in steps)) { return; }
    event.preventDefault();
    if (event.key === "ArrowUp" && place < wide) { byId("q").focus(); return; }
    cards[Math.min(cards.length - 1, Math.max(0, place + steps[event.key]))]?.focus();
  });
}

function columnsOf(cards) {
  const first = cards[0].getBoundingClientRect().top;
  const next = cards.findIndex((card) => card.getBoundingClientRect().top > first + 4);
  return next < 0 ? cards.length : next;
}

/** Nothing below the search. */
export function clearResults() {
  byId("results").replaceChildren();
  byId("results").removeAttribute("aria-busy");
  byId("empty").hidden = true;
}

/** Say that there is nothing, and why that may be. */
export function showEmpty(key, ...more) {
  clearResults();
  byId("empty").replaceChildren(phrase("p", "", key), ...more);
  byId("empty").hidden = false;
}

export function focusCard(id) {
  const card = [...byId("results").querySelectorAll("a.card")].find((one) => one.dataset.id === id);
  card?.focus();
}

