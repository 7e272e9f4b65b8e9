// What is searched for besides words: a row or a picture, shown in the search box with a way to leave it out.
import { button, byId, data, make, phrase } from "./dom.js";
import { tile } from "./pictures.js";
import { label } from "./say.js";

export function hideExample() { byId("example").hidden = true; }

/** A row by its id; `row` if more is known of it. */
export function showRow(id, row, pictures, onRemove) {
  const picture = row && pictures ? [tile(row)] : [];
  show([...picture, phrase("span", "soft", "search.like"), data("span", "name", row?.columns.text || id)], onRemove);
}

/** A picture that was given in this tab. */
export function showPicture(picture, onRemove) {
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
