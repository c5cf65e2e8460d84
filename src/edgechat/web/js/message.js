// One question and its answer as elements. Text is appended to a text node, at most once per frame.

import { h, icon, languageOf } from "./dom.js";
import { put } from "./i18n.js";

const KNOWN = new Set([
  "unreachable", "interrupted", "model_failed", "model_not_ready", "engine_failed",
  "context_length_exceeded", "invalid_request", "busy", "forbidden",
]);
const TOLD_BY_DETAILS = new Set(["model_failed", "invalid_request", "internal_error"]);
const BY_STATUS = { 401: "forbidden", 403: "forbidden", 429: "busy", 400: "invalid_request", 503: "model_not_ready" };

let count = 0;

function article(kind, headingKey, ...children) {
  const id = `message-${(count += 1)}`;
  const heading = put(h("h2", { id, class: "sr" }), headingKey);
  return h("article", { class: kind, "aria-labelledby": id }, heading, ...children);
}

/** A list item with what the user wrote. */
export function question(text) {
  const body = h("div", { class: "text", lang: languageOf(text) }, text);
  return h("li", {}, article("question", "message.you", body));
}

/** An answer that grows. */
export class Answer {
  #text = document.createTextNode("");
  #body = h("div", { class: "text" }, this.#text);
  #wait = h("div", { class: "wait", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
  #meta = h("div", { class: "meta" });
  #problem = null;
  #article = article("answer", "message.assistant", this.#body, this.#wait, this.#meta);
  #pending = "";
  #frame = 0;
  #grown;

  element = h("li", {}, this.#article);

  /** `grown` is called after the answer changed its height. */
  constructor(grown) {
    this.#grown = grown;
  }

  /** Back to nothing, for another attempt. */
  reset() {
    this.#flush();
    this.#text.data = "";
    this.#problem?.remove();
    this.#problem = null;
    this.#meta.replaceChildren();
    this.#wait.hidden = false;
    this.#article.setAttribute("aria-busy", "true");
  }

  append(text) {
    this.#pending += text;
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  /** The answer is over. `figures`: {tokens, speed or null}; `badge`: stopped | length | loop. */
  finish({ figures, badge, retry } = {}) {
    this.#settle();
    if (badge) this.#meta.append(put(h("span", { class: "badge" }), `badge.${badge}`));
    if (figures) this.#meta.append(shown(figures));
    if (retry) this.#meta.append(button("retry", "action.retry", retry, "button quiet"));
    this.#grown();
  }

  /** The answer broke. `actions`: {retry, startOver}, of which the second is for what no retry can mend. */
  fail(error, { retry, startOver }) {
    this.#settle();
    const name = KNOWN.has(error.code) ? error.code : (BY_STATUS[error.status] ?? "internal_error");
    const actions = h("div", { class: "actions" }, button("retry", "action.retry", retry));
    if (name === "context_length_exceeded") actions.append(button("plus", "action.start_over", startOver));
    this.#problem = h(
      "div",
      { class: "problem", role: "alert" },
      icon("alert"),
      put(h("p", { class: "what" }), `error.${name}.what`),
      put(h("p"), `error.${name}.todo`),
    );
    if (error.message) this.#problem.append(details(error.message, TOLD_BY_DETAILS.has(name)));
    this.#problem.append(actions);
    this.#article.insertBefore(this.#problem, this.#meta);
    this.#grown();
  }

  #settle() {
    this.#flush();
    this.#wait.hidden = true;
    this.#article.removeAttribute("aria-busy");
  }

  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.#pending) return;
    const first = this.#text.length === 0;
    const text = first ? this.#pending.trimStart() : this.#pending;
    this.#pending = "";
    if (!text) return;
    this.#text.appendData(text);
    if (this.#text.length < 400) this.#body.lang = languageOf(this.#text.data);
    this.#wait.hidden = true;
    this.#grown();
  }
}

function button(image, key, onClick, kind = "button") {
  const node = h("button", { type: "button", class: kind }, icon(image), put(h("span"), key));
  node.addEventListener("click", onClick);
  return node;
}

function details(raw, open) {
  const summary = put(h("summary"), "error.details");
  return h("details", open ? { open: "" } : {}, summary, h("code", { class: "raw", translate: "no" }, raw));
}

function shown({ tokens, speed }) {
  const node = h("span", { class: "figures" });
  return speed == null ? put(node, "figures.tokens", { n: tokens }) : put(node, "figures.speed", { n: tokens, speed });
}
