// The box one types in. Enter sends with a keyboard at hand and breaks the line on a touch screen.

const MAX_LINES = 8;

export class Composer {
  #form;
  #input;
  #send;
  #stop;
  #busy = false;
  #touch = matchMedia("(pointer: coarse)");
  #grows = !CSS.supports("field-sizing", "content");

  /** `onSend(text)` returns whether the text was taken; `onStop()` ends the running answer. */
  constructor({ form, input, send, stop, onSend, onStop }) {
    Object.assign(this, { onSend, onStop });
    this.#form = form;
    this.#input = input;
    this.#send = send;
    this.#stop = stop;
    const hint = () => (input.enterKeyHint = this.#touch.matches ? "enter" : "send");
    this.#touch.addEventListener("change", hint);
    hint();
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.submit();
    });
    input.addEventListener("keydown", (e) => {
      if (isComposing(e) || e.key !== "Enter" || e.shiftKey || this.#touch.matches) return;
      e.preventDefault();
      this.submit();
    });
    input.addEventListener("input", () => this.#update());
    stop.addEventListener("click", () => this.onStop());
    this.#update();
  }

  submit() {
    const text = this.#input.value.trim();
    if (!text || !this.onSend(text)) return;
    this.text = "";
  }

  /** Back to typing; not on a touch screen, where it would call up the keyboard. */
  focus() {
    if (!this.#touch.matches) this.#input.focus({ preventScroll: true });
  }

  set text(value) {
    this.#input.value = value;
    this.#update();
  }

  /** An answer is under way: the button stops it. Typing goes on. */
  set busy(busy) {
    const focused = document.activeElement === this.#send || document.activeElement === this.#stop;
    this.#busy = busy;
    this.#update();
    if (focused) (busy ? this.#stop : this.#send).focus({ preventScroll: true });
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
