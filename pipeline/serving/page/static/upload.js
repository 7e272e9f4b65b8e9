// A picture that the reader chooses, drops or pastes, made small enough to be sent.
import { byId } from "./dom.js";

/** Above these a picture is sent smaller: the model looks at a few hundred pixels. */
const LARGE_BYTES = 2_000_000, LARGE_SIDE = 2048, SENT_SIDE = 1280;
const MOST_BYTES = 20 * 2 ** 20;

/** Why a picture cannot be sent; `key` is the phrase for it. */
export class PictureFault extends Error {
  constructor(key) {
    super(key);
    this.key = key;
  }
}

/** { uri: what is sent, preview: address to show or "", name } */
export async function prepared(file) {
  if (file.type && !file.type.startsWith("image/")) { throw new PictureFault("picture.not_an_image"); }
  const image = await createImageBitmap(file).catch(() => null); // formats that only the server reads
  let blob = file;
  if (image && (file.size > LARGE_BYTES || Math.max(image.width, image.height) > LARGE_SIDE)) {
    blob = await smaller(await createImageBitmap(await asStored(file)));
  }
  if (blob.size > MOST_BYTES) { throw new PictureFault("picture.too_large"); }
  image?.close();
  return { uri: await dataUri(blob), preview: image ? URL.createObjectURL(file) : "", name: file.name ?? "" };
}

/** A JPEG without the metadata by which a browser turns it: the model sees pixels as they are stored. */
async function asStored(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let at = bytes[0] === 0xff && bytes[1] === 0xd8 ? 2 : bytes.length;
  while (bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    if (bytes[at + 1] === 0xe1) { bytes[at + 4] = 0; } // the name of the metadata
    at += 2 + bytes[at + 2] * 256 + bytes[at + 3];
  }
  return new Blob([bytes], { type: file.type });
}

async function smaller(image) {
  const scale = Math.min(1, SENT_SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // as the model sees what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new PictureFault("picture.unreadable"))), "image/jpeg", 0.92);
  });
}

async function dataUri(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return `data:${blob.type || "image/unknown"};base64,${btoa(text)}`;
}

/** Call `onFile` with pictures that are chosen in `field`, dropped anywhere or pasted. */
export function pictureInput(field, onFile) {
  field.addEventListener("change", () => {
    if (field.files[0]) { onFile(field.files[0]); }
    field.value = ""; // so that the same one can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const { clipboardData: given, target } = event, file = pictureOf(given);
    if (!file || (target.matches?.("input, textarea") && isText(given, file))) { return; }
    event.preventDefault();
    onFile(file);
  });
  acceptDrops(onFile);
}

function acceptDrops(onFile) {
  const cover = byId("dropping");
  let inside = 0, isOwn = false;
  const holdsFile = (event) => !isOwn && [...(event.dataTransfer?.types ?? [])].includes("Files");
  const leave = () => { inside = 0; cover.hidden = true; };
  document.addEventListener("dragstart", () => { isOwn = true; }); // a picture of the page, moved by accident
  document.addEventListener("dragend", () => { isOwn = false; leave(); });
  document.addEventListener("dragenter", (event) => {
    if (holdsFile(event)) { inside += 1; cover.hidden = false; }
  });
  document.addEventListener("dragleave", (event) => {
    if (holdsFile(event) && --inside <= 0) { leave(); }
  });
  document.addEventListener("dragover", (event) => {
    if (holdsFile(event)) { event.preventDefault(); return; }
    if (event.target.matches?.("input, textarea")) { return; }
    event.preventDefault(); // a link that is dropped would open in place of the page
    if (event.dataTransfer) { event.dataTransfer.dropEffect = "none"; }
  });
  document.addEventListener("drop", (event) => {
    leave();
    if (!holdsFile(event)) { return; }
    event.preventDefault();
    const file = pictureOf(event.dataTransfer) ?? event.dataTransfer.files[0];
    if (file) { onFile(file); }
  });
}

function pictureOf(given) { return [...(given?.files ?? [])].find((one) => one.type.startsWith("image/")); }

/** Whether what is pasted is a text: spreadsheets and word processors add a picture of it. A file's text is its name. */
function isText(given, file) {
  const text = given.getData("text/plain").trim();
  return text !== "" && text !== file.name;
}
