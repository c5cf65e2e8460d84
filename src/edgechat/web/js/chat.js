// The open conversation: its thread, and the one answer that may be under way; messages.js shows it.

import { ApiError, conversations, runs } from "./api.js";
import { toast } from "./controls.js";
import { wordsIn } from "./i18n.js";
import { Messages } from "./messages.js";
import * as preferences from "./preferences.js";
import { offer, Run } from "./run.js";
import { Thread } from "./thread.js";

export class Chat extends EventTarget {
  thread = new Thread();
  #messages;
  #running = null; // {answer, run: Run | null, control}
  #missed = false; // whether something changed on the server that could not be shown then
  #locals = 0;

  /** Dispatches "stored" (a change), "state", "finished", "gone", "shown" and "typing"; as wished, "models", "back", "over". */
  constructor({ follower, status, readiness }) {
    super();
    Object.assign(this, { follower, status, readiness });
    this.#messages = new Messages(this.thread, this.#actions, follower, () => this.#tell("shown"));
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
    this.#show(new Thread(conversation, preferences.leafOf(conversation.id)), Infinity);
    this.follower.toEnd();
    this.#resume();
    this.#messages.fillUp();
    if (find) this.#messages.find(find);
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
    this.#messages.view(last?.id)?.edit();
  }

  /** Move the focus to the message before or after the focused one. */
  walk(by) {
    this.#messages.walk(by);
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
    this.#messages.render();
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
    return this.thread.settings.model ?? preferences.chosen() ?? this.readiness.now.model;
  }

  #begin(answer, how = "start") {
    const view = this.#messages.view(answer.id);
    view.message = { ...view.message, model: view.message.model ?? this.#model };
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
      this.#messages.render();
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
    if (usage?.dropped) this.#messages.render();
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

  #show(thread, left) {
    this.thread = thread;
    this.#messages.show(thread, left);
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
    this.thread.rename(local, id);
    this.thread.put({ ...this.thread.get(id), local: false });
    if (this.#running?.answer === local) this.#running.answer = id;
    this.#messages.rename(local, id);
  }

  #actions = {
    grown: () => this.follower.stick(this.busy),
    step: (id, by) => this.#switch(id, by),
    edit: (id, text) => this.ask(text, this.thread.get(id).parent_id ?? null, this.thread.get(id).attachments),
    held: (id) => this.thread.get(id)?.attachments ?? [],
    regenerate: (id) => this.regenerate(id),
    revise: (id) => this.#messages.view(this.thread.get(id)?.parent_id)?.edit(),
    isFirst: (id) => !this.thread.get(this.thread.get(id)?.parent_id)?.parent_id,
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
      this.#messages.render();
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
    this.#messages.render();
    preferences.rememberLeaf(this.id, this.thread.leaf);
    this.#meter();
    this.#messages.view(next)?.tools.querySelector(`.branches button:${by < 0 ? "first" : "last"}-child`)?.focus({ preventScroll: true });
  }
}
