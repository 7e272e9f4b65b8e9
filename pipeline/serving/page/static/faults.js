// Says what went wrong, with the API's own words and cure, and a way on.
import { button, byId, data, make, phrase } from "./dom.js";

const TITLES = { 0: "fault.unreachable", 403: "fault.refused", 404: "fault.missing", 429: "fault.busy", 503: "fault.busy" };

/** Show a fault at the top of the page; `again` repeats what failed. */
export function showFault(fault, again) {
  const place = byId("fault");
  const title = TITLES[fault.status] ?? (fault.status >= 500 ? "fault.broken" : "fault.request");
  const parts = [phrase("strong", "", fault.key ?? title)];
  if (fault.message && !fault.key) { parts.push(message(fault.message)); }
  if (again && (fault.status === 0 || fault.status >= 429)) { parts.push(button("", "fault.again", {}, again)); }
  place.replaceChildren(make("div", "fault", ...parts));
  place.hidden = false;
}

export function hideFault() { byId("fault").hidden = true; }

/** The API speaks English, and marks a place in a condition by a line of its own, for letters of one width. */
export function message(text) {
  const element = data("span", "", text.replace(/\n *\^+ *(?=\n|$)/g, ""));
  element.lang = "en";
  return element;
}
