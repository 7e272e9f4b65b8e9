// Says what went wrong, with the API's own words and cure, and a way on.
import { button, byId, data, make, phrase } from "./dom.js";

const TITLES = { 0: "fault.unreachable", 403: "fault.refused", 404: "fault.missing", 429: "fault.busy", 503: "fault.busy" };
let isRepeated = false; // the reader pressed the button, and gets it again where the keyboard is

/** Show a fault at the top of the page; `again` repeats what failed. */
export function showFault(fault, again) {
  const place = byId("fault"), parts = [...said(fault, again)];
  place.replaceChildren(make("div", "fault", ...parts));
  place.hidden = false;
  place.scrollIntoView({ block: "nearest" });
  if (isRepeated && document.activeElement === document.body) { place.querySelector("button")?.focus(); } // not from a field
  isRepeated = false;
}

/** What is said of a fault: the kind, the message, and a button if the same request may succeed. */
export function said(fault, again) {
  const title = TITLES[fault.status] ?? (fault.status >= 500 ? "fault.broken" : "fault.request");
  const parts = [phrase("strong", "", fault.key ?? title)];
  if (fault.message && !fault.key) { parts.push(message(fault.message)); }
  if (again && (fault.status === 0 || fault.status === 408 || fault.status >= 429)) {
    parts.push(button("", "fault.again", {}, () => { isRepeated = true; again(); }));
  }
  return parts;
}

export function hideFault() { byId("fault").hidden = true; }

/** The API speaks English, and marks a place in a condition by a line of its own, for letters of one width. A bracket on a
line of its own is the page's, around the reader's condition. */
export function message(text) {
  const element = data("span", "", text.replace(/\n *(\^+|\)) *(?=\n|$)/g, ""));
  element.lang = "en";
  return element;
}
