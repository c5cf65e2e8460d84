// The open conversation: its thread, what is shown of it, and the one answer that may be under way.

import { ApiError, conversations, runs } from "./api.js";
import { textButton, toast } from "./controls.js";
import { byId, h } from "./dom.js";
import { put, wordsIn } from "./i18n.js";
import { Answer, Question } from "./message.js";
import * as preferences from "./preferences.js";
import { offer, Run } from "./run.js";
import { Thread } from "./thread.js";

const AT_ONCE = 8; // messages that a conversation opens with; earlier ones follow, so that nobody waits for them
const FEW = 4; // of them in one go
const MOST_SHOWN = 60; // of more than
const MANY = 200;

export class Chat extends EventTarget {
  thread = new Thread();
  #views = new Map(); // id -> Question | Answer
  #running = null; // {answer, run: Run | null, control}
  #missed = false; // whether something changed on the server that could not be shown then
  #left = 0; // how many of the oldest messages are not in the page
  #forgotten = put(h("li", { class: "forgotten" }), "list.forgotten"); // above it is what the last answer did not see
  #earlier = h("li", {}, textButton("up", "list.earlier", () => this.#fill(0)));
  #list = byId("messages");
  #locals = 0;

  /** Dispatches "stored" (a change), "state", "finished", "gone", "shown" and "typing"; as wished, "models", "back", "over". */
  constructor({ follower, status, readiness }) {
    super();
    Object.assign(this, { follower, status, readiness });
    readiness.addEventListener("reached", () => {
      this.#running?.run?.wake();
      if (this.#missed) this.refresh();
    });
  }

  get busy() {
    return this.#running !== null;
  }

  get id() {
    return this.thread.id;
  }

  /** Leave what is open and show an empty conversation. */
  close() {
    this.#leave();
    this.#show(new Thread());
    this.follower.toStart();
  }

  /** Show a stored conversation and read on what is being written in it; at the words to `find`, else at its end. */
  open(conversation, find = "") {
    this.#leave();
    this.#left = Infinity;
    this.#show(new Thread(conversation, preferences.leafOf(conversation.id)));
    this.follower.toEnd();
    this.#resume();
    const { length } = this.#path;
    this.#fill(length > MANY ? length - MOST_SHOWN : 0);
    if (find) this.#find(find);
  }

  /** Lead to the newest message that has these words, and mark the first of them there. */
  async #find(words) {
    const { id } = this;
    const { marked, has } = await import("./found.js");
    const at = this.#path.findLastIndex(({ content, attachments = [] }) => has([content, ...attachments.map(({ name }) => name)].join("\n"), words));
    if (this.id !== id || at < 0) return;
    this.#left = Math.min(this.#left, at);
    this.#render();
    const view = this.#views.get(this.#path[at].id);
    view.fold?.(false);
    (marked(view.article, words) ?? view.article).scrollIntoView({ block: "center" });
  }

  /** The conversation changed elsewhere: take it as it is on the server, after the answer that is being written here. */
  async refresh() {
    const { id } = this;
    this.#missed = this.busy;
    if (!id || this.busy) return;
    try {
      const conversation = await conversations.get(id);
      if (this.id !== id) return;
      if (conversation.deleted) this.#tell("gone");
      else this.#take(conversation);
    } catch (error) {
      if (this.id !== id) return;
      if (error.status === 404) this.#tell("gone");
      else this.#missed = error.code === "unreachable";
    }
  }

  /** Show what the server said, unless something newer is shown. */
  #take(conversation, leaf = this.thread.leaf) {
    if (conversation.id !== this.id || conversation.version <= this.thread.version) return;
    if (this.busy) return void (this.#missed = true);
    this.#show(new Thread(conversation, leaf));
    this.#resume();
  }

  /** Ask `text` about what is `held`, after the last message or as another child of `parent`. Resolves to how it ended. */
  ask(text, parent = this.thread.leaf, held = []) {
    if (this.busy) return this.status.hint("status.busy");
    const question = this.#local({ role: "user", parent_id: parent, content: text, attachments: held });
    const shown = held.length ? { attachments: held.map(({ sha256 }) => sha256) } : {};
    const end = this.#answer(question.id, { parent_id: parent, content: text, ...shown });
    this.follower.toEnd();
    return end;
  }

  /** Another answer to the question that `id` answered. */
  regenerate(id) {
    if (this.busy) return this.status.hint("status.busy");
    const question = this.thread.get(this.thread.get(id)?.parent_id);
    if (question) this.#answer(question.id, { parent_id: question.id });
  }

  /** The user wants no more of the running answer. What is there is kept. */
  async stop() {
    const running = this.#running;
    if (!running) return;
    if (!running.run) return running.control.abort();
    try {
      await running.run.stop();
    } catch (error) {
      if (error.status !== 404) this.status.hint("status.not_stopped");
    }
  }

  /** Edit the last question. */
  editLast() {
    const last = this.thread.path().findLast((message) => message.role === "user");
    this.#views.get(last?.id)?.edit();
  }

  /** Move the focus to the message before or after the focused one. */
  walk(by) {
    const articles = [...this.#list.querySelectorAll("article")];
    const here = articles.indexOf(document.activeElement?.closest("article"));
    const next = here < 0 ? articles.at(-1) : articles[here + by];
    next?.focus();
  }

  /** Let the conversation have `settings` of its own; a new one takes them along with its first question. */
  async keep(settings) {
    const { thread } = this;
    const before = thread.settings;
    thread.settings = settings;
    this.#tell("shown");
    if (!thread.id) return;
    try {
      this.#take(await conversations.change(thread.id, { settings }));
    } catch {
      thread.settings = before;
      this.#tell("shown");
      toast("list.not_changed", { bad: true });
    }
  }

  // ── answers ──

  #answer(question, wanted) {
    const answer = this.#local({ role: "assistant", parent_id: question, content: "", status: "running", model: this.#model });
    this.#render();
    const running = this.#begin(answer);
    return this.#carry(running, () => this.#offer(running, wanted, ({ message_id: stored, answer_id: known }) => {
      if (wanted.content !== undefined) this.#known(question, stored);
      if (known) this.#known(answer.id, known);
    }));
  }

  /** Go on with the answer `id`, which ended before its end: the same answer, longer. */
  #goOn(id) {
    if (this.busy) return this.status.hint("status.busy");
    const running = this.#begin(this.thread.get(id), "goOn");
    this.follower.toEnd();
    this.#tell("typing"); // what was pressed is gone
    return this.#carry(running, () => this.#offer(running, { continues: id }));
  }

  /** Offer what is `wanted` to the server and read what comes; `known` is told under which names it was taken. */
  async #offer(running, wanted, known = () => {}) {
    const { settings } = this.thread;
    const own = !this.id && Object.keys(settings).length ? { settings } : {};
    const body = { conversation_id: this.id, ...wanted, ...own, ...preferences.wanted(settings) };
    const step = (stage) => this.#step(running, { stage });
    const started = await offer(body, { signal: running.control.signal, step, readiness: this.readiness, status: this.status });
    const { conversation_id: id, run_id: run } = started;
    const isNew = this.id !== id;
    this.thread.id = id;
    known(started);
    this.#tell("stored", { id, isNew });
    if (running.control.signal.aborted) await runs.stop(run).catch(() => {});
    running.run = new Run(run);
    return this.#read(running);
  }

  /** Read on an answer that was begun before this page was loaded, or in another tab. */
  #resume() {
    const answer = this.thread.path().findLast((message) => message.status === "running");
    if (!answer?.run_id) return;
    const running = this.#begin(answer);
    running.run = new Run(answer.run_id);
    this.#carry(running, () => this.#read(running));
  }

  get #model() {
    return preferences.chosen() ?? this.readiness.now.model;
  }

  #begin(answer, how = "start") {
    const view = this.#views.get(answer.id);
    view[how]();
    this.#running = { answer: answer.id, view, run: null, control: new AbortController(), usage: null };
    this.#tell("state");
    return this.#running;
  }

  /** Do `work` and tell how it ended, unless the reader has gone elsewhere. */
  async #carry(running, work) {
    const here = () => this.#running === running;
    let end;
    try {
      end = await work();
    } catch (error) {
      if (!here()) return;
      end = running.control.signal.aborted ? { status: "stopped" } : { status: "error", error };
    }
    if (!here()) return;
    this.#running = null;
    if (end.error?.code === "gone") await this.#recover(running);
    else this.#settle(running, end);
    this.status.show(null);
    this.#tell("finished", end);
    this.#tell("state");
    if (this.#missed) this.refresh();
    return end;
  }

  #settle({ answer, view, usage }, end) {
    const { error, ...rest } = end;
    const known = this.thread.get(answer);
    const message = { ...known, model: known.model ?? this.#model, content: view.text, usage: usage ?? known.usage, ...rest };
    this.thread.put(message);
    const question = this.thread.get(message.parent_id);
    const withdraw = () => [message, question].forEach(({ id }) => this.thread.drop(id));
    if (question?.local && end.status === "stopped") {
      withdraw();
      this.#render();
      return this.#tell("back", question); // it never reached the server, and shall not
    }
    if (error) {
      view.message = message;
      const again = () => {
        if (!this.busy) withdraw();
        this.ask(question.content, question.parent_id, question.attachments);
      };
      const retry = question?.local ? again : () => this.regenerate(message.id);
      view.fail(error, { retry, startOver: () => this.#tell("over", question) });
      if (error.code === "unreachable") this.readiness.check();
      return;
    }
    view.settle(message);
    if (usage?.dropped) this.#render();
    this.status.context(usage);
    if (end.status === "stopped") this.status.announce("badge.stopped");
    else this.status.announce("announce.finished", { n: wordsIn(view.text) });
  }

  /** The server forgot the run (it was started anew): the conversation says what is left of the answer. */
  async #recover(running) {
    const { thread } = this;
    try {
      const conversation = await conversations.get(thread.id);
      if (this.thread !== thread) return;
      this.#show(new Thread(conversation, thread.leaf));
      this.#resume();
    } catch (error) {
      this.#settle(running, { status: "error", error });
    }
  }

  /** Every event into the view; returns how it ended. */
  async #read(running) {
    const { run, view } = running;
    run.addEventListener("away", () => this.#step(running, { stage: "reconnecting" }));
    run.addEventListener("back", () => this.#step(running, { stage: "sent" }));
    let stage = null;
    const enter = (next, key) => {
      if (stage === next) return;
      stage = next;
      this.#step(running, { stage });
      if (key && this.#running === running) this.status.announce(key);
    };
    for await (const { event, data } of run.follow()) {
      if (event === "delta") {
        enter("streaming", "announce.answering");
        view.push(data.t);
      } else if (event === "reasoning") {
        enter("thinking", "thinking.now");
        view.think(data.t);
      } else if (event === "done") {
        return { ...data, status: data.finish_reason === "stopped" ? "stopped" : "complete" };
      } else if (event === "snapshot") view.replace(data);
      else if (event === "unsaved") toast("chat.unsaved", { bad: true });
      else if (event === "usage") running.usage = data;
      else if (event === "error") throw new ApiError(data.code, data.message, { retryAfter: data.retry_after_s });
      else this.#step(running, { ...data, what: data.stage, stage: event });
    }
    throw new ApiError("interrupted");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #step(running, step) {
    if (this.#running === running) this.status.show(step);
  }

  #leave() {
    const running = this.#running;
    this.#running = null;
    this.#missed = false;
    if (running?.run) running.run.leave();
    else running?.control.abort();
    this.status.show(null);
    this.#tell("state");
  }

  // ── what is shown ──

  #show(thread) {
    this.thread = thread;
    this.#left = Math.min(this.#left, Math.max(0, this.#path.length - AT_ONCE));
    this.#views.clear();
    this.#render();
    this.#meter();
  }

  /** How full the context is, by the last answer that is shown. */
  #meter() {
    const last = this.thread.path().findLast((message) => message.usage);
    this.status.context(last?.usage ?? null);
  }

  #local(message) {
    const id = `local-${(this.#locals += 1)}`;
    const whole = { id, seq: Number.MAX_SAFE_INTEGER, status: "complete", local: true, ...message };
    this.thread.put(whole);
    return whole;
  }

  #known(local, id) {
    const view = this.#views.get(local);
    this.thread.rename(local, id);
    this.thread.put({ ...this.thread.get(id), local: false });
    if (this.#running?.answer === local) this.#running.answer = id;
    this.#views.delete(local);
    this.#views.set(id, view);
    if (view) view.message = this.thread.get(id);
  }

  #view(message) {
    if (!this.#views.has(message.id)) {
      const View = message.role === "user" ? Question : Answer;
      this.#views.set(message.id, new View(message, this.#actions));
    }
    return this.#views.get(message.id);
  }

  #actions = {
    grown: () => this.follower.stick(this.busy),
    step: (id, by) => this.#switch(id, by),
    edit: (id, text) => this.ask(text, this.thread.get(id).parent_id ?? null, this.thread.get(id).attachments),
    held: (id) => this.thread.get(id)?.attachments ?? [],
    regenerate: (id) => this.regenerate(id),
    revise: (id) => this.#views.get(this.thread.get(id)?.parent_id)?.edit(),
    goOn: (id) => this.#goOn(id),
    models: () => this.#tell("models"),
    branch: (id) => this.#branch(id),
    remove: (id) => this.#remove(id),
  };

  /** Go on from `id` in another direction: what followed stays, as another version of the next question. */
  #branch(id) {
    if (this.busy) return this.status.hint("status.busy");
    const { thread } = this;
    const { leaf } = thread;
    const show = () => {
      if (this.thread !== thread) return;
      this.#render();
      this.#tell("typing");
    };
    thread.end(id);
    show();
    toast("message.branched", { undo: () => (thread.choose(leaf), show()) });
  }

  async #remove(id) {
    if (this.busy) return this.status.hint("status.busy");
    const { id: conversation, leaf } = this.thread;
    const change = async (ask) => {
      try {
        this.#take(await ask(conversation, id), leaf);
      } catch {
        return toast("list.not_changed", { bad: true });
      }
      this.#tell("typing");
      this.#tell("stored", { id: conversation, isNew: false });
      return true;
    };
    if (await change(conversations.removeMessage)) toast("message.deleted", { undo: () => change(conversations.restoreMessage) });
  }

  #switch(id, by) {
    const versions = this.thread.versions(id);
    const next = versions[versions.indexOf(id) + by];
    if (!next) return;
    this.thread.choose(next);
    this.#render();
    preferences.rememberLeaf(this.id, this.thread.leaf);
    this.#meter();
    this.#views.get(next)?.tools.querySelector(`.branches button:${by < 0 ? "first" : "last"}-child`)?.focus({ preventScroll: true });
  }

  /** Bring the list in line with the thread's path, touching only what differs. */
  #render() {
    const path = this.#path;
    const dropped = path.findLast((message) => message.usage?.dropped != null)?.usage.dropped ?? 0;
    const wanted = path.slice(this.#left).map((message) => {
      const view = this.#view(message);
      const versions = this.thread.versions(message.id);
      view.place(versions.indexOf(message.id) + 1, versions.length);
      return view.element;
    });
    if (dropped > this.#left) wanted.splice(dropped - this.#left, 0, this.#forgotten);
    if (this.#left) wanted.unshift(this.#earlier);
    put(this.#earlier.querySelector("span"), "list.earlier", { n: this.#left });
    const { children } = this.#list;
    for (const node of [...children]) if (!wanted.includes(node)) node.remove();
    for (const [at, node] of wanted.entries()) if (children[at] !== node) this.#list.insertBefore(node, children[at] ?? null);
    this.#tell("shown");
  }

  get #path() {
    return this.thread.path().filter((message) => message.role !== "system");
  }

  /** Bring in earlier messages until `left` are left, a few between two frames. */
  async #fill(left) {
    const { id } = this;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve));
      if (this.id !== id || this.#left <= left) return;
      this.#left = Math.max(left, this.#left - FEW);
      this.follower.hold(this.#list.lastChild, () => this.#render());
    }
  }
}
