// The view of a dataset: searches when the address says so, and shows what was found.
import { answer, remembered } from "./answers.js";
import { ApiFault, askJson } from "./api.js";
import { close as closeDetail, detailKeys, isOpen, open as openDetail, showPlace } from "./detail.js";
import { button, byId } from "./dom.js";
import { keepPicture, know, pictureOf, showExample } from "./example.js";
import { hideFault, showFault } from "./faults.js";
import { asked, describe, fill, formKeys, markCondition, openFilters } from "./form.js";
import { clearResults, focusCard, focusPlace, gridKeys, showEmpty, showHits, showMore, showNotes, showWaiting } from "./results.js";
import { hush, put, visible } from "./say.js";
import {
  clean, depth, filtersOf, go, hasQuery, link, MOST_TOP, read, searchFor, searchOf, settingsOf, top, withoutFilters,
} from "./state.js";
import { pictureInput, prepared } from "./upload.js";

/** A search that takes longer says so. */
const SLOW_MS = 600;
let facts = null, state = {}, sample = null;
let searched = null; // the search that the page is about, running or done; null: it failed, or was said again
let hits = [], shown = null; // what is in the grid, and the state whose search found it; null: none did
let asking = null, openId = null, visits = 0;
let isLeaving = false; // the way back was begun, and the address is still the old one
let goesOnAt = null; // the place of the card that gets the keyboard when hits are shown

export async function startSearch() {
  facts = await askJson("v1/dataset");
  describe(facts);
  byId("search-view").hidden = false;
  formKeys(ask, clearFilters);
  detailKeys({ onClose: leaveRow, onStep: step, onLike: like, onText: (text) => searchOther(searchFor(text)) });
  gridKeys(like);
  pictureInput(byId("file"), searchByPicture);
  byId("more").addEventListener("click", () => { if (byId("more").getAttribute("aria-disabled") !== "true") { more(); } });
  window.addEventListener("popstate", () => follow(true));
  follow();
  if (filtersOf(state).length && innerWidth > 720) { openFilters(true); } // on a phone they would hide the results
  if (!hasQuery(state)) { byId("q").focus({ preventScroll: true }); }
}

/** What the form says; words replace a row or a picture, and filters are about what was searched for. */
function wanted() {
  const found = asked({}, facts), words = found.q && found.q !== state.q;
  return clean({ ...found, ...(words ? {} : { like: state.like, picture: state.picture }) });
}

function ask(isSaid) {
  goesOnAt = null;
  if (isSaid && link(wanted()) === link(state)) { searched = null; } // the dataset may have changed
  visit(wanted());
}

function clearFilters() {
  goesOnAt = 0;
  visit(withoutFilters(wanted()));
  fill(state, facts); // also what was typed and not searched for
}

function like(id) { searchOther({ like: id }); }

/** Search for something else from where the reader is: in the results, or in a row. */
function searchOther(query) {
  goesOnAt = 0;
  visit({ ...query, ...settingsOf(state) });
  window.scrollTo({ top: 0 });
}

async function searchByPicture(file) {
  const mine = ++visits;
  hideFault();
  try {
    const picture = await prepared(file);
    if (mine === visits) { searchOther({ picture: keepPicture(picture) }); } // else the reader went on meanwhile
  } catch (fault) {
    if (mine === visits) { showFault(fault.key ? fault : { key: "picture.unreadable" }); }
  }
}

function more() {
  goesOnAt = hits.length;
  visit({ ...state, top: String(Math.min(MOST_TOP, top(state) * 2)) }, { replace: true });
}

function visit(next, options = {}) {
  const isSame = link(next) === link(state); // asked again: nothing to go back to
  go(next, isSame ? { replace: true, depth: depth() } : options);
  follow();
}

/** Show what the address says; what was found a moment ago is shown again at once when the reader goes back. */
function follow(isBack = false) {
  isLeaving = false;
  visits += 1;
  state = read();
  document.title = state.q ? `${visible(state.q)} · hanclip` : "hanclip";
  if (searchOf(state) === searched) { showRowOfAddress(); return; } // the form keeps what is typed and not searched for yet
  fill(state, facts);
  showExample(state, facts.pictures, leaveOut);
  search(isBack);
}

function leaveOut() {
  visit(clean({ ...state, like: "", picture: "", row: "" }));
  byId("q").focus();
}

async function search(isBack = false) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking, isMore = isMoreOfShown();
  searched = searchOf(state);
  const mine = searched;
  hideFault();
  markCondition(false);
  if (!isMore) { sayNothing(); }
  if (!hasQuery(state)) { start(mine, signal); return; }
  if (state.picture && !pictureOf(state)) { lost(); return; }
  if (isBack && remembered(state)) { show(remembered(state)); return; }
  if (isMore) { showMore(true, true); } else { [hits, shown] = [[], null]; showWaiting(); }
  showRowOfAddress();
  const slow = setTimeout(() => { if (!isMore && !signal.aborted) { put(byId("summary"), "search.running"); } }, SLOW_MS);
  try {
    const result = await answer(state, facts, signal);
    if (mine === searched) { show(result, isMore); }
  } catch (fault) {
    if (fault.name !== "AbortError" && mine === searched) { failed(fault, isMore); }
  } finally {
    clearTimeout(slow);
  }
}

/** Whether the grid has the first rows of what is asked for. */
function isMoreOfShown() {
  const withoutTop = (one) => searchOf({ ...one, top: "" });
  return shown !== null && top(shown) < top(state) && withoutTop(shown) === withoutTop(state);
}

function sayNothing() {
  hush(byId("summary"));
  showNotes([]);
  byId("about-similarity").hidden = true;
  byId("keys").hidden = hasQuery(state);
}

/** What was shown before more of it was asked for stays, and the address says so. */
function failed(fault, isMore = false) {
  goesOnAt = null;
  if (isMore) {
    state = clean({ ...state, top: shown.top });
    go(state, { replace: true, depth: depth() });
    searched = searchOf(state);
    showMore(true);
    showFault(fault, more);
  } else {
    clearResults();
    hush(byId("summary"));
    searched = null;
    showFault(fault, () => { goesOnAt = 0; search(); });
  }
  markCondition(fault.code === "wrong_condition");
  if (fault.status === 400 && filtersOf(state).length) { openFilters(true); } // one of them may be wrong
  if (!(fault instanceof ApiFault)) { throw fault; }
}

function show({ found, seconds }, isMore = false) {
  hits = found.data;
  shown = state;
  know(hits);
  showNotes(found.notes, state.picture ? ["search.not_shared"] : []);
  if (!hits.length) {
    const clear = filtersOf(state).length ? [button("", "filters.clear", {}, clearFilters)] : [];
    hush(byId("summary"));
    showEmpty(clear.length ? "results.none_filtered" : "results.none", ...clear);
    showRowOfAddress();
    return;
  }
  byId("about-similarity").hidden = false;
  put(byId("summary"), "results.summary", { hits: hits.length, rows: found.rows, seconds: seconds.toFixed(2) });
  showCards(isMore);
  showMore(hits.length >= top(state) && top(state) < MOST_TOP);
}

function showCards(isMore = false) {
  showHits(hits, state, facts.pictures, { onOpen: (hit) => openRow(hit.id), onLike: (hit) => like(hit.id) }, isMore);
  showRowOfAddress();
  const place = hits.findIndex((hit) => hit.id === openId); // opened by a link, before the hits were known
  if (place >= 0) { showPlace(hits[place], place, hits.length); }
  if (goesOnAt !== null) { focusPlace(goesOnAt); }
  goesOnAt = null;
}

/** Nothing is asked for yet: show some rows. Filters need something to search for, so rows would seem to pass them. */
async function start(mine, signal) {
  const how = facts.pictures ? "search.start" : "search.start_texts";
  const isFiltered = filtersOf(state).length > 0;
  [hits, shown] = [[], null];
  showMore(false);
  if (isFiltered) { showEmpty(how); } else if (!sample) { showWaiting(); }
  showRowOfAddress();
  if (isFiltered) { return; }
  try {
    sample ??= (await askJson("v1/sample", { signal })).data;
  } catch (fault) {
    if (fault.name !== "AbortError" && mine === searched) { failed(fault); }
    return;
  }
  if (mine !== searched) { return; }
  if (!sample.length) { showEmpty("search.no_rows"); return; }
  hits = sample;
  know(hits);
  put(byId("summary"), facts.pictures ? "search.sample" : "search.sample_texts");
  showCards();
}

function lost() {
  [hits, shown] = [[], null];
  showEmpty("picture.lost");
  showRowOfAddress();
}

/** Open a row over the results, so that going back closes it. */
function openRow(id) { visit({ ...state, row: id }, { replace: isOpen(), depth: isOpen() ? depth() : depth() + 1 }); }

function leaveRow() {
  if (isLeaving) { return; }
  if (depth() > 0) {
    isLeaving = true;
    history.back();
    return;
  }
  visit(clean({ ...state, row: "" }), { replace: true });
}

function step(by) {
  const place = hits.findIndex((hit) => hit.id === state.row);
  if (place >= 0 && hits.length > 1) { openRow(hits[(place + by + hits.length) % hits.length].id); }
}

function showRowOfAddress() {
  const id = state.row ?? null;
  if (id === openId) { return; }
  const before = openId;
  openId = id;
  if (!id) {
    closeDetail();
    focusCard(before);
    return;
  }
  const place = hits.findIndex((hit) => hit.id === id);
  openDetail(id, hits[place], place, place < 0 ? 0 : hits.length, facts.pictures);
}
