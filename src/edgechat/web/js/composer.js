// The box one types in. Enter sends with a keyboard at hand, a tablet's too, and breaks the line with the screen's. What
// is typed is kept as a draft; what is sent while an answer is being written waits for its end, where one can see and
// change it. A long text that is pasted may stand beside the question instead of in the box.

import { byId } from "./dom.js";
import { put } from "./i18n.js";
import * as preferences from "./preferences.js";

const MAX_LINES = 8;
const LONG = 4_000; // characters pasted at once, from which on they may stand beside the question
const TABLET = 700; // px of the shorter side: a larger screen is no phone's
const SETTLED = 300; // ms without a key before the draft is kept

export class Composer {
  #input = byId("input");
  #send = byId("send");
  #stop = byId("stop");
  #busy = false;
  #following = ""; // the question that waits for the end of the answer
  #shown = []; // the pictures that wait with it
  #trays = new Map(); // pictures that stand beside the questions of other conversations
  tray = null; // those of this one: pictures.js, once there are some
  #pasted = ""; // a long text in the box that could be taken out
  #attached = ""; // what was
  #conversation; // its id, null for a new one; undefined before the first
  #timer = 0;
  #touch = matchMedia("(pointer: coarse)");
  #grows = !CSS.supports("field-sizing", "content");

  /** `onSend(text, held)` takes a question and what goes with it; `onStop()` ends the running answer; `onUp()` is ↑ in the empty box. */
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
      if (e.key === "ArrowUp" && !input.value && !e.altKey) return void (e.preventDefault(), onUp());
      const meant = e.ctrlKey || e.metaKey || !this.#breaksLines || this.#isTabletsKeyboard(e);
      if (e.key !== "Enter" || e.shiftKey || !meant) return;
      e.preventDefault();
      this.submit();
    });
    input.addEventListener("paste", (e) => {
      const text = e.clipboardData.getData("text/plain").replace(/\r\n?/g, "\n");
      if (text.length > LONG) this.#offer(text);
    });
    input.addEventListener("input", () => {
      if (!input.value.includes(this.#pasted)) this.#offer("");
      this.#update();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#keep(), SETTLED);
    });
    addEventListener("pagehide", () => this.#keep());
    this.#stop.addEventListener("click", () => this.onStop());
    byId("attach").addEventListener("click", () => (this.#takeOut(), this.focus()));
    byId("attached-edit").addEventListener("click", () => (this.#detach(this.#attached), this.focus()));
    byId("attached-drop").addEventListener("click", () => (this.#detach(""), this.focus()));
    byId("following-edit").addEventListener("click", () => this.#takeBack());
    byId("following-drop").addEventListener("click", () => (this.#follow(""), this.focus()));
    this.#update();
  }

  get #breaksLines() {
    return this.#touch.matches || preferences.read("send") === "ctrl";
  }

  /** A key of a keyboard, not of the screen, whose keys have no place; a phone has none, whatever its screen's say. */
  #isTabletsKeyboard({ code }) {
    const isReal = code && code !== "Unidentified" && Math.min(screen.width, screen.height) >= TABLET;
    return isReal && preferences.read("send") !== "ctrl";
  }

  submit() {
    const text = joined(this.#input.value.trim(), this.#attached);
    if (this.tray?.busy || !(text || this.tray?.size)) return;
    const held = this.tray?.take() ?? [];
    this.#detach("");
    this.text = "";
    this.send(text, held);
  }

  /** Ask `text`, about the pictures `held`; while an answer is being written it waits for the end. */
  send(text, held = []) {
    if (this.#busy) this.#follow(joined(this.#following, text), [...this.#shown, ...held]);
    else this.onSend(text, held);
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
    if (this.tray) this.#trays.set(this.#conversation, this.tray.take());
    this.tray?.put(this.#trays.get(conversation) ?? []);
    this.#conversation = conversation;
    this.#follow("");
    this.#input.value = preferences.draftOf(conversation);
    this.#detach("");
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
    const [text, held] = [this.#following, this.#shown];
    if (!text && !held.length) return;
    if (!ask) return this.#takeBack();
    this.#follow("");
    this.onSend(text, held);
  }

  #follow(text, held = []) {
    this.#following = text;
    this.#shown = held;
    byId("following").hidden = !text && !held.length;
    byId("following-text").textContent = joined(text, held.map(({ name }) => name).join(", "));
  }

  #takeBack() {
    this.text = joined(this.#following, this.#input.value);
    this.tray?.put(this.#shown);
    this.#follow("");
    this.focus();
  }

  /** Let `text` stand beside the question, too. */
  attach(text) {
    this.#attached = joined(this.#attached, text.trim());
    this.#showAttached();
  }

  #offer(text) {
    this.#pasted = text;
    byId("attach").hidden = !text;
  }

  /** Take what was pasted out of the box. */
  #takeOut() {
    this.#input.value = this.#input.value.replace(this.#pasted, () => "");
    this.attach(this.#pasted);
  }

  /** Nothing stands beside the question any more; `text` goes back into the box. */
  #detach(text) {
    this.#attached = "";
    this.#input.value = joined(this.#input.value, text);
    this.#showAttached();
  }

  #showAttached() {
    byId("attached").hidden = !this.#attached;
    byId("attached-text").textContent = this.#attached.slice(0, 200);
    put(byId("attached-label"), "attach.label", { n: this.#attached.length });
    this.#offer("");
    this.#keep();
    this.#update();
  }

  #keep(text = joined(this.#following, this.#input.value, this.#attached)) {
    clearTimeout(this.#timer);
    if (this.#conversation !== undefined) preferences.keepDraft(this.#conversation, text);
  }

  /** What stands beside the question changed. */
  changed() {
    this.#update();
  }

  #update() {
    this.#send.hidden = this.#busy;
    this.#stop.hidden = !this.#busy;
    this.#send.setAttribute("aria-disabled", String(this.tray?.busy || !(this.#input.value.trim() || this.#attached || this.tray?.size)));
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

/** Parts of a question, as one text. */
const joined = (...parts) => parts.filter(Boolean).join("\n\n");
