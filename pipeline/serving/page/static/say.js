// The words of the page in the reader's language, and texts of the dataset as they are safe to show.
//
// A key of the catalog has a text in each language: `{name}` is a value, `{n:row}` counts it, `{n:is|are}` chooses by it,
// and `code` is the only markup. Elements remember what they say, so a change of language needs no other code.
import { hidden, words } from "./words.js";

const root = document.documentElement;
const HIDDEN = new RegExp(hidden, "gu");
const VALUE = /\{(\w+)(?::([^}]+))?\}/g;
const ATTRIBUTES = ["title", "placeholder", "aria-label", "aria-valuetext", "alt"];
/** Of a text that stands for its row, as on the page of `hanclip search`. */
const MOST_CHARACTERS = 300;
const values = new WeakMap();

/** The text with a sign for each character that has an effect or cannot be seen, as in the report. */
export function visible(text) {
  return String(text).replace(HIDDEN, (found) => {
    const code = found.codePointAt(0);
    if ([...found].length > 1) { return found; } // the flag of a region
    if (code < 0x20) { return String.fromCodePoint(0x2400 + code); }
    return code === 0x7f ? "\u2421" : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}

/** The beginning of a text, where nobody reads all of it. */
export function brief(text) {
  const start = [...text.slice(0, 2 * MOST_CHARACTERS + 2)];
  return start.length > MOST_CHARACTERS ? `${start.slice(0, MOST_CHARACTERS).join("")}…` : text;
}

/** The text of a key. */
export function say(key, given = {}) {
  const texts = words[key];
  return texts[root.dataset.language === "zh" ? 1 : 0].replace(VALUE, (_, name, form) => shown(given[name], form));
}

export function isKnown(key) { return key in words; }

function shown(value, form) {
  if (typeof value !== "number") { return visible(value); }
  if (form && form.includes("|")) { return form.split("|")[value === 1 ? 0 : 1]; }
  const digits = value.toLocaleString("en");
  return form ? `${digits} ${form}${value === 1 ? "" : "s"}` : digits;
}

/** Let an element say something. */
export function put(element, key, given) {
  element.dataset.say = key;
  values.set(element, { ...values.get(element), "": given });
  fill(element);
  return element;
}

/** Let an element say nothing. */
export function hush(element) {
  delete element.dataset.say;
  element.replaceChildren();
}

/** Let an attribute of an element say something. */
export function label(element, name, key, given) {
  element.setAttribute(`data-say-${name}`, key);
  values.set(element, { ...values.get(element), [name]: given });
  element.setAttribute(name, plain(say(key, given)));
  return element;
}

function plain(text) { return text.replaceAll("`", ""); }

function fill(element) {
  const parts = say(element.dataset.say, values.get(element)?.[""]).split("`");
  element.replaceChildren(...parts.map((part, place) => {
    if (place % 2 === 0) { return part; }
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  }));
}

/** Say everything on the page again, in the language of now. */
export function translate() {
  root.lang = root.dataset.language === "zh" ? "zh-Hans" : "en";
  document.querySelectorAll("[data-say]").forEach(fill);
  for (const name of ATTRIBUTES) {
    document.querySelectorAll(`[data-say-${name}]`).forEach((element) => {
      element.setAttribute(name, plain(say(element.getAttribute(`data-say-${name}`), values.get(element)?.[name])));
    });
  }
}

/** The switch of the language, whose choice the report knows too. */
export function switchLanguage(button) {
  button.addEventListener("click", () => {
    root.dataset.language = root.dataset.language === "zh" ? "en" : "zh";
    window.hanclip.stored("hanclip-language", root.dataset.language);
    translate();
  });
  translate();
}
