// Pictures that messages hold: small beside the text, whole when one asks, and the places in them that an answer names.
//
// Places come in Qwen's two ways of saying them:
//
//   [{"bbox_2d": [x1, y1, x2, y2], "label": "…"}]                                       as JSON
//   <|object_ref_start|>…<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>      in the text; marks may be left out
//
// in thousandths of the picture; Qwen2.5-VL counts its pixels.

import { attachments } from "./api.js";
import { openDialog } from "./dialog.js";
import { h, sheet } from "./dom.js";
import { putLabel, t } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 50; // places of one answer
const AS_JSON = /\{[^{}]*"bbox_2d"\s*:\s*\[\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*\][^{}]*\}/g;
const LABEL = /"label"\s*:\s*"((?:[^"\\]|\\.)*)"/;
const IN_TEXT = /(?:<\|object_ref_start\|>([^<]*)<\|object_ref_end\|>)?(?:<\|box_start\|>)?\((\d+),\s*(\d+)\),\s*\((\d+),\s*(\d+)\)/g;

/** What a message holds, as a list of small pictures; anything else by its kind. */
export function thumbnails(held) {
  sheet("pictures");
  const items = held.map((one, at) => h("li", {}, one.kind === "picture" ? thumbnail(one, at) : one.media_type));
  return putLabel(h("ul", { class: "held" }, ...items), "pictures.label");
}

function thumbnail(one, at) {
  return opens(nameOf(one, at), () => picture(one, at));
}

/** A button, called by `name`, that shows what `draw` makes, and shows it large when it is pressed. */
function opens(name, draw) {
  const button = putLabel(h("button", { type: "button", class: "thumbnail" }, draw()), "pictures.open", { name });
  button.addEventListener("click", async () => {
    await sheet("dialogs");
    openDialog("pictures.title", h("div", { class: "whole" }, draw()));
  });
  return button;
}

/** An answer's places drawn over the last picture that its question holds, or null where it names none. */
export function places(text, held, model) {
  const pictures = held.filter(({ kind }) => kind === "picture");
  const boxes = boxesIn(text);
  if (!boxes.length || !pictures.length) return null;
  sheet("pictures");
  const at = pictures.length - 1;
  const name = [nameOf(pictures[at], at), ...boxes.map(({ label }) => label)].filter(Boolean).join(", ");
  return h("figure", { class: "places" }, opens(name, () => marked(pictures[at], at, boxes, model)));
}

/** The places that `text` names: {box: [x1, y1, x2, y2], label}. */
export function boxesIn(text) {
  const found = [...text.matchAll(AS_JSON)].map(([whole, ...box]) => ({ box: box.map(Number), label: unquoted(LABEL.exec(whole)?.[1]) }));
  const all = found.length ? found : [...text.matchAll(IN_TEXT)].map(([, label, ...box]) => ({ box: box.map(Number), label: label?.trim() ?? "" }));
  return all.filter(({ box: [x1, y1, x2, y2] }) => x1 < x2 && y1 < y2).slice(0, MOST);
}

/** Whether `text` names places as JSON and says nothing else. */
export const namesOnly = (text) => !text.replace(/\x60{3}\w*/g, "").replace(AS_JSON, "").replace(/[\s,[\]]/g, "");

function unquoted(label) {
  try {
    return JSON.parse(`"${label ?? ""}"`);
  } catch {
    return label;
  }
}

function marked(one, at, boxes, model) {
  const image = picture(one, at);
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", boxes.map(({ label }) => label).filter(Boolean).join(", ") || t("pictures.places", { n: boxes.length }));
  image.addEventListener("load", () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const inPixels = /2[._-]?5-?vl/i.test(model ?? "");
    const [across, down] = inPixels ? [1, 1] : [width / 1000, height / 1000];
    drawing.replaceChildren(...boxes.flatMap((place) => mark(place, across, down, width)));
  });
  return h("div", { class: "marked" }, image, drawing);
}

function mark({ box: [x1, y1, x2, y2], label }, across, down, width) {
  const [x, y] = [x1 * across, y1 * down];
  const size = Math.max(12, width / 32);
  const frame = shape("rect", { x, y, width: (x2 - x1) * across, height: (y2 - y1) * down });
  if (!label) return [frame];
  const words = shape("text", { x: x + size / 4, y: Math.max(y - size / 4, size), "font-size": size });
  words.textContent = label;
  return [frame, words];
}

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function picture(one, at) {
  const image = h("img", { alt: t("pictures.alt", { name: nameOf(one, at) }), loading: "lazy", decoding: "async" });
  image.src = attachments.at(one.sha256);
  return image;
}

const nameOf = ({ name }, at) => name || String(at + 1);
