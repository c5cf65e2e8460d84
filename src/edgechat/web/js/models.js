// The model dialog: what is here, what could be here, what is loaded. An operator gets others, with progress, and deletes.

import { models, status, who } from "./api.js";
import { iconButton, textButton, toast } from "./controls.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { bytes, current, fetching, put, putLabel, t } from "./i18n.js";
import * as preferences from "./preferences.js";

const EVERY = 1_000; // ms, while the dialog is open
const MOST_LANGUAGES = 4; // that are named

/** `readiness` knows which model answers. */
export async function showModels({ readiness }) {
  const list = h("ul", { class: "models" });
  const room = h("p", { class: "default" });
  const dialog = openDialog("models.title", room, list);
  const rows = new Map(); // name -> Row
  const { operator } = await who().catch(() => ({ operator: false }));
  if (operator) list.after(another());
  for (;;) {
    await refresh(list, rows, room, { readiness, operator }).catch(() => only(list, readiness));
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (!dialog.open || !list.isConnected) return;
  }
}

/** What an ordinary key cannot get is not shown to it. */
async function refresh(list, rows, room, where) {
  const [{ models: all }, { memory } = {}] = await Promise.all([models.list(), status().catch(() => ({}))]);
  if (memory) put(room, "models.memory", { used: bytes(memory.rss), free: bytes(memory.available) });
  const found = all.filter(({ state }) => where.operator || state !== "available");
  for (const model of found) {
    if (!rows.has(model.name)) rows.set(model.name, new Row(list));
    rows.get(model.name).show(model, memory, where);
  }
  for (const [name, row] of rows) {
    if (found.some((model) => model.name === name)) continue;
    row.element.remove();
    rows.delete(name);
  }
}

/** Any model by its reference. */
function another() {
  const field = h("input", { type: "text", id: "reference", autocomplete: "off", spellcheck: "false", required: "", translate: "no" });
  field.placeholder = "hf:Owner/Name-GGUF:file.gguf";
  const get = put(h("button", { type: "submit", class: "button" }), "models.download");
  const form = h("form", { class: "another" }, put(h("label", { for: "reference" }), "models.another"), h("div", { class: "row" }, field, get));
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    if (await act(models.download(field.value.trim()))) field.value = "";
  });
  return form;
}

/** A server without a list of models has the one that answers. */
function only(list, { now }) {
  const name = h("strong", { translate: "no" }, now.model ?? "");
  list.replaceChildren(h("li", {}, h("div", { class: "model-text" }, name)));
}

class Row {
  #name = h("strong", { translate: "no" });
  #facts = h("p", { class: "default" });
  #terms = h("p", { class: "default" });
  #warning = h("p", { class: "warning" });
  #progress = putLabel(h("progress", { max: "1" }), "status.progress");
  #actions = h("div", { class: "row" });
  #state = "";

  constructor(list) {
    const text = h("div", { class: "model-text" }, this.#name, this.#facts, this.#terms, this.#warning, this.#progress);
    this.element = h("li", {}, text, this.#actions);
    list.append(this.element);
  }

  show(model, memory, where) {
    const { name, size, ram, quantisation, state, progress, why, speed } = model;
    this.#name.textContent = name;
    const isWanted = name === (preferences.chosen() ?? where.readiness.now.model);
    this.element.dataset.state = state;
    if (isWanted) this.element.setAttribute("aria-current", "true");
    else this.element.removeAttribute("aria-current");
    const isFetching = state === "downloading";
    if (isFetching) put(this.#facts, "status.downloading", fetching(model));
    else put(this.#facts, "models.facts", { recipe: quantisation, size: bytes(size), ram: bytes(ram), speed });
    this.#terms.textContent = terms(model);
    const isLoading = state === "loading";
    this.#progress.hidden = !isFetching && !isLoading;
    if (progress != null) this.#progress.value = progress;
    else this.#progress.removeAttribute("value");
    const isTight = Boolean(memory && ram > memory.available && state !== "loaded");
    this.#warning.hidden = !isTight && !why;
    if (why) put(this.#warning, "models.failed", { why });
    else if (isTight) put(this.#warning, "models.tight", { ram: bytes(ram), free: bytes(memory.available) });
    const now = `${state} ${isWanted} ${Boolean(why)} ${model.removable}`;
    if (now === this.#state) return;
    this.#state = now;
    this.#actions.replaceChildren(...this.#buttons(model, isWanted, where));
  }

  #buttons({ name, state, awaited, why, removable, senses, patch }, isWanted, { readiness, operator }) {
    if (awaited) return []; // the server itself waits for it
    if (state === "downloading") return operator ? [textButton("close", "action.cancel", () => act(models.cancel(name)))] : [];
    if (state === "available") {
      const get = textButton("download", "models.download", () => act(models.download(name)));
      return why ? [get, iconButton("close", "action.close", () => act(models.cancel(name)))] : [get];
    }
    const forget = operator && removable ? [iconButton("trash", "list.delete", () => this.#ask(name))] : [];
    if (isWanted) return [put(h("span", { class: "badge" }), "models.chosen"), ...forget];
    const choose = () => {
      preferences.write("model", name);
      preferences.write("sees", { senses, patch });
      this.#state = "";
      readiness.dispatchEvent(new Event("change")); // another one answers from now on, in the header, too
      act(models.load(name));
    };
    return [textButton(null, "models.choose", choose), ...forget];
  }

  /** Whether it is really to be deleted: to have it again it must be fetched again. */
  #ask(name) {
    const before = [...this.#actions.children];
    const back = () => (this.#actions.replaceChildren(...before), before.at(-1).focus());
    const remove = async () => {
      if (!(await act(models.remove(name)))) return back();
      if (preferences.chosen() === name) preferences.write("model", null);
    };
    const cancel = textButton(null, "action.cancel", back);
    const sure = put(h("span"), "models.sure", { name });
    this.#actions.replaceChildren(sure, cancel, textButton("trash", "list.delete", remove, "button danger"));
    cancel.focus();
  }
}

/** What it speaks and what its licence is. */
function terms({ languages = [], licence, commercial }) {
  const names = new Intl.DisplayNames(current(), { type: "language" });
  const spoken = languages.slice(0, MOST_LANGUAGES).map((tag) => names.of(tag));
  if (languages.length > MOST_LANGUAGES) spoken.push("…");
  const law = licence && commercial === false ? t("models.research", { licence }) : licence;
  return [spoken.join(", "), law].filter(Boolean).join(" · ");
}

/** Whether the server took it; else it is told why not. */
async function act(work) {
  try {
    await work;
    return true;
  } catch (error) {
    toast("models.failed", { params: { why: error.message }, bad: true });
    return false;
  }
}
