// One question or one answer as elements: text, toolbar, figures, what went wrong.

import { copyButton } from "./clipboard.js";
import { iconButton, openMenu, textButton } from "./controls.js";
import { h, icon, languageOf } from "./dom.js";
import { put, putLabel } from "./i18n.js";
import { sendsWithEnter } from "./preferences.js";
import { Body } from "./stream.js";

const KNOWN = new Set([
  "unreachable", "interrupted", "model_not_ready", "engine_failed", "context_length_exceeded",
  "invalid_request", "busy", "forbidden", "out_of_memory", "storage", "model_not_found",
  "server_paused", "unsupported_media", "invalid_media",
]);
const TOLD_BY_DETAILS = new Set(["context_length_exceeded", "model_not_ready", "invalid_request", "internal_error", "storage", "unsupported_media", "invalid_media"]);
const BY_STATUS = { 401: "forbidden", 403: "forbidden", 404: "model_not_found", 429: "busy", 400: "invalid_request", 503: "model_not_ready" };
const OF_MODELS = new Set(["out_of_memory", "model_not_found", "model_not_ready", "unsupported_media"]); // another one may do
const TAG = "<think>";
const LONG = 1_500; // characters of a question that stands folded, or
const LINES = 16; // lines of one
const PLACES = /bbox_2d|\(\d+,\s*\d+\),\s*\(\d+,\s*\d+\)/; // in a picture
const SIMILAR = { rate_limit_exceeded: "busy", server_busy: "busy", queue_full: "busy", not_enough_memory: "out_of_memory" };

let count = 0;

class View {
  element;
  tools = h("div", { class: "tools" });
  #branches = h("div", { class: "branches" });
  #place = h("span", { class: "place" });

  /** `actions`: step(id, ±1) to another version, grown, edit, held(id), isFirst(id), regenerate, goOn, branch, remove, models. */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    const step = (by) => () => this.actions.step(this.message.id, by);
    this.#branches.append(
      iconButton("left", "branch.previous", step(-1)),
      this.#place,
      iconButton("right", "branch.next", step(1)),
    );
    this.#branches.hidden = true;
    this.tools.append(this.#branches);
  }

  /** Wrap `children` into the article of this message. */
  build(kind, title, ...children) {
    title.id = `message-${(count += 1)}`;
    this.article = h("article", { class: kind, "aria-labelledby": title.id, tabindex: "-1" }, title, ...children);
    this.element = h("li", {}, this.article);
  }

  /** This is version `n` of `total`. */
  place(n, total) {
    this.#branches.hidden = total < 2;
    if (total < 2) return;
    this.#place.textContent = `${n}/${total}`;
    putLabel(this.#place, "branch.place", { n, total });
    this.#place.setAttribute("role", "img");
    const [previous, , next] = this.#branches.children;
    previous.setAttribute("aria-disabled", String(n === 1));
    next.setAttribute("aria-disabled", String(n === total));
  }
}

/** What the user wrote. */
export class Question extends View {
  #text;
  #fold = textButton(null, "message.unfold", () => this.fold(!this.#isFolded), "button quiet small");

  constructor(message, actions) {
    super(message, actions);
    this.#text = h("div", { class: "text", dir: "auto", lang: languageOf(message.content) }, message.content);
    this.tools.append(
      copyButton("message.copy", () => this.message.content),
      iconButton("edit", "message.edit", () => this.edit()),
    );
    const held = h("div");
    this.#text.hidden = !message.content;
    this.build("question", put(h("h2", { class: "sr" }), "message.you"), held, this.#text, this.tools);
    this.fold(true);
    if (message.attachments?.length) {
      import("./gallery.js").then(({ thumbnails }) => (held.replaceWith(thumbnails(message.attachments)), this.actions.grown()));
    }
  }

  get #isFolded() {
    return this.#text.classList.contains("folded");
  }

  /** Show the beginning of a long text, or all of it. */
  fold(folded) {
    const { content } = this.message;
    const isLong = content.length > LONG || content.split("\n").length > LINES;
    this.#text.classList.toggle("folded", isLong && folded);
    if (!isLong) return;
    if (!this.#fold.isConnected) this.#text.after(this.#fold);
    put(this.#fold.firstElementChild, folded ? "message.unfold" : "message.fold", { n: content.length });
  }

  /** Change the text into a new version of it. */
  edit() {
    if (this.article.querySelector("form")) return;
    const field = putLabel(h("textarea", { rows: "1", class: "edit-text", dir: "auto" }), "message.edit");
    field.value = this.message.content;
    const close = () => {
      form.replaceWith(this.#text);
      this.tools.hidden = false;
      this.fold(true);
    };
    const form = h(
      "form",
      { class: "edit" },
      field,
      h(
        "div",
        { class: "row" },
        textButton(null, "action.cancel", close, "button quiet"),
        put(h("button", { type: "submit", class: "button primary" }), "composer.send"),
      ),
    );
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const text = field.value.trim();
      const isNew = text && text !== this.message.content.trim();
      if (!isNew || this.actions.edit(this.message.id, text)) close(); // what cannot be sent now stays
    });
    form.addEventListener("keydown", (e) => {
      if (e.key === "Escape") {
        e.stopPropagation();
        close();
        this.article.focus();
      } else if (e.key === "Enter" && !e.shiftKey && (e.ctrlKey || e.metaKey || sendsWithEnter())) {
        e.preventDefault();
        form.requestSubmit();
      }
    });
    this.#text.replaceWith(form);
    this.#fold.remove();
    this.tools.hidden = true;
    field.focus();
  }
}

/** What the model writes: waiting, thinking, text, end. */
export class Answer extends View {
  #body;
  #wait = h("div", { class: "wait", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
  #thoughts = null; // {element, body, summary, since}
  #foot = h("div", { class: "foot-line" });
  #problem = null;
  #raw = null;
  #said = ""; // what came so far, until it is clear whether it is thought; then null
  #model = h("span", { translate: "no" });
  #places = h("div");
  #folded = h("details", { class: "thoughts" }, put(h("summary"), "error.details")); // the text, where its drawing says more

  constructor(message, actions) {
    super(message, actions);
    this.#body = new Body(() => this.actions.grown());
    this.tools.append(
      copyButton("message.copy", () => this.message.content),
      iconButton("retry", "message.regenerate", () => this.actions.regenerate(this.message.id)),
      iconButton("more", "settings.more", (e) => this.#menu(e.currentTarget)),
      this.#foot,
    );
    const who = h("h2", { class: "who" }, put(h("span"), "message.assistant"), this.#model);
    this.build("answer", who, this.#body.element, this.#places, this.#wait, this.tools);
    if (message.status === "running") this.start();
    else {
      const { thoughts, answer } = apart(message.content);
      if (message.reasoning || thoughts) this.think(message.reasoning || thoughts, true);
      this.#body.set(answer);
      this.settle(message);
    }
  }

  /** Nothing is there yet; it comes. */
  start() {
    this.#thoughts?.element.remove();
    this.#thoughts = null;
    this.#body.set("");
    this.#said = "";
    this.#await();
  }

  /** There is some of it, and more comes. */
  goOn() {
    if (!this.text) return this.start();
    this.#body.reopen();
    this.#said = null;
    this.#await();
  }

  #await() {
    if (this.#folded.isConnected) this.#places.before(this.#body.element);
    this.#folded.remove();
    this.#problem?.remove();
    this.#problem = null;
    this.#model.textContent = this.message.model ?? "";
    this.#foot.replaceChildren();
    this.#wait.hidden = false;
    this.tools.hidden = true;
    this.article.setAttribute("aria-busy", "true");
  }

  /** More of the answer. */
  push(text) {
    if (this.#said === null) return this.#answer(text);
    const before = apart(this.#said).thoughts;
    this.#said += text;
    const start = this.#said.trimStart();
    if (TAG.startsWith(start)) return;
    const { thoughts, answer } = apart(this.#said);
    if (thoughts.length > before.length) this.think(thoughts.slice(before.length));
    if (start.startsWith(TAG) && !answer) return;
    this.#said = null;
    this.#answer(answer);
  }

  #answer(text) {
    this.#body.push(this.#body.source ? text : text.trimStart());
    this.#wait.hidden = true;
    if (this.#thoughts) this.#closeThoughts();
  }

  /** More of what the model thinks before it answers; `whole` when it is not live. */
  think(text, whole = false) {
    this.#thoughts ??= this.#openThoughts(whole);
    this.#thoughts.body[whole ? "set" : "push"](text);
    this.#wait.hidden = true;
  }

  /** All of the answer so far, as the server has it. */
  replace({ content, reasoning }) {
    const [shown, answer] = [this.text.trimStart(), apart(content).answer.replaceAll("\r", "").trimStart()];
    if (shown && answer.startsWith(shown)) {
      if (answer !== shown) this.push(answer.slice(shown.length)); // what is read stays where it is
      return;
    }
    this.start();
    if (reasoning) this.think(reasoning);
    if (content) this.push(content);
  }

  get text() {
    return this.#body.source;
  }

  /** The answer is over, as `message` has it. */
  settle(message) {
    this.message = message = { ...message, content: apart(message.content).answer };
    this.#model.textContent = message.model ?? "";
    if (message.content.trim() !== this.#body.source.trim()) this.#body.set(message.content);
    else this.#body.finish();
    this.#closeThoughts();
    this.#wait.hidden = true;
    this.tools.hidden = false;
    this.article.removeAttribute("aria-busy");
    this.#foot.replaceChildren(...this.#footer(message));
    this.#place(message);
    const retry = () => this.actions.regenerate(message.id);
    if (message.status === "interrupted") this.fail({ code: "interrupted" }, { retry });
    else if (message.status === "error" && !this.#problem) {
      const { code = "internal_error", message: raw = "" } = message.error ?? {};
      this.fail({ code, message: raw }, { retry });
    }
    this.actions.grown();
  }

  /** The answer broke. `actions`: retry, and startOver for what no retry can mend. */
  fail(error, { retry, startOver }) {
    this.#body.finish();
    this.#closeThoughts();
    this.#wait.hidden = true;
    this.tools.hidden = !this.text;
    this.article.removeAttribute("aria-busy");
    const code = SIMILAR[error.code] ?? error.code;
    const name = KNOWN.has(code) ? code : (BY_STATUS[error.status] ?? "internal_error");
    const isTooLong = name === "context_length_exceeded"; // it would be again
    const again = isTooLong ? ["edit", "message.edit", () => this.actions.revise(this.message.id)] : ["retry", "action.retry", retry];
    const row = h("div", { class: "row" }, textButton(...again));
    if (isTooLong && startOver) row.append(textButton("plus", "action.start_over", startOver));
    if (this.text && !isTooLong) row.append(textButton("forward", "action.continue", () => this.actions.goOn(this.message.id), "button go-on"));
    if (OF_MODELS.has(name)) row.append(textButton(null, "action.models", this.actions.models));
    this.#problem?.remove();
    this.#problem = h(
      "div",
      { class: "problem", role: "alert" },
      icon("alert"),
      put(h("p"), `error.${name}`),
    );
    if (error.message) this.#problem.append(details(error.message, TOLD_BY_DETAILS.has(name)));
    this.#problem.append(row);
    this.article.insertBefore(this.#problem, this.tools);
    this.actions.grown();
  }

  /** Draw the places that the answer names in the picture it is about. */
  async #place({ parent_id: question, content, model }) {
    this.#places.replaceChildren();
    const held = this.actions.held(question);
    if (!held.length || !PLACES.test(content)) return;
    const { namesOnly, places } = await import("./gallery.js");
    const found = places(content, held, model);
    if (found) this.#places.replaceChildren(found);
    if (found && namesOnly(content)) this.#foldText();
    this.actions.grown();
  }

  /** The drawing says it all: what it was drawn from is there for whoever wants it. */
  #foldText() {
    this.#places.after(this.#folded);
    this.#folded.append(this.#body.element);
  }

  #footer({ status, finish_reason: reason, usage }) {
    const parts = [];
    const isFull = reason === "length" && usage?.ctx_used >= usage?.ctx_max;
    const badge = status === "stopped" ? "stopped" : isFull ? "full" : reason === "length" || reason === "loop" ? reason : null;
    if (badge) parts.push(put(h("span", { class: "badge" }), `badge.${badge}`));
    const hasRoom = !isFull || !this.actions.isFirst(this.message.id); // what is older may be left out
    if (badge && badge !== "loop" && hasRoom) {
      parts.push(textButton("forward", "action.continue", () => this.actions.goOn(this.message.id), "button quiet small go-on"));
    }
    if (usage?.completion) parts.push(figures(usage));
    return parts;
  }

  #openThoughts(whole) {
    const body = new Body(() => this.actions.grown());
    const summary = put(h("summary"), whole ? "thinking.done" : "thinking.now");
    const element = h("details", { class: "thoughts" }, summary, body.element);
    element.open = !whole;
    this.article.insertBefore(element, this.#body.element);
    return { element, body, summary, since: whole ? null : Date.now() };
  }

  #closeThoughts() {
    if (!this.#thoughts?.since) return;
    const { element, body, summary, since } = this.#thoughts;
    this.#thoughts.since = null;
    body.finish();
    element.open = false;
    put(summary, "thinking.took", { n: Math.max(1, Math.round((Date.now() - since) / 1000)) });
  }

  #menu(anchor) {
    const reads = "speechSynthesis" in window;
    openMenu(anchor, [
      this.element.nextElementSibling && ["branch", "message.branch", () => this.actions.branch(this.message.id)],
      ["code", this.#raw ? "message.formatted" : "message.raw", () => this.#toggleRaw()],
      reads && ["speak", speechSynthesis.speaking ? "message.silence" : "message.speak", () => this.#speak()],
      ["trash", "list.delete", () => this.actions.remove(this.message.id)],
    ]);
  }

  #toggleRaw() {
    if (this.#raw) this.#raw.replaceWith(this.#body.element);
    else this.#body.element.replaceWith((this.#raw = h("div", { class: "text raw" }, this.message.content)));
    if (!this.#raw.isConnected) this.#raw = null;
  }

  #speak() {
    if (speechSynthesis.speaking) return speechSynthesis.cancel();
    const speech = new SpeechSynthesisUtterance(this.#body.element.innerText);
    speech.lang = this.#body.element.lang;
    speechSynthesis.speak(speech);
  }
}

/**
 * What a model thinks and what it answers. Models whose templates nobody knows write their thoughts into the answer,
 * between tags at its beginning; half a closing tag is no thought.
 */
function apart(content) {
  const found = /^\s*<think>\s*([^]*?)(?:<\/think>\s*([^]*)|(?:<\/?t?h?i?n?k?)?)$/.exec(content);
  return found ? { thoughts: found[1], answer: found[2] ?? "" } : { thoughts: "", answer: content };
}

/** The line under an answer. */
function figures({ completion: n, tps: speed, ttft_ms: first }) {
  return put(h("span", { class: "figures" }), "figures.tokens", { n, speed, first: first && first / 1000 });
}

function details(raw, open) {
  const summary = put(h("summary"), "error.details");
  return h("details", open ? { open: "" } : {}, summary, h("code", { class: "raw", translate: "no" }, raw));
}
