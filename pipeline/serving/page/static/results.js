// The grid of rows that were found.
import { bar, button, byId, data, make, onPlainClick, phrase } from "./dom.js";
import { message } from "./faults.js";
import { tile } from "./pictures.js";
import { brief, label, put, visible } from "./say.js";
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
  showMore(false);
}

/** Show hits, or rows of a sample, which have no similarity. `onOpen` and `onLike` are called with a hit. With `isMore`
the first ones are there already, and stay as they are. */
export function showHits(hits, state, pictures, { onOpen, onLike }, isMore = false) {
  const list = byId("results"), best = Math.max(...hits.map((hit) => hit.similarity ?? 0), 0.01);
  byId("empty").hidden = true;
  list.removeAttribute("aria-busy");
  list.classList.toggle("texts", !pictures);
  const there = isMore ? cards().map((one) => one.dataset.id) : [];
  const stays = there.every((id, place) => id === hits[place]?.id); // an index may find other rows when it looks for more
  if (!stays || !there.length) { list.replaceChildren(); }
  const added = stays ? hits.slice(there.length) : hits;
  list.append(...added.map((hit) => card(hit, state, pictures, best, onOpen, onLike)));
}

function cards() { return [...byId("results").querySelectorAll("a.card")]; }

function card(hit, state, pictures, best, onOpen, onLike) {
  const text = brief(hit.columns.text ?? ""), open = make("a", "card"), spoken = visible(text || hit.id);
  open.href = link({ ...state, row: hit.id });
  open.dataset.id = hit.id;
  if (pictures) { open.append(tile(hit)); }
  open.append(text ? data("span", "text", text) : data("span", "text rid", hit.id));
  if (hit.similarity === undefined) {
    open.setAttribute("aria-label", spoken);
  } else {
    open.append(foot(hit, best));
    label(open, "aria-label", hit.group_size > 1 ? "results.card_alike" : "results.card", {
      rank: hit.rank, text: spoken, similarity: hit.similarity.toFixed(3), rows: (hit.group_size ?? 1) - 1,
    });
  }
  onPlainClick(open, () => onOpen(hit));
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
    const all = cards(), place = all.indexOf(at);
    if (event.key === "m" || event.key === "M") { onLike(at.dataset.id); return; }
    const wide = columnsOf(all);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide, Home: -place, End: all.length - 1 - place };
    if (!(event.key in steps)) { return; }
    event.preventDefault();
    if (event.key === "ArrowUp" && place < wide) { byId("q").focus(); return; }
    all[Math.min(all.length - 1, Math.max(0, place + steps[event.key]))]?.focus();
  });
}

function columnsOf(all) {
  const first = all[0].getBoundingClientRect().top;
  const next = all.findIndex((one) => one.getBoundingClientRect().top > first + 4);
  return next < 0 ? all.length : next;
}

/** Nothing below the search. */
export function clearResults() {
  byId("results").replaceChildren();
  byId("results").removeAttribute("aria-busy");
  byId("empty").hidden = true;
  showMore(false);
}

/** Say that there is nothing, and why that may be. */
export function showEmpty(key, ...more) {
  clearResults();
  byId("empty").replaceChildren(phrase("p", "", key), ...more);
  byId("empty").hidden = false;
}

/** The button for more rows: whether there are any, and whether they are being searched for. It keeps the keyboard. */
export function showMore(isThere, isBusy = false) {
  byId("more").hidden = !isThere;
  byId("more").setAttribute("aria-disabled", String(isBusy));
  put(byId("more"), isBusy ? "search.running" : "results.more");
}

/** What is worth knowing of these results: in the API's words, and phrases of the page. */
export function showNotes(texts, phrases = []) {
  const said = phrases.map((key) => phrase("li", "", key));
  byId("notices").replaceChildren(...texts.map((text) => make("li", "", message(text))), ...said);
}

export function focusCard(id) { cards().find((one) => one.dataset.id === id)?.focus(); }

/** Go on from the card at a place, if what had the keyboard is gone. */
export function focusPlace(place) {
  if ([document.body, byId("more"), null].includes(document.activeElement)) {
    cards()[place]?.focus({ preventScroll: true });
  }
}
