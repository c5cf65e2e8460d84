// One rule: the list follows its end only while the reader is there. Whoever has scrolled up is never moved.

const NEAR = 24; // px from the end that still count as the end
const FAR = 80; // px from the end where the way back is offered

export class Follower {
  #list;
  #button;
  #following = false;
  #lastTop = 0;
  #grew = false;

  /** `list` scrolls; `button` leads back to its end. */
  constructor(list, button) {
    this.#list = list;
    this.#button = button;
    const leave = () => list.scrollTop > 0 && (this.#following = false);
    // Before the scroll event comes, so that no text arriving in between pulls the reader back.
    list.addEventListener("wheel", (e) => e.deltaY < 0 && leave(), { passive: true });
    list.addEventListener("touchmove", leave, { passive: true });
    list.addEventListener("touchend", () => this.#resume(), { passive: true });
    list.addEventListener("keydown", (e) => ["PageUp", "ArrowUp", "Home"].includes(e.key) && leave());
    list.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    button.addEventListener("click", () => {
      this.toEnd();
      list.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.#keep()).observe(list); // the composer grew, a banner came
  }

  /** The list grew, by new text or else by what was there: stay at the end if that is where the reader is. */
  stick(isNew) {
    this.#grew ||= isNew;
    this.#keep();
  }

  /** The reader asked for the end: a question was sent, or the button pressed. */
  toEnd() {
    this.#following = true;
    this.#jump();
    this.#offer();
  }

  /** Do `change`, and see `node` where it was before. */
  hold(node, change) {
    const before = node.getBoundingClientRect().top;
    change();
    this.#list.scrollTop += node.getBoundingClientRect().top - before;
  }

  /** Nothing to follow: the chat is empty. */
  toStart() {
    this.#following = this.#grew = false;
    this.#list.scrollTop = 0;
    this.#offer();
  }

  get #distance() {
    return this.#list.scrollHeight - this.#list.clientHeight - this.#list.scrollTop;
  }

  #keep() {
    if (this.#following) this.#jump();
    this.#offer();
  }

  #jump() {
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#lastTop = this.#list.scrollTop;
  }

  #scrolled() {
    const top = this.#list.scrollTop;
    if (top < this.#lastTop && this.#distance > 1) this.#following = false;
    else if (top > this.#lastTop) this.#resume();
    this.#lastTop = top;
    this.#offer();
  }

  #resume() {
    if (this.#distance <= NEAR) this.#following = true;
  }

  #offer() {
    if (this.#distance <= FAR) this.#grew = false;
    this.#button.hidden = this.#following || this.#distance <= FAR || !this.#grew;
  }
}
