// The view of a server without a dataset: one picture, several texts, and how well each fits.
import { askJson } from "./api.js";
import { bar, byId, data, make, phrase } from "./dom.js";
import { hideFault, showFault } from "./faults.js";
import { label, put } from "./say.js";
import { pictureInput, prepared } from "./upload.js";

let picture = null;

export function startCompare() {
  byId("compare-view").hidden = false;
  pictureInput(byId("compare-file"), take);
  byId("compare").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
}

async function take(file) {
  hideFault();
  try {
    picture = await prepared(file);
  } catch (fault) {
    showFault(fault.key ? fault : { key: "picture.unreadable" });
    return;
  }
  const frame = byId("compare-picture"), image = make("img", "");
  frame.hidden = !picture.preview;
  image.src = picture.preview;
  label(image, "alt", "search.your_picture");
  frame.replaceChildren(image);
  if (byId("texts").value.trim()) { compare(); } else { byId("texts").focus(); }
}

async function compare() {
  const texts = byId("texts").value.split("\n").map((text) => text.trim()).filter(Boolean);
  hideFault();
  if (!picture || !texts.length) {
    showFault({ key: picture ? "compare.no_texts" : "compare.no_picture" });
    return;
  }
  try {
    const found = await askJson("v1/similarity", { body: { images: [{ image: picture.uri }], texts } });
    show(texts, found.data[0]);
  } catch (fault) {
    showFault(fault, compare);
  }
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
