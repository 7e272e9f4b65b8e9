// Builds elements. Texts become text nodes, never markup: captions are written by others.
import { put, visible } from "./say.js";

export function byId(id) { return document.getElementById(id); }

/** An element with a class and children; a child that is a string is a text of the page's own. */
export function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) { element.className = name; }
  element.append(...children);
  return element;
}

/** An element that says a phrase. */
export function phrase(tag, name, key, given) { return put(make(tag, name), key, given); }

/** An element with a text of the dataset, in its own direction and with hidden characters as signs. */
export function data(tag, name, text) {
  const element = make(tag, name, visible(text));
  element.dir = "auto";
  return element;
}

export function button(name, key, given, onClick) {
  const element = phrase("button", name, key, given);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

/** A bar whose filled part is between 0 and 1. */
export function bar(part) {
  const element = make("span", "meter", make("span", ""));
  element.setAttribute("aria-hidden", "true");
  element.style.setProperty("--part", Math.max(0, Math.min(1, part)).toFixed(4));
  return element;
}

/** Copy a text, and say so on the button for a moment. */
export async function copy(text, button, key) {
  let said = "detail.copied";
  try { await navigator.clipboard.writeText(text); } catch { said = "detail.not_copied"; }
  put(button, said);
  setTimeout(() => put(button, key), 1600);
}
