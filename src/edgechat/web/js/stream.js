// The body of an answer while it grows: finished blocks are rendered once and never touched again; only the last
// block is rendered anew, once per frame at most. What a frame costs does not grow with the answer.

import { CodeBlock, dressCode } from "./code.js";
import { h, languageOf } from "./dom.js";
import { blocks, elements, refersAhead } from "./markdown.js";

const ENOUGH_FOR_LANGUAGE = 400; // characters
const MARKER = /^ {0,3}(?:[-+*]|\d{1,9}[.)]?)\s*$/; // "2" may become "2. two"

export class Body {
  element = h("div", { class: "text" });
  #source = "";
  #stable = 0; // characters of #source whose blocks are in the page for good
  #last = null; // the last of those blocks' nodes; what follows it is the tail
  #open = null; // the CodeBlock that is the tail
  #dirty = false;
  #frame = 0;
  #grown;

  /** `grown` is called after the body changed its height. */
  constructor(grown) {
    this.#grown = grown;
  }

  get source() {
    return this.#source;
  }

  push(text) {
    this.#source += text.replaceAll("\r", "");
    this.#dirty = true;
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** Show all that has been pushed. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.#dirty) return;
    this.#dirty = false;
    if (this.#source.length < ENOUGH_FOR_LANGUAGE) this.element.lang = languageOf(this.#source);
    const tokens = blocks(this.#source.slice(this.#stable));
    const open = stillOpen(tokens);
    for (const token of tokens.slice(0, open)) this.#keep(token);
    this.#tail(tokens.slice(open));
    this.#grown();
  }

  /** No more text comes. */
  finish() {
    this.flush();
    if (refersAhead(this.#source)) return this.set(this.#source);
    for (const token of blocks(this.#source.slice(this.#stable))) this.#keep(token);
    this.#grown();
  }

  /** What was complete is not: the last block may grow again. */
  reopen() {
    this.#stable = 0;
    this.#last = this.#open = null;
    this.element.replaceChildren();
    this.#dirty = true;
    this.flush();
  }

  /** Show `source` and nothing else, as complete. */
  set(source) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#dirty = false;
    this.#source = source.replaceAll("\r", "");
    this.#stable = this.#source.length;
    this.#last = this.#open = null;
    this.element.lang = languageOf(this.#source.slice(0, ENOUGH_FOR_LANGUAGE));
    const fragment = elements(blocks(this.#source), this.#grown);
    dressCode(fragment);
    this.element.replaceChildren(fragment);
    this.#grown();
  }

  /** `token` is finished: its nodes stay. */
  #keep(token) {
    this.#stable += token.raw.length;
    if (token.type === "space") return;
    if (this.#open && token.type === "code" && this.#open.grow(token.text, language(token))) this.#open.colour();
    else this.#renew([token], dressCode);
    this.#open = null;
    this.#last = this.element.lastChild;
  }

  #tail(tokens) {
    const [token] = tokens;
    const isCode = token?.type === "code";
    if (isCode && this.#open?.grow(token.text, language(token))) return;
    if (!isCode) return this.#renew(tokens);
    this.#clearTail();
    this.#open = new CodeBlock(token.text, language(token));
    this.element.append(this.#open.element);
  }

  /** Show `tokens` in place of the tail, after `dress` had them; a wide table stays where it is read. */
  #renew(tokens, dress) {
    const aside = tokens[0]?.type === "table" && this.element.lastElementChild?.scrollLeft;
    this.#clearTail();
    const fragment = elements(tokens, this.#grown);
    dress?.(fragment);
    this.element.append(fragment);
    if (aside) this.element.lastElementChild.scrollLeft = aside;
  }

  #clearTail() {
    this.#open = null;
    while (this.element.lastChild !== this.#last) this.element.lastChild.remove();
  }
}

/** Where the block begins that more text may change: the last one, or a list before what may be its next item. */
function stillOpen(tokens) {
  const before = (at) => tokens.findLastIndex((token, index) => index < at && token.type !== "space");
  const last = before(tokens.length);
  const previous = before(last);
  const isMarker = MARKER.test(tokens[last]?.raw ?? "");
  return Math.max(isMarker && tokens[previous]?.type === "list" ? previous : last, 0);
}

const language = (token) => token.lang?.match(/^\S+/)?.[0] ?? "";
