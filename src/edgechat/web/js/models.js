// The model dialog: what is here, what could be here, what is loaded; downloads with progress.

import { models, status } from "./api.js";
import { textButton, toast } from "./controls.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { bytes, fetching, put, putLabel } from "./i18n.js";
import * as preferences from "./preferences.js";

const EVERY = 1_000; // ms, while the dialog is open

/** `readiness` knows which model answers. */
export async function showModels({ readiness }) {
  const list = h("ul", { class: "models" });
  const room = h("p", { class: "default" });
  const dialog = openDialog("models.title", room, list);
  const rows = new Map(); // name -> Row
  for (;;) {
    await refresh(list, rows, room, readiness).catch(() => only(list, readiness));
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (!dialog.open || !list.isConnected) return;
  }
}

async function refresh(list, rows, room, readiness) {
  const [{ models: found }, { memory } = {}] = await Promise.all([models.list(), status().catch(() => ({}))]);
  if (memory) put(room, "models.memory", { used: bytes(memory.rss), free: bytes(memory.available) });
  for (const model of found) {
    if (!rows.has(model.name)) rows.set(model.name, new Row(list));
    rows.get(model.name).show(model, memory, readiness);
  }
}

/** A server without a list of models has the one that answers. */
function only(list, { now }) {
  const name = h("strong", { translate: "no" }, now.model ?? "");
  list.replaceChildren(h("li", {}, h("div", { class: "model-text" }, name)));
}

class Row {
  #name = h("strong", { translate: "no" });
  #facts = h("p", { class: "default" });
  #warning = h("p", { class: "warning" });
  #progress = putLabel(h("progress", { max: "1" }), "status.progress");
  #actions = h("div", { class: "row" });
  #state = "";

  constructor(list) {
    const text = h("div", { class: "model-text" }, this.#name, this.#facts, this.#warning, this.#progress);
    this.element = h("li", {}, text, this.#actions);
    list.append(this.element);
  }

  show(model, memory, readiness) {
    const { name, size, ram, quantisation, state, progress, why, speed } = model;
    this.#name.textContent = name;
    const wanted = preferences.chosen() ?? readiness.now.model;
    this.element.dataset.state = state;
    if (name === wanted) this.element.setAttribute("aria-current", "true");
    else this.element.removeAttribute("aria-current");
    const isFetching = state === "downloading";
    if (isFetching) put(this.#facts, "status.downloading", fetching(model));
    else put(this.#facts, "models.facts", { recipe: quantisation, size: bytes(size), ram: bytes(ram), speed });
    const isLoading = state === "loading";
    this.#progress.hidden = !isFetching && !isLoading;
    if (progress != null) this.#progress.value = progress;
    else this.#progress.removeAttribute("value");
    const isTight = Boolean(memory && ram > memory.available && state !== "loaded");
    this.#warning.hidden = !isTight && !why;
    if (why) put(this.#warning, "models.failed", { why });
    else if (isTight) put(this.#warning, "models.tight", { ram: bytes(ram), free: bytes(memory.available) });
    if (`${state} ${name === wanted}` === this.#state) return;
    this.#state = `${state} ${name === wanted}`;
    this.#actions.replaceChildren(...this.#buttons(model, name === wanted, readiness));
  }

  #buttons({ name, state, awaited, senses, patch }, isWanted, readiness) {
    if (awaited) return []; // the server itself waits for it
    if (state === "downloading") return [textButton("close", "action.cancel", () => act(models.cancel(name)))];
    if (state === "available") return [textButton("download", "models.download", () => act(models.download(name)))];
    if (isWanted) return [put(h("span", { class: "badge" }), "models.chosen")];
    const choose = () => {
      preferences.write("model", name);
      preferences.write("sees", { senses, patch });
      this.#state = "";
      readiness.dispatchEvent(new Event("change")); // another one answers from now on, in the header, too
      act(models.load(name));
    };
    return [textButton(null, "models.choose", choose)];
  }
}

async function act(work) {
  try {
    await work;
  } catch (error) {
    toast("models.failed", { params: { why: error.message }, bad: true });
  }
}
