// The box one types in. Enter sends with a keyboard at hand and breaks the line on a touch screen. What is typed is kept
// as a draft; what is sent while an answer is being written waits for its end, where one can see and change it.

import { byId } from "./dom.js";
import * as preferences from "./preferences.js";

const MAX_LINES = 8;
const SETTLED = 300; // ms without a key before the draft is kept

export class Composer {
  #input = byId("input");
  #send = byId("send");
  #stop = byId("stop");
  #busy = false;
  #following = ""; // the question that waits for the end of the answer
  #conversation; // its id, null for a new one; undefined before the first
  #timer = 0;
  #touch = matchMedia("(pointer: coarse)");
  #grows = !CSS.supports("field-sizing", "content");

  /** `onSend(text)` takes a question; `onStop()` ends the running answer; `onUp()` is ↑ in the empty box. */
  constructor({ onSend, onStop, onUp }) {
    Object.assign(this, { onSend, onStop });
    const input = this.#input;
    const hint = () => (input.enterKeyHint = this.#breaksLines ? "enter" : "send");
    this.#touch.addEventListener("change", hint);
    hint();
    byId("composer").addEventListener("submit", (e) => {
      e.preventDefault();
      this.submit();
    });
    input.addEventListener("keydown", (e) => {
      if (isComposing(e)) return;
      if (e.key === "ArrowUp" && !input.value && !e.altKey) return void (e.preventDefault(), onUp());
      const meant = e.ctrlKey || e.metaKey || !this.#breaksLines;
      if (e.key !== "Enter" || e.shiftKey || !meant) return;
      e.preventDefault();
      this.submit();
    });
    input.addEventListener("input", () => {
      this.#update();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#keep(), SETTLED);
    });
    addEventListener("pagehide", () => this.#keep());
    this.#stop.addEventListener("click", () => this.onStop());
    byId("following-edit").addEventListener("click", () => this.#takeBack());
    byId("following-drop").addEventListener("click", () => (this.#follow(""), this.focus()));
    this.#update();
  }

  get #breaksLines() {
    return this.#touch.matches || preferences.read("send") === "ctrl";
  }

  submit() {
    const text = this.#input.value.trim();
    if (!text) return;
    this.text = "";
    if (this.#busy) this.#follow([this.#following, text].filter(Boolean).join("\n\n"));
    else this.onSend(text);
  }

  /** Back to typing; not on a touch screen, where it would call up the keyboard. */
  focus() {
    if (!this.#touch.matches) this.#input.focus({ preventScroll: true });
  }

  get text() {
    return this.#input.value;
  }

  set text(value) {
    this.#input.value = value;
    this.#keep();
    this.#update();
  }

  /** Another conversation is open: its draft comes back. */
  open(conversation) {
    this.#keep();
    this.#conversation = conversation;
    this.#follow("");
    this.#input.value = preferences.draftOf(conversation);
    this.#update();
  }

  /** The new conversation got its name; what is typed stays. */
  named(conversation) {
    this.#keep("");
    this.#conversation = conversation;
    this.#keep();
  }

  /** An answer is under way: the button stops it. Typing goes on. */
  set busy(busy) {
    const focused = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#busy = busy;
    this.#update();
    if (focused) (busy ? this.#stop : this.#send).focus({ preventScroll: true });
  }

  /** The answer is over. `ask` says whether it ended well, so that what waits may be asked. */
  next(ask) {
    const text = this.#following;
    if (!text) return;
    if (!ask) return this.#takeBack();
    this.#follow("");
    this.onSend(text);
  }

  #follow(text) {
    this.#following = text;
    byId("following").hidden = !text;
    byId("following-text").textContent = text;
  }

  #takeBack() {
    this.text = [this.#following, this.#input.value].filter(Boolean).join("\n\n");
    this.#follow("");
    this.focus();
  }

  #keep(text = [this.#following, this.#input.value].filter(Boolean).join("\n\n")) {
    clearTimeout(this.#timer);
    if (this.#conversation !== undefined) preferences.keepDraft(this.#conversation, text);
  }

  #update() {
    this.#send.hidden = this.#busy;
    this.#stop.hidden = !this.#busy;
    this.#send.setAttribute("aria-disabled", String(!this.#input.value.trim()));
    if (this.#grows) this.#fit();
  }

  /** For browsers without field-sizing. */
  #fit() {
    const style = getComputedStyle(this.#input);
    const padding = parseFloat(style.paddingTop) + parseFloat(style.paddingBottom);
    this.#input.style.height = "auto";
    const most = parseFloat(style.lineHeight) * MAX_LINES + padding;
    this.#input.style.height = `${Math.min(this.#input.scrollHeight, most)}px`;
  }
}

/** An input method is choosing characters. Safari ends the composition before the key event, hence 229. */
export const isComposing = (e) => e.isComposing || e.keyCode === 229;
