// The list of conversations: groups by age, search, more as one scrolls. What is done to one is in changes.js.

import { conversations, headOf, news } from "./api.js";
import { iconButton, toast } from "./controls.js";
import { byId, h } from "./dom.js";
import { put, putLabel } from "./i18n.js";

const SETTLED = 200; // ms without a key before the search is asked
const DAY = 86_400_000;

export class Sidebar extends EventTarget {
  #list = byId("conversations");
  #search = byId("search");
  #more = byId("more");
  #found = new Map(); // id -> conversation, or message among the deleted ones, as the server listed them
  #listed = {}; // the query that they answer
  #rows = new Map(); // id -> row
  #cursor = null;
  #asked = 0; // the newest question for the list's beginning: answers to older ones are thrown away
  #shown = 0; // how often a beginning was shown: a next page goes with the one that it was asked for after
  #timer = 0;
  #open = null;
  #deleted = false; // whether the deleted ones are wanted
  #missed = false; // whether the newest question for the list was lost on its way
  #changes = null; // changes.js, from its first use on
  #tabs = new BroadcastChannel("edgechat");

  /** Dispatches "open" {id, find} (null: new chat; the words that led there), "changed" {id} (in this tab or another; null: any) and "gone" {id}. */
  constructor(readiness) {
    super();
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.refresh(), SETTLED);
    });
    this.#search.addEventListener("keydown", (e) => {
      if (e.key === "Escape" && this.#search.value) {
        e.stopPropagation();
        this.#search.value = "";
        this.refresh();
      } else if (e.key === "ArrowDown") {
        e.preventDefault();
        this.#list.querySelector("a")?.focus();
      }
    });
    this.#list.addEventListener("keydown", (e) => this.#walk(e));
    this.#more.addEventListener("click", () => this.#load());
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.#cursor && this.#load()).observe(this.#more);
    byId("deleted").addEventListener("click", () => this.showDeleted(!this.#deleted));
    news.addEventListener("news", () => this.#shown && this.render());
    readiness.addEventListener("reached", () => this.#missed && this.refresh());
    this.#tabs.addEventListener("message", ({ data: id }) => {
      this.refresh();
      this.tell("changed", id);
    });
  }

  /** Mark the open conversation. */
  set open(id) {
    this.#open = id;
    for (const [known, row] of this.#rows) this.#mark(row, known);
  }

  /** A conversation was written to in this tab; with null any of them. */
  touched(id = null) {
    this.#tabs.postMessage(id);
    return this.refresh();
  }

  focusSearch() {
    this.#search.focus();
    this.#search.select();
  }

  /** Ask the server for the list's beginning. */
  async refresh() {
    const asked = (this.#asked += 1);
    const query = this.#query();
    try {
      const found = await conversations.list(query);
      const { messages } = query.deleted && !query.q ? await conversations.deletedMessages() : { messages: [] };
      if (asked !== this.#asked) return;
      this.#missed = false;
      this.#shown += 1;
      this.#listed = query;
      this.#found = new Map(messages.map((message) => [message.id, message]));
      this.#take(found);
    } catch (error) {
      // The banner says that the server is away; what is listed stays.
      if (asked === this.#asked) this.#missed = error.code === "unreachable";
    }
  }

  /** The next page, unless it is on its way: the button's click and its coming into view are often one. */
  async #load() {
    const cursor = this.#cursor;
    if (!cursor) return;
    const shown = this.#shown;
    this.#cursor = null;
    try {
      const found = await conversations.list({ ...this.#listed, cursor });
      if (shown === this.#shown) this.#take(found);
    } catch {
      if (shown === this.#shown) this.#cursor = cursor;
    }
  }

  #query() {
    return { q: this.#search.value.trim(), deleted: this.#deleted ? "true" : null };
  }

  #take({ conversations: found, next }) {
    for (const head of found) this.#found.set(head.id, head);
    this.#cursor = next;
    this.#more.hidden = !next;
    this.render();
  }

  /** Whether the deleted ones are listed, or the others. */
  showDeleted(deleted) {
    if (deleted === this.#deleted) return;
    this.#deleted = deleted;
    byId("deleted").setAttribute("aria-pressed", String(deleted));
    this.#search.value = "";
    this.refresh();
  }

  // ── rows ──

  /** Show what is listed, as it is known by now. */
  render() {
    if (this.#list.querySelector("form")) return; // a title is being typed: afterwards
    const { q: searching, deleted } = this.#listed;
    const focused = this.#list.contains(document.activeElement) && document.activeElement.closest("[data-id]")?.dataset.id;
    const rows = new Map();
    const groups = new Map();
    for (const head of this.#heads()) {
      const row = this.#row(head);
      rows.set(head.id, row);
      const group = searching ? "list.found" : deleted ? "list.deleted" : groupOf(head);
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(row);
    }
    this.#rows = rows;
    this.#list.replaceChildren(
      ...[...groups].map(([key, members]) =>
        h("section", {}, put(h("h2", { class: "group" }), key), h("ul", {}, ...members)),
      ),
    );
    byId("none").hidden = rows.size > 0;
    put(byId("none"), searching ? "list.nothing" : deleted ? "list.none_deleted" : "list.none");
    if (focused) rows.get(focused)?.querySelector("a")?.focus();
  }

  /** In the server's order, save that pinned ones stand first. */
  #heads() {
    const heads = [...this.#found.values()].map((head) => ({ ...head, ...headOf(head.id) }));
    const here = heads.filter(({ version, deleted }) => !version || Boolean(deleted) === Boolean(this.#listed.deleted));
    return here.sort((a, b) => Boolean(b.pinned) - Boolean(a.pinned));
  }

  #row(head) {
    const row = h("li", { class: "row", "data-id": head.id });
    const title = h("span", { class: "row-title", dir: "auto" }, head.title);
    const link = h("a", { href: `?c=${encodeURIComponent(head.conversation_id ?? head.id)}` }, title);
    if (head.snippet) {
      const words = head.snippet.map(({ t, hit }) => (hit ? h("mark", {}, t) : t));
      link.append(h("span", { class: "snippet", dir: "auto" }, ...words));
    }
    link.addEventListener("click", (e) => {
      if (e.ctrlKey || e.metaKey || e.shiftKey) return; // another tab is wanted
      e.preventDefault();
      if (!this.#listed.deleted) this.tell("open", head.id, this.#listed.q);
    });
    row.append(
      link,
      this.#listed.deleted
        ? iconButton("undo", "action.restore", () => this.#do("restore", head))
        : putLabel(iconButton("more", "list.more", (e) => this.#do("menu", e.currentTarget, head)), "list.more", { title: head.title }),
    );
    this.#mark(row, head.id);
    return row;
  }

  #mark(row, id) {
    if (id === this.#open) row.firstElementChild.setAttribute("aria-current", "page");
    else row.firstElementChild.removeAttribute("aria-current");
  }

  #walk(e) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (!step || !e.target.matches("a")) return;
    e.preventDefault();
    const links = [...this.#list.querySelectorAll("a")];
    const next = links[links.indexOf(e.target) + step];
    (next ?? (step < 0 ? this.#search : e.target)).focus();
  }

  // ── changes ──

  /** Ask for another title, in the row itself. */
  rename(id) {
    this.#do("rename", id);
  }

  /** What only some visits need comes when it is wanted; once here it acts at once, before the next key is pressed. */
  async #do(what, ...args) {
    this.#changes ??= await import("./changes.js").catch(() => null);
    if (this.#changes) this.#changes[what](this, ...args);
    else toast("list.not_changed", { bad: true });
  }

  rowOf(id) {
    return this.#rows.get(id);
  }

  changed(id) {
    this.touched(id);
    this.tell("changed", id);
  }

  tell(type, id, find = "") {
    this.dispatchEvent(new CustomEvent(type, { detail: { id, find } }));
  }
}

/** The heading a conversation stands under. */
function groupOf({ pinned, updated }) {
  if (pinned) return "list.pinned";
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (updated >= midnight) return "list.today";
  if (updated >= midnight - DAY) return "list.yesterday";
  return updated >= midnight - 6 * DAY ? "list.week" : "list.earlier_on";
}
