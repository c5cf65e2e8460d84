// The ways by which a picture comes to the question: the button, a phone's camera, pasting, dropping. What then happens
// to it is in pictures.js, which is loaded with the first one.

import { openMenu, toast } from "./controls.js";
import { byId, h, sheet } from "./dom.js";
import * as preferences from "./preferences.js";

const PICTURES = "image/\u002a"; // whatever the browser can draw
const VIDEOS = "video/\u002a";
const TEXTS = /\.(md|json|ya?ml|toml|log|py|[jt]sx?|go|rs|[ch](pp)?|sh|sql|tex)$/i; // that browsers know no type of
const MOST_TEXT = 1_000_000; // bytes: far more than any model reads here
const touch = matchMedia("(pointer: coarse)");

export class Attach {
  #button = byId("picture");
  #readiness;
  #composer;
  #models;

  /** `onModels` lets the user choose another model: one that sees. */
  constructor({ readiness, composer, onModels }) {
    this.#readiness = readiness;
    this.#composer = composer;
    this.#models = onModels;
    this.#button.addEventListener("click", () => this.#choose());
    readiness.addEventListener("change", () => (this.#button.hidden = !this.sees));
    addEventListener("paste", (e) => this.#take(e, e.clipboardData));
    for (const type of ["dragover", "drop"]) {
      addEventListener(type, (e) => {
        if (![...(e.dataTransfer?.types ?? [])].includes("Files")) return;
        e.preventDefault(); // or the page is left for the file
        if (type === "drop") this.#take(e, e.dataTransfer);
      });
    }
  }

  /** Whether the model that will be asked takes pictures. */
  get sees() {
    return this.#about.senses?.includes("picture") ?? false;
  }

  get #about() {
    return (preferences.chosen() && preferences.read("sees")) || this.#readiness.now;
  }

  /** Put `files` beside the question. */
  async add(files) {
    if (!this.sees) return toast("pictures.blind", { action: ["action.models", this.#models] });
    const tray = await this.#tray();
    this.#composer.focus();
    await tray.add(files, this.#about.patch);
  }

  /** Put back what the server has already. */
  async hold(held) {
    if (held.length) (await this.#tray()).put(held);
  }

  async #tray() {
    const [{ Tray }] = await Promise.all([import("./pictures.js"), sheet("pictures")]);
    return (this.#composer.tray ??= new Tray(this.#composer));
  }

  #take(event, { files, types }) {
    if (["text/plain", "text/html"].every((type) => [...types].includes(type))) return; // an office's text, with its picture beside it
    if (!files.length || document.querySelector("dialog:modal")) return;
    const isPicture = ({ type }) => /^(?:image|video)\//.test(type);
    const isText = ({ type, name, size }) => size <= MOST_TEXT && (/^text\//.test(type) || TEXTS.test(name));
    const [seen, written] = [isPicture, isText].map((is) => [...files].filter(is));
    const other = [...files].find((file) => !isPicture(file) && !isText(file));
    event.preventDefault();
    if (other) toast("attach.other", { params: { name: other.name }, bad: true });
    if (seen.length) this.add(seen);
    for (const file of written) file.text().then((text) => this.#composer.attach(`${file.name}:\n\n${text}`));
  }

  /** A phone's own chooser does not always offer its camera. */
  #choose() {
    if (!touch.matches) return this.#pick({ multiple: "" });
    openMenu(this.#button, [
      ["camera", "pictures.camera", () => this.#pick({ capture: "environment" })],
      ["picture", "pictures.choose", () => this.#pick({ multiple: "" })],
    ]);
  }

  #pick(how) {
    const accept = "capture" in how ? PICTURES : `${PICTURES},${VIDEOS}`;
    const field = h("input", { type: "file", accept, ...how });
    field.addEventListener("change", () => this.add([...field.files]));
    field.click();
  }
}
