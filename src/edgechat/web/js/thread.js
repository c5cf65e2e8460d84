// A conversation as a tree: every message has a parent, an edit or a new answer is one more child. What is shown is
// one path from the root; at each fork the choice is remembered. No DOM, no network.

export class Thread {
  id;
  version; // of the conversation on the server, as it was read
  settings; // that the conversation has of its own
  #messages = new Map(); // id -> message
  #children = new Map(); // id of the parent or null -> ids in order
  #chosen = new Map(); // id of the parent or null -> id of the child that is shown

  /** `conversation`: {id, version, messages, settings}; `leaf` is the end of the path to show, if it is still there. */
  constructor({ id = null, version = 0, messages = [], settings } = {}, leaf = null) {
    Object.assign(this, { id, version, settings: settings ?? {} });
    for (const message of [...messages].sort((a, b) => a.seq - b.seq)) this.put(message);
    if (this.#messages.has(leaf)) this.choose(leaf);
  }

  get(id) {
    return this.#messages.get(id);
  }

  get size() {
    return this.#messages.size;
  }

  /** Add a message, or replace the one with its id. A new one is shown. */
  put(message) {
    const parent = message.parent_id ?? null;
    if (!this.#messages.has(message.id)) {
      this.#siblings(parent).push(message.id);
      this.choose(message.id, parent);
    }
    this.#messages.set(message.id, message);
  }

  /** The message `id` turned out to be called `known`. */
  rename(id, known) {
    const message = this.#messages.get(id);
    const parent = message.parent_id ?? null;
    const siblings = this.#siblings(parent);
    this.#messages.delete(id);
    if (this.#messages.has(known)) siblings.splice(siblings.indexOf(id), 1);
    else {
      siblings[siblings.indexOf(id)] = known;
      this.#messages.set(known, { ...message, id: known });
    }
    if (this.#chosen.get(parent) === id) this.#chosen.set(parent, known);
    for (const child of this.#siblings(id)) this.#messages.get(child).parent_id = known;
    this.#children.set(known, this.#siblings(id));
    this.#children.delete(id);
    if (this.#chosen.has(id)) this.#chosen.set(known, this.#chosen.get(id));
    this.#chosen.delete(id);
  }

  /** Forget a message that was never stored. */
  drop(id) {
    const parent = this.#messages.get(id)?.parent_id ?? null;
    const siblings = this.#siblings(parent);
    const at = siblings.indexOf(id);
    if (at < 0) return;
    siblings.splice(at, 1);
    this.#messages.delete(id);
    if (siblings.length) this.#chosen.set(parent, siblings.at(-1));
    else this.#chosen.delete(parent);
  }

  /** Show the path that leads through `id`. */
  choose(id, parent = this.#messages.get(id)?.parent_id ?? null) {
    for (let child = id, above = parent; ; ) {
      this.#chosen.set(above, child);
      if (above === null) return;
      child = above;
      above = this.#messages.get(child)?.parent_id ?? null;
    }
  }

  /** Show the path up to `id` and nothing behind it. */
  end(id) {
    this.choose(id);
    this.#chosen.delete(id);
  }

  /** The messages shown, oldest first. */
  path() {
    const path = [];
    for (let id = this.#chosen.get(null); id !== undefined; id = this.#chosen.get(id)) {
      const message = this.#messages.get(id);
      if (!message) break;
      path.push(message);
    }
    return path;
  }

  /** The id of the last message shown, or null. */
  get leaf() {
    return this.path().at(-1)?.id ?? null;
  }

  /** The versions of a message, itself among them: ids in order. */
  versions(id) {
    return [...this.#siblings(this.#messages.get(id)?.parent_id ?? null)];
  }

  #siblings(parent) {
    if (!this.#children.has(parent)) this.#children.set(parent, []);
    return this.#children.get(parent);
  }
}
