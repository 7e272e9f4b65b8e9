// The view of a dataset: searches when the address says so, and shows what was found.
import { askJson } from "./api.js";
import { close as closeDetail, detailKeys, isOpen, open as openDetail, showPlace } from "./detail.js";
import { button, byId, make, phrase } from "./dom.js";
import { hideExample, showPicture, showRow } from "./example.js";
import { hideFault, message, showFault } from "./faults.js";
import { asked, describe, fill, formKeys, openFilters } from "./form.js";
import { clearResults, focusCard, gridKeys, showEmpty, showHits, showWaiting } from "./results.js";
import { hush, put, visible } from "./say.js";
import {
  condition, depth, filtersOf, go, hasQuery, link, MOST_TOP, read, searchOf, top, withoutFilters,
} from "./state.js";
import { pictureInput, prepared } from "./upload.js";

const REMEMBERED = 8;
let facts = null, state = {}, hits = [], searched = null, asking = null, openId = null, sample = null;
const pictures = new Map(); // pictures of this tab by their number in the address
const known = new Map(); // rows that were found, by id
const answers = new Map(); // the last ones, for going back

export async function startSearch() {
  facts = await askJson("v1/dataset");
  describe(facts);
  byId("search-view").hidden = false;
  formKeys(() => ask(asked({}, facts)), () => ask(withoutFilters(asked({}, facts))));
  detailKeys({ onClose: leaveRow, onStep: step, onLike: like });
  gridKeys(like);
  pictureInput(byId("file"), searchByPicture);
  byId("more").addEventListener("click", () => visit({ ...state, top: String(Math.min(MOST_TOP, top(state) * 2)) }, { replace: true }));
  window.addEventListener("popstate", () => follow(true));
  follow();
  if (!hasQuery(state)) { byId("q").focus({ preventScroll: true }); }
}

/** Search for what the form says; words replace a row or a picture, and filters are about what was searched for. */
function ask(wanted) {
  const words = wanted.q && wanted.q !== state.q;
  const example = words ? {} : { like: state.like, picture: state.picture };
  visit(clean({ ...wanted, ...example }));
}

function clean(wanted) { return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value)); }

function like(id) {
  const { in: side, groups, min, has, where, from, to } = state;
  visit(clean({ like: id, in: side, groups, min, has, where, from, to }));
  window.scrollTo({ top: 0 });
}

async function searchByPicture(file) {
  hideFault();
  try {
    const picture = await prepared(file), number = String(pictures.size + 1);
    pictures.set(number, picture);
    const { in: side, groups, min, has, where, from, to } = state;
    visit(clean({ picture: number, in: side, groups, min, has, where, from, to }));
  } catch (fault) {
    showFault(fault.key ? fault : { key: "picture.unreadable" });
  }
}

function visit(wanted, options = {}) {
  const isSame = link(wanted) === link(state); // asked again: nothing to go back to
  go(wanted, isSame ? { replace: true, depth: depth() } : options);
  follow();
}

/** Show what the address says; what was found a moment ago is shown again at once when the reader goes back. */
function follow(isBack = false) {
  state = read();
  fill(state, facts);
  document.title = state.q ? `${visible(state.q)} · hanclip` : "hanclip";
  if (filtersOf(state).length && innerWidth > 720) { openFilters(true); } // on a phone they would hide the results
  showExample();
  if (searchOf(state) === searched) { showRowOfAddress(); } else { search(isBack); }
}

function showExample() {
  if (state.like) {
    showRow(state.like, known.get(state.like), facts.pictures, () => visit(clean({ ...state, like: "", row: "" })));
  } else if (pictures.has(state.picture)) {
    showPicture(pictures.get(state.picture), () => visit(clean({ ...state, picture: "", row: "" })));
  } else {
    hideExample();
  }
}

async function search(isBack = false) {
  asking?.abort();
  asking = new AbortController();
  const isMore = hits.length && searched === searchOf({ ...state, top: byId("more").dataset.from });
  searched = searchOf(state);
  const mine = searched;
  hideFault();
  hush(byId("summary"));
  notices([]);
  byId("about-similarity").hidden = true;
  byId("keys").hidden = hasQuery(state);
  if (!hasQuery(state)) { start(mine); return; }
  if (state.picture && !pictures.has(state.picture)) { lost(); return; }
  if (isBack && answers.has(mine)) { show(...answers.get(mine)); return; }
  if (isMore) { byId("more").disabled = true; } else { hits = []; showWaiting(); }
  showRowOfAddress();
  const began = performance.now();
  try {
    const found = await answer(asking.signal);
    remember(mine, [found, (performance.now() - began) / 1000]);
    if (mine === searched) { show(...answers.get(mine)); }
  } catch (fault) {
    if (fault.name === "AbortError" || mine !== searched) { return; }
    clearResults();
    searched = null;
    if (filtersOf(state).length) { openFilters(true); } // one of them may be wrong
    showFault(fault, () => search());
  }
}

function remember(key, found) {
  answers.delete(key);
  answers.set(key, found);
  if (answers.size > REMEMBERED) { answers.delete(answers.keys().next().value); }
}

/** The answer of the API. Duplicates are left out if they are known, unless the reader wants them. */
async function answer(signal) {
  const grouped = facts.one_per_group && state.groups !== "0";
  const body = clean({ query: query(), column: state.in, top: top(state), where: condition(state), one_per_group: grouped });
  if (state.min) { body.min_similarity = Number(state.min); }
  try {
    return await askJson("v1/search", { body, signal });
  } catch (fault) {
    if (fault.code !== "no_duplicate_groups") { throw fault; }
    const found = await askJson("v1/search", { body: { ...body, one_per_group: false }, signal });
    return { ...found, notes: [fault.message, ...found.notes] };
  }
}

function query() {
  if (state.like) { return { id: state.like }; }
  return state.picture ? { image: pictures.get(state.picture).uri } : { text: state.q };
}

function show(found, seconds) {
  hits = found.data;
  hits.forEach((hit) => known.set(hit.id, hit));
  const more = hits.length >= top(state) && top(state) < MOST_TOP;
  byId("more").hidden = !more;
  byId("more").disabled = false;
  byId("more").dataset.from = state.top ?? "";
  byId("about-similarity").hidden = !hits.length;
  notices(found.notes);
  if (state.picture) { byId("notices").append(phrase("li", "", "search.not_shared")); }
  if (!hits.length) {
    const clear = filtersOf(state).length ? [button("", "filters.clear", {}, () => visit(withoutFilters(state)))] : [];
    showEmpty(clear.length ? "results.none_filtered" : "results.none", ...clear);
    return;
  }
  put(byId("summary"), "results.summary", { hits: hits.length, rows: found.rows, seconds: seconds.toFixed(2) });
  showCards();
}

function showCards() {
  showHits(hits, state, facts.pictures, { onOpen: (hit) => openRow(hit.id), onLike: (hit) => like(hit.id) });
  showRowOfAddress();
  const place = hits.findIndex((hit) => hit.id === openId); // opened by a link, before the hits were known
  if (place >= 0) { showPlace(hits[place], place, hits.length); }
}

function notices(texts) {
  byId("notices").replaceChildren(...texts.map((text) => make("li", "", message(text))));
}

/** Nothing is asked for yet: show some rows. Filters need something to search for, so rows would seem to pass them. */
async function start(mine) {
  const how = facts.pictures ? "search.start" : "search.start_texts";
  const isFiltered = filtersOf(state).length > 0;
  hits = [];
  byId("more").hidden = true;
  if (isFiltered) { showEmpty(how); } else if (!sample) { showWaiting(); }
  showRowOfAddress();
  if (isFiltered) { return; }
  try {
    sample ??= (await askJson("v1/sample", { signal: asking.signal })).data;
  } catch (fault) {
    if (fault.name === "AbortError" || mine !== searched) { return; }
    clearResults();
    searched = null;
    showFault(fault, () => search());
    return;
  }
  if (mine !== searched) { return; }
  if (!sample.length) { showEmpty(how); return; }
  hits = sample;
  hits.forEach((row) => known.set(row.id, row));
  put(byId("summary"), facts.pictures ? "search.sample" : "search.sample_texts");
  showCards();
}

function lost() {
  hits = [];
  byId("more").hidden = true;
  showEmpty("picture.lost");
  showRowOfAddress();
}

/** Open a row over the results, so that going back closes it. */
function openRow(id) { visit({ ...state, row: id }, { replace: isOpen(), depth: isOpen() ? depth() : depth() + 1 }); }

function leaveRow() {
  if (depth() > 0) { history.back(); return; }
  visit(clean({ ...state, row: "" }), { replace: true });
}

function step(by) {
  const place = hits.findIndex((hit) => hit.id === state.row);
  if (hits.length > 1) { openRow(hits[(place + by + hits.length) % hits.length].id); }
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
