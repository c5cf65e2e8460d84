// The chat of this tab: a list of turns, of which at most one is being answered.

import { ApiError, complete } from "./api.js";
import { Composer, isComposing } from "./composer.js";
import { byId, h } from "./dom.js";
import * as i18n from "./i18n.js";
import { Answer, question } from "./message.js";
import { Readiness } from "./readiness.js";
import { Follower } from "./scroll.js";
import { Status } from "./status.js";

const EXAMPLES = ["example.1", "example.2", "example.3", "example.4"];
const TRIES = 3; // how often a server may turn out not to be ready after it said it was

/** {question, text, view}: `text` is the answer so far. */
let turns = [];
let previous = null; // the chat before this one, until the next question
let running = null; // {control} of the answer under way

const messages = byId("messages");
const readiness = new Readiness();
let status, follower, composer;

/** The turns before `turn` that were answered, then its question. */
function context(turn) {
  const before = turns.slice(0, turns.indexOf(turn)).filter((earlier) => earlier.text);
  return [
    ...before.flatMap((earlier) => [
      { role: "user", content: earlier.question },
      { role: "assistant", content: earlier.text },
    ]),
    { role: "user", content: turn.question },
  ];
}

function ask(text) {
  if (running) {
    status.hint("status.busy");
    return false;
  }
  const turn = { question: text, text: "", view: new Answer(() => follower.stick()) };
  turns.push(turn);
  previous = null;
  messages.append(question(text), turn.view.element);
  showEmpty();
  answer(turn);
  follower.toEnd();
  return true;
}

async function answer(turn) {
  if (running) return;
  const control = new AbortController();
  const run = (running = { control });
  const again = { retry: () => answer(turn), startOver: () => startOver(turn.question) };
  const step = (next) => running === run && status.show(next);
  turn.text = "";
  turn.view.reset();
  composer.busy = true;
  composer.focus();
  try {
    const end = await stream(turn, control.signal, step);
    turn.view.finish({ figures: figures(end), badge: badge(end) });
    status.announce("announce.finished");
  } catch (error) {
    if (control.signal.aborted) {
      turn.view.finish({ badge: "stopped", retry: again.retry });
      if (running === run) status.announce("badge.stopped");
    } else {
      turn.view.fail(error instanceof ApiError ? error : new ApiError("", String(error)), again);
      if (error.code === "unreachable" || error.code === "interrupted") readiness.check();
    }
  }
  if (running !== run) return;
  running = null;
  composer.busy = false;
  status.show(null);
}

/** Wait for the model, then read the answer into `turn`; the last event is returned. */
async function stream(turn, signal, step) {
  for (let attempt = 1; ; attempt += 1) {
    if (readiness.now.state !== "ready" || attempt > 1) {
      step({ stage: "waiting" });
      await readiness.whenReady(signal);
    }
    step({ stage: "sent" });
    try {
      return await read(turn, signal, step);
    } catch (error) {
      if (error.code !== "model_not_ready" || turn.text || attempt === TRIES) throw error;
    }
  }
}

async function read(turn, signal, step) {
  for await (const event of complete(context(turn), signal)) {
    if (event.type === "progress") step(event);
    else if (event.type === "end") return event;
    else {
      if (!turn.text) {
        step({ stage: "streaming" });
        status.announce("announce.answering");
      }
      turn.text += event.text;
      turn.view.append(event.text);
    }
  }
}

function figures({ usage, edgechat }) {
  return usage && { tokens: usage.completion_tokens, speed: edgechat?.decode_tok_s };
}

function badge({ reason, edgechat }) {
  if (edgechat?.stop_reason === "loop") return "loop";
  return reason === "length" ? "length" : null;
}

function stop() {
  running?.control.abort();
}

function newChat() {
  stop();
  running = null;
  composer.busy = false;
  status.show(null);
  if (turns.length) previous = { turns, nodes: [...messages.children] };
  turns = [];
  messages.replaceChildren();
  showEmpty();
  follower.toStart();
  composer.focus();
}

function startOver(text) {
  newChat();
  composer.text = text;
}

/** A new chat pressed by mistake loses nothing. */
function back() {
  ({ turns } = previous);
  messages.replaceChildren(...previous.nodes);
  previous = null;
  showEmpty();
  follower.toEnd();
  composer.focus();
}

function showEmpty() {
  byId("empty").hidden = turns.length > 0;
  byId("back").hidden = !previous;
}

function showExamples() {
  byId("examples").replaceChildren(
    ...EXAMPLES.map((key) => {
      const button = i18n.put(h("button", { type: "button", class: "button" }), key);
      button.addEventListener("click", () => ask(i18n.t(key)));
      return h("li", {}, button);
    }),
  );
}

async function switchLanguage() {
  try {
    await i18n.switchTo(i18n.other());
    nameLanguage();
  } catch {
    readiness.check(); // the strings come from the server: it is gone or another version
  }
}

function nameLanguage() {
  byId("language").lang = i18n.other();
}

/** Safari lays its keyboard over the page instead of resizing it. */
function followKeyboard() {
  const view = window.visualViewport;
  view?.addEventListener("resize", () => {
    const covered = view.scale === 1 ? Math.max(0, window.innerHeight - view.height - view.offsetTop) : 0;
    document.documentElement.style.setProperty("--kb", `${covered}px`);
  });
}

async function start() {
  await i18n.start();
  follower = new Follower(byId("list"), byId("to-end"));
  status = new Status(readiness);
  composer = new Composer({
    form: byId("composer"),
    input: byId("input"),
    send: byId("send"),
    stop: byId("stop"),
    onSend: ask,
    onStop: stop,
  });
  showExamples();
  nameLanguage();
  followKeyboard();
  byId("new-chat").addEventListener("click", newChat);
  byId("back").addEventListener("click", back);
  byId("language").addEventListener("click", switchLanguage);
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && running && !isComposing(e)) stop();
  });
  byId("app").hidden = false;
  composer.focus();
  readiness.start();
}

start();
