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

/** Let a link of the page work without loading the page; with the keys for a new tab it stays a link. */
export function onPlainClick(link, work) {
  link.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) { return; }
    event.preventDefault();
    work();
  });
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
  const isCopied = navigator.clipboard ? await navigator.clipboard.writeText(text).then(() => true, () => false) : copyOld(text, button);
  put(button, isCopied ? "detail.copied" : "detail.not_copied");
  setTimeout(() => put(button, key), 1600);
}

/** Without TLS, a page from another machine has no clipboard but this. */
function copyOld(text, button) {
  const field = make("textarea", "unseen");
  field.value = text;
  button.after(field); // a dialog lets nothing outside of it be chosen
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  button.focus();
  return isCopied;
}
