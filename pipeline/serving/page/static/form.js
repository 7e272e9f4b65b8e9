// The search form: what is in the address is in its fields, and the other way round.
import { byId, make, phrase } from "./dom.js";
import { label, put, visible } from "./say.js";
import { columnName, filtersOf } from "./state.js";

/** Fields with a text of the state each. */
const TEXTS = { q: "q", has: "has", where: "where", from: "from", to: "to" };
/** Keys of the keyboard change the slider and dates step by step: the search waits for the last step. */
const SETTLED_MS = 350;
/** A year that somebody types is one of these first. */
const FIRST_YEAR = "1900";

/** Prepare the form for a dataset: which columns there are, and whether duplicates are known. */
export function describe(facts) {
  byId("sides").hidden = facts.column.length < 2;
  if (!facts.pictures) { label(byId("q"), "placeholder", "search.placeholder_texts"); }
  const names = facts.where.map((one) => one.name.toLowerCase());
  byId("has-field").hidden = !names.includes("text");
  byId("groups").disabled = !facts.one_per_group;
  label(byId("groups-label"), "title", facts.one_per_group ? "filters.groups_why" : "filters.groups_missing");
  const choose = phrase("option", "", "filters.columns");
  choose.value = "";
  byId("columns").replaceChildren(choose, ...facts.where.map((one) => {
    const option = make("option", "", visible(`${one.name}  ${one.type}`));
    option.value = one.name;
    return option;
  }));
}

export function fill(state, facts) {
  for (const [id, name] of Object.entries(TEXTS)) { byId(id).value = state[name] ?? ""; }
  byId("min").value = state.min ?? 0;
  showMin();
  const side = state.in ?? facts.column[0];
  document.querySelectorAll("input[name=column]").forEach((one) => { one.checked = one.value === side; });
  byId("groups").checked = facts.one_per_group && state.groups !== "0";
  const count = filtersOf(state).length;
  byId("filter-count").hidden = !count;
  byId("filter-count").textContent = String(count);
}

/** The state that the form describes. */
export function asked(state, facts) {
  const found = { ...state };
  for (const [id, name] of Object.entries(TEXTS)) { found[name] = byId(id).value.trim(); }
  found.min = Number(byId("min").value) ? byId("min").value : "";
  const side = document.querySelector("input[name=column]:checked")?.value;
  found.in = side && side !== facts.column[0] ? side : "";
  found.groups = facts.one_per_group && !byId("groups").checked ? "0" : "";
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value));
}

/** Make the form work. `onAsk` is called when its state should be searched for, with whether that was said; `onClear` to
leave out the filters. */
export function formKeys(onAsk, onClear) {
  byId("search").addEventListener("submit", (event) => { event.preventDefault(); onAsk(true); });
  const change = () => onAsk(false);
  byId("groups").addEventListener("change", change);
  document.querySelectorAll("input[name=column]").forEach((one) => one.addEventListener("change", change));
  onSettled(["min", "from", "to"], change);
  byId("min").addEventListener("input", showMin);
  byId("clear").addEventListener("click", onClear);
  byId("filters-button").addEventListener("click", () => openFilters(byId("filters").hidden));
  columnKeys();
  queryKeys();
}

function onSettled(ids, change) {
  let timer = null;
  const settle = () => { if (!document.querySelector("dialog[open]")) { change(); } }; // a row was opened meanwhile
  for (const id of ids) {
    byId(id).addEventListener("change", (event) => {
      clearTimeout(timer);
      const { type, value } = event.target;
      if (type === "date" && value && value < FIRST_YEAR) { return; }
      timer = setTimeout(settle, SETTLED_MS);
    });
  }
}

function columnKeys() {
  const columns = byId("columns");
  columns.addEventListener("change", () => {
    insert(byId("where"), columnName(columns.value));
    columns.value = "";
  });
  columns.addEventListener("keydown", (event) => { // else some browsers choose the first one at once
    if (!["ArrowDown", "ArrowUp"].includes(event.key) || event.altKey || !columns.showPicker) { return; }
    event.preventDefault();
    try { columns.showPicker(); } catch { /* the browser allows it after a key or a click only */ }
  });
}

function queryKeys() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, dialog") || document.querySelector("dialog[open]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      byId("q").focus();
      byId("q").select();
    }
  });
  byId("q").addEventListener("keydown", (event) => {
    if (event.isComposing) { return; } // an input method uses the same keys, to choose characters
    if (event.key === "ArrowDown") {
      event.preventDefault();
      document.querySelector("#results a.card")?.focus();
    }
    if (event.key === "Escape" && !byId("q").value) { byId("q").blur(); }
  });
}

export function openFilters(isOpen) {
  byId("filters").hidden = !isOpen;
  byId("filters-button").setAttribute("aria-expanded", String(isOpen));
}

/** Mark the condition as the one that the server refuses, or not. */
export function markCondition(isWrong) {
  if (isWrong) { byId("where").setAttribute("aria-invalid", "true"); } else { byId("where").removeAttribute("aria-invalid"); }
}

function showMin() {
  const least = Number(byId("min").value), key = least ? "filters.min_is" : "filters.min_any";
  put(byId("min-shown"), key, { least: least.toFixed(2) });
  label(byId("min"), "aria-valuetext", key, { least: least.toFixed(2) });
}

function insert(field, name) {
  const at = field.selectionStart ?? field.value.length, before = field.value.slice(0, at);
  const space = before && !/[\s(]$/.test(before) ? " " : "";
  field.value = `${before}${space}${name} ${field.value.slice(field.selectionEnd ?? at)}`;
  field.focus();
  const end = before.length + space.length + name.length + 1;
  field.setSelectionRange(end, end);
}
