// What is searched for besides words: a row or a picture, shown in the search box with a way to leave it out.
import { askJson } from "./api.js";
import { button, byId, data, make, phrase } from "./dom.js";
import { tile } from "./pictures.js";
import { brief, label } from "./say.js";

const pictures = new Map(); // those of this tab, by their name in the address
const rows = new Map(); // those that were found, by id
let shown = null;

/** Keep a picture; returns its name for the address. No other tab or visit has the same, so none shows another picture. */
export function keepPicture(picture) {
  const name = Math.random().toString(36).slice(2, 10);
  pictures.set(name, picture);
  return name;
}

/** The picture that a state names; undefined if it was given in another tab, or before the page was loaded again. */
export function pictureOf(state) { return pictures.get(state.picture); }

export function know(hits) { hits.forEach((hit) => rows.set(hit.id, hit)); }

/** Show what a state searches for besides words; `hasPictures` is about rows. */
export function showExample(state, hasPictures, onRemove) {
  shown = state.like ?? state.picture ?? null;
  if (state.like) {
    showRow(state.like, rows.get(state.like), hasPictures, onRemove);
    if (!rows.has(state.like)) { learn(state.like, hasPictures, onRemove); }
  } else if (pictureOf(state)) {
    showPicture(pictureOf(state), onRemove);
  } else {
    byId("example").hidden = true;
  }
}

/** A link names a row by its id alone. */
async function learn(id, hasPictures, onRemove) {
  const row = await askJson("v1/row", { parameters: { id } }).catch(() => null); // the search says what is wrong
  if (!row) { return; }
  know([row]);
  if (shown === id) { showRow(id, row, hasPictures, onRemove); }
}

function showRow(id, row, hasPictures, onRemove) {
  const picture = row && hasPictures ? [tile(row)] : [];
  show([...picture, phrase("span", "soft", "search.like"), data("span", "name", brief(row?.columns.text || id))], onRemove);
}

function showPicture(picture, onRemove) {
  const frame = make("span", "tile");
  if (picture.preview) {
    const image = make("img", "");
    image.src = picture.preview;
    label(image, "alt", "search.your_picture");
    frame.append(image);
  }
  show([frame, phrase("span", "soft", "search.your_picture"), data("span", "name", picture.name)], onRemove);
}

function show(parts, onRemove) {
  const remove = button("remove", "search.remove", {}, onRemove);
  byId("example").replaceChildren(...parts, remove);
  byId("example").hidden = false;
}
