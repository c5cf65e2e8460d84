// The messages on the page (a windowed list): those of a thread's path, the newest at once, earlier ones between two frames.

import { textButton } from "./controls.js";
import { byId, h } from "./dom.js";
import { put } from "./i18n.js";
import { Answer, Question } from "./message.js";

const AT_ONCE = 8; // messages that a conversation opens with; earlier ones follow, so that nobody waits for them
const FEW = 4; // of them in one go
const MOST_SHOWN = 60; // of more than
const MANY = 200;

export class Messages {
  #thread;
  #views = new Map(); // id -> Question | Answer
  #left = 0; // how many of the oldest messages are not in the page
  #forgotten = put(h("li", { class: "forgotten" }), "list.forgotten"); // above it is what the last answer did not see
  #earlier = h("li", {}, textButton("up", "list.earlier", () => this.#fill(0)));
  #list = byId("messages");
  #actions;
  #follower;
  #shown;

  /** `actions` are those of message.js; `shown` is called when the list is another one. */
  constructor(thread, actions, follower, shown) {
    this.#thread = thread;
    this.#actions = actions;
    this.#follower = follower;
    this.#shown = shown;
  }

  /** Show `thread` without its `left` oldest messages: as many as before, or but its end. */
  show(thread, left = this.#left) {
    this.#thread = thread;
    this.#left = Math.min(left, Math.max(0, this.#path.length - AT_ONCE));
    this.#views.clear();
    this.render();
  }

  /** The message `id` as it is shown, if it is. */
  view(id) {
    return this.#views.get(id);
  }

  /** The message `local` is called `id` in the thread now. */
  rename(local, id) {
    const view = this.#views.get(local);
    this.#views.delete(local);
    this.#views.set(id, view);
    if (view) view.message = this.#thread.get(id);
  }

  /** Bring the list in line with the thread's path, touching only what differs. */
  render() {
    const path = this.#path;
    const dropped = path.findLast((message) => message.usage?.dropped != null)?.usage.dropped ?? 0;
    const wanted = path.slice(this.#left).map((message) => {
      const view = this.#made(message);
      const versions = this.#thread.versions(message.id);
      view.place(versions.indexOf(message.id) + 1, versions.length);
      return view.element;
    });
    if (dropped > this.#left) wanted.splice(dropped - this.#left, 0, this.#forgotten);
    if (this.#left) wanted.unshift(this.#earlier);
    put(this.#earlier.querySelector("span"), "list.earlier", { n: this.#left });
    const { children } = this.#list;
    for (const node of [...children]) if (!wanted.includes(node)) node.remove();
    for (const [at, node] of wanted.entries()) if (children[at] !== node) this.#list.insertBefore(node, children[at] ?? null);
    this.#shown();
  }

  /** Bring in all earlier messages, or of many the latest. */
  fillUp() {
    const { length } = this.#path;
    this.#fill(length > MANY ? length - MOST_SHOWN : 0);
  }

  /** Lead to the newest message that has these words, and mark the first of them there. */
  async find(words) {
    const { id } = this.#thread;
    const { marked, has } = await import("./found.js");
    const at = this.#path.findLastIndex(({ content, attachments = [] }) => has([content, ...attachments.map(({ name }) => name)].join("\n"), words));
    if (this.#thread.id !== id || at < 0) return;
    this.#left = Math.min(this.#left, at);
    this.render();
    const view = this.#views.get(this.#path[at].id);
    view.fold?.(false);
    (marked(view.article, words) ?? view.article).scrollIntoView({ block: "center" });
  }

  /** Move the focus to the message before or after the focused one. */
  walk(by) {
    const articles = [...this.#list.querySelectorAll("article")];
    const here = articles.indexOf(document.activeElement?.closest("article"));
    const next = here < 0 ? articles.at(-1) : articles[here + by];
    next?.focus();
  }

  get #path() {
    return this.#thread.path().filter((message) => message.role !== "system");
  }

  #made(message) {
    if (!this.#views.has(message.id)) {
      const View = message.role === "user" ? Question : Answer;
      this.#views.set(message.id, new View(message, this.#actions));
    }
    return this.#views.get(message.id);
  }

  /** Bring in earlier messages until `left` are left, a few between two frames. */
  async #fill(left) {
    const { id } = this.#thread;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve));
      if (this.#thread.id !== id || this.#left <= left) return;
      this.#left = Math.max(left, this.#left - FEW);
      this.#follower.hold(this.#list.lastChild, () => this.render());
    }
  }
}
