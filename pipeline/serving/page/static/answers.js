// Asks the API for what a state describes, and keeps the last answers, for going back.
import { askJson } from "./api.js";
import { pictureOf } from "./example.js";
import { clean, condition, searchOf, top } from "./state.js";

const REMEMBERED = 8;
const answers = new Map(); // by search

/** The last answer to this search, if it is remembered. */
export function remembered(state) { return answers.get(searchOf(state)); }

/** { found, seconds }. Duplicates are left out if they are known, unless the reader wants them. */
export async function answer(state, facts, signal) {
  const grouped = facts.one_per_group && state.groups !== "0", began = performance.now();
  const body = clean({
    query: query(state), column: state.in, top: top(state), where: condition(state), one_per_group: grouped,
  });
  if (state.min) { body.min_similarity = Number(state.min); }
  const found = await ask(body, signal);
  const result = { found, seconds: (performance.now() - began) / 1000 };
  keep(searchOf(state), result);
  return result;
}

async function ask(body, signal) {
  try {
    return await askJson("v1/search", { body, signal });
  } catch (fault) {
    if (fault.code !== "no_duplicate_groups") { throw fault; }
    const found = await askJson("v1/search", { body: { ...body, one_per_group: false }, signal });
    return { ...found, notes: [fault.message, ...found.notes] };
  }
}

function query(state) {
  if (state.like) { return { id: state.like }; }
  return state.picture ? { image: pictureOf(state).uri } : { text: state.q };
}

function keep(key, result) {
  answers.delete(key);
  answers.set(key, result);
  if (answers.size > REMEMBERED) { answers.delete(answers.keys().next().value); }
}
