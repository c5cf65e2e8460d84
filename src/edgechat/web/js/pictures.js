// Pictures beside the question, from a file to the server's store:
//
//   file ─► upright, scaled, drawn anew ─► PUT api/attachments ─► a thumbnail that tells what it costs
//
// Drawing anew is what keeps the place where a photograph was taken at home: nothing but pixels leaves the browser. A
// video becomes a few still frames.

import { ApiError, attachments } from "./api.js";
import { iconButton, textButton, toast } from "./controls.js";
import { byId, h } from "./dom.js";
import { put, putLabel, t } from "./i18n.js";
import { chosen } from "./preferences.js";

const TOKENS = 512; // of one picture
const SHARP = 1024; // of one that is to be seen more closely: in whole cells the server takes as many
const PATCH = 32; // pixels on a side that a token stands for, where the model does not say
const FRAMES = 4; // of a video
const MOST = 16; // pictures of one question
const QUALITY = 0.9;
const FAR = 1e7; // seconds: beyond every video's end
const PATIENCE = 20_000; // ms for a video to give its frames

export class Tray {
  element = h("ul", { class: "tray" });
  #composer;
  #changed = textButton(null, "pictures.changed", () => this.#ask(), "button small");
  #items = [];
  #patch = PATCH;

  /** `composer` is told of every change. */
  constructor(composer) {
    this.#composer = composer;
    putLabel(this.element, "pictures.label");
    byId("composer").before(this.element, this.#changed);
    this.#show();
  }

  get size() {
    return this.#items.length;
  }

  /** Whether one is still on its way to the server. */
  get busy() {
    return this.#items.some(({ held }) => !held);
  }

  /** Add pictures, and frames of videos; resolves when all are there or were refused. */
  async add(files, patch) {
    this.#patch = patch || PATCH;
    for (const file of files) {
      const sources = file.type.startsWith("video/") ? await this.#frames(file) : [{ name: file.name, source: file }];
      for (const { name, source } of sources) {
        if (this.size >= MOST) return toast("pictures.many", { params: { n: MOST }, bad: true });
        this.#put(name, source);
      }
    }
    await Promise.all(this.#items.map(({ work }) => work));
  }

  /** Give what is there away; the tray is empty then. */
  take() {
    const held = this.#items.map((item) => item.held).filter(Boolean);
    this.#items = [];
    this.#show();
    return held;
  }

  /** Take back what could not be sent. */
  put(held) {
    for (const one of held) this.#items.push({ ...one, held: one, element: null });
    for (const item of this.#items) item.element ??= this.#card(item);
    this.#show();
  }

  // ── one picture ──

  #put(name, source) {
    const item = { name, source, held: null };
    item.element = this.#card(item);
    this.#items.push(item);
    item.work = this.#send(item);
    this.#show();
  }

  async #send(item) {
    item.held = null;
    item.element.setAttribute("aria-busy", "true");
    this.#composer.changed();
    try {
      const { blob, width, height, whole } = await drawn(item.source, item.sharp ? SHARP : TOKENS, this.#patch);
      const { sha256, kind, tokens } = await attachments.put(blob, item.name, chosen());
      item.held = { sha256, kind, media_type: blob.type, name: item.name, width, height };
      item.element.querySelector("img").src = attachments.at(sha256);
      item.sharper.hidden = whole && !item.sharp;
      if (tokens) put(item.element.querySelector(".cost"), "pictures.tokens", { n: tokens });
    } catch (error) {
      this.#drop(item);
      const isOurs = error instanceof ApiError;
      toast(isOurs ? "pictures.refused" : "pictures.unreadable", { params: { name: item.name, why: error.message }, bad: true });
    }
    item.element.removeAttribute("aria-busy");
    this.#show();
  }

  #card(item) {
    const image = h("img", { alt: t("pictures.alt", { name: item.name ?? "" }) });
    if (item.held) image.src = attachments.at(item.held.sha256);
    const cost = h("span", { class: "cost" });
    const drop = iconButton("close", "pictures.drop", () => (this.#drop(item), this.#composer.focus()));
    item.sharper = textButton(null, "pictures.sharper", () => this.#sharpen(item), "button small");
    item.sharper.hidden = true; // until there is more of it to be seen
    return h("li", {}, image, h("div", {}, h("span", { class: "name", translate: "no" }, item.name ?? ""), cost), item.sharper, drop);
  }

  /** Twice as many tokens, or the usual number again. */
  #sharpen(item) {
    item.sharp = !item.sharp;
    item.sharper.setAttribute("aria-pressed", String(item.sharp));
    item.work = this.#send(item);
  }

  #drop(item) {
    this.#items = this.#items.filter((one) => one !== item);
    this.#show();
  }

  #show() {
    this.element.replaceChildren(...this.#items.map(({ element }) => element));
    this.element.hidden = !this.size;
    this.#changed.hidden = this.size !== 2 || this.busy;
    this.#composer.changed();
  }

  /** Two pictures, one question. */
  #ask() {
    if (!this.#composer.text.trim()) this.#composer.text = t("pictures.what_changed");
    this.#composer.submit();
  }

  // ── videos ──

  async #frames(file) {
    const video = h("video", { muted: "", playsinline: "", preload: "auto" });
    video.src = URL.createObjectURL(file);
    try {
      await happens(video, "loadeddata");
      const length = await lengthOf(video);
      const frames = [];
      for (let n = 0; n < FRAMES; n += 1) {
        await seek(video, (length * (n + 0.5)) / FRAMES);
        const name = `${file.name} ${time(video.currentTime)}`;
        frames.push({ name, source: await createImageBitmap(video) });
      }
      toast("pictures.frames", { params: { name: file.name, n: frames.length } });
      return frames;
    } catch {
      toast("pictures.unreadable", { params: { name: file.name }, bad: true });
      return [];
    } finally {
      URL.revokeObjectURL(video.src);
    }
  }
}

/** Seconds; what a browser has recorded does not say them before it was seen to its end. */
async function lengthOf(video) {
  if (!Number.isFinite(video.duration)) await seek(video, FAR);
  return Number.isFinite(video.duration) ? video.duration : video.currentTime;
}

async function seek(video, seconds) {
  video.currentTime = seconds;
  await happens(video, "seeked");
}

/** `source` upright, as a file of nothing but its pixels; where it is scaled, to whole tokens, `most` of them. `whole`
 *  where nothing was. */
async function drawn(source, most, patch) {
  const image = source instanceof Blob ? await createImageBitmap(source, { imageOrientation: "from-image" }) : source;
  const scale = Math.min(1, Math.sqrt((most * patch ** 2) / (image.width * image.height)));
  const whole = scale === 1;
  const side = (length) => (whole && most === TOKENS ? length : Math.max(1, Math.floor((length * scale) / patch)) * patch);
  const canvas = h("canvas");
  canvas.width = side(image.width);
  canvas.height = side(image.height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const kind = source.type === "image/jpeg" || !source.type ? "image/jpeg" : "image/png"; // lines and letters stay sharp
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, kind, QUALITY));
  return { blob, width: canvas.width, height: canvas.height, whole };
}

function happens(target, type) {
  return new Promise((resolve, reject) => {
    target.addEventListener(type, resolve, { once: true });
    target.addEventListener("error", reject, { once: true });
    setTimeout(reject, PATIENCE, new Error(type));
  });
}

const time = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
