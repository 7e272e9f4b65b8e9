// What is asked, in the address: a link to the page repeats the search. A picture is not in it, so it stays in this tab.
const NAMES = ["q", "like", "picture", "in", "min", "has", "where", "from", "to", "groups", "top", "row"];
export const FIRST_TOP = 24, MOST_TOP = 1000;
/** Of these, the filters. */
const FILTERS = ["min", "has", "where", "from", "to"];
/** The model looks at some fifty characters, and an address has to pass through servers and messages. */
const MOST_CHARACTERS = 500;

export function read() {
  const given = new URLSearchParams(location.search), state = {};
  for (const name of NAMES) {
    const value = given.get(name);
    if (value) { state[name] = value; }
  }
  // No filter, so it must not look like one.
  if (!(Math.abs(Number(state.min)) <= 1)) { delete state.min; }
  for (const name of ["from", "to"]) {
    if (!isDay(state[name])) { delete state[name]; }
  }
  return state;
}

function isDay(text) {
  const day = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text);
}

function address(state) {
  const given = new URLSearchParams();
  for (const name of NAMES) {
    if (state[name]) { given.set(name, state[name]); }
  }
  const query = given.toString();
  return query ? `?${query}` : location.pathname;
}

/** The address of a state, for links. */
export function link(state) { return address(state); }

/** A search for a text of the dataset, which may be long. */
export function searchFor(text) { return { q: [...text].slice(0, MOST_CHARACTERS).join("") }; }

/** Go to a state; `depth` counts the details opened from this tab, so that closing one can go back. */
export function go(state, { replace = false, depth = 0 } = {}) {
  history[replace ? "replaceState" : "pushState"]({ depth }, "", address(state));
}

export function depth() { return history.state?.depth ?? 0; }

/** What decides on the results: everything but the row that is shown. */
export function searchOf(state) {
  return JSON.stringify(NAMES.filter((name) => name !== "row").map((name) => state[name] ?? ""));
}

export function hasQuery(state) { return Boolean(state.q || state.like || state.picture); }

export function filtersOf(state) { return FILTERS.filter((name) => state[name]); }

export function withoutFilters(state) {
  return Object.fromEntries(Object.entries(state).filter(([name]) => !FILTERS.includes(name)));
}

/** What stays when something else is searched for: the side, duplicates and the filters. */
export function settingsOf(state) {
  return Object.fromEntries(Object.entries(state).filter(([name]) => ["in", "groups", ...FILTERS].includes(name)));
}

export function clean(wanted) { return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value)); }

export function top(state) {
  const number = Number(state.top);
  return Number.isInteger(number) && number > 0 ? Math.min(number, MOST_TOP) : FIRST_TOP;
}

/** The condition that the filters make together; undefined without. */
export function condition(state) {
  const parts = [];
  if (state.has) { parts.push(`contains(lower(text), lower(${quoted(state.has)}))`); }
  if (state.from) { parts.push(`run_date >= CAST(${quoted(state.from)} AS DATE)`); }
  if (state.to) { parts.push(`run_date <= CAST(${quoted(state.to)} AS DATE)`); }
  if (state.where) { parts.push(parts.length ? `(${state.where}\n)` : state.where); }
  return parts.length ? parts.join(" AND ") : undefined;
}

function quoted(text) { return `'${text.replaceAll("'", "''")}'`; }

/** A column's name as SQL writes it. */
export function columnName(name) { return /^[a-z_][a-z0-9_]*$/i.test(name) ? name : `"${name.replaceAll('"', '""')}"`; }
