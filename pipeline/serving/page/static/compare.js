// The view of a server without a dataset: one picture, several texts, and how well each fits.
import { askJson } from "./api.js";
import { bar, byId, data, make, phrase } from "./dom.js";
import { hideFault, showFault } from "./faults.js";
import { hush, label, put } from "./say.js";
import { pictureInput, prepared } from "./upload.js";

let picture = null, given = 0, asking = null;

export function startCompare() {
  byId("compare-view").hidden = false;
  pictureInput(byId("compare-file"), take);
  byId("compare").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
}

async function take(file) {
  const mine = ++given;
  hideFault();
  try {
    const found = await prepared(file);
    if (mine !== given) { return; } // a later one was read sooner
    picture = found;
  } catch (fault) {
    if (mine === given) { showFault(fault.key ? fault : { key: "picture.unreadable" }); }
    return;
  }
  const frame = byId("compare-picture"), image = make("img", "");
  frame.hidden = false;
  frame.classList.toggle("gap", !picture.preview);
  image.src = picture.preview;
  label(image, "alt", "search.your_picture");
  frame.replaceChildren(picture.preview ? image : data("span", "", picture.name));
  if (byId("texts").value.trim()) { compare(); return; }
  asking?.abort();
  forget();
  byId("texts").focus();
}

function forget() { // what is shown is of another picture or of other texts
  byId("scores").replaceChildren();
  byId("scores").removeAttribute("aria-busy");
  hush(byId("compare-summary"));
}

async function compare() {
  const texts = byId("texts").value.split("\n").map((text) => text.trim()).filter(Boolean);
  hideFault();
  if (!picture || !texts.length) {
    showFault({ key: picture ? "compare.no_texts" : "compare.no_picture" });
    return;
  }
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  byId("scores").setAttribute("aria-busy", "true");
  try {
    const found = await askJson("v1/similarity", { body: { images: [{ image: picture.uri }], texts }, signal });
    show(texts, found.data[0]);
  } catch (fault) {
    if (fault.name === "AbortError") { return; }
    forget();
    showFault(fault, compare);
  }
  if (!signal.aborted) { byId("scores").removeAttribute("aria-busy"); }
}

function show(texts, scores) {
  const order = texts.map((_, place) => place).sort((one, other) => scores.cosine[other] - scores.cosine[one]);
  put(byId("compare-summary"), scores.probability ? "compare.summary" : "compare.summary_one");
  byId("scores").replaceChildren(...order.map((place) => {
    const part = scores.probability ? scores.probability[place] : scores.cosine[place];
    const shown = scores.probability ? `${(100 * part).toFixed(1)} %` : "";
    return make("li", "", data("span", "text", texts[place]), bar(part), make("span", "number", shown),
      phrase("span", "soft number", "compare.cosine", { cosine: scores.cosine[place].toFixed(3) }));
  }));
}
