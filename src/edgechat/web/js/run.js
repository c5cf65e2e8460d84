// One answer in the making. The server writes it whether or not anybody looks: this reads it from where reading
// stopped, however often the connection breaks, and stops it only when told to.
//
//   offer ─► follow ─┬─► done | error event                  the answer is over
//                    ├─► silence, broken line: follow again  after 1, 2, 4 … 30 s, from the last id
//                    └─► 404: the server does not know it    it was started anew: the conversation says what is left

import { ApiError, newKey, runs } from "./api.js";
import { readEvents } from "./sse.js";

const SILENCE = 30_000; // ms; the server sends a sign of life every ten seconds
const RAREST = 30_000;
const PATIENCE = 60; // s: a server that wants more than this between two questions is told to the user instead

/** Offer a turn until the server takes it: it may be away, or too busy. `step` is told what it waits for. Throws ApiError. */
export async function offer(body, { signal, readiness, status, step }) {
  const key = newKey();
  for (let limited = false; ; ) {
    step("sent");
    try {
      return await runs.start(body, key, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      if (error.code === "unreachable") {
        step("waiting");
        await readiness.whenReachable(signal);
      } else if (error.status === 429 && error.retryAfter && error.retryAfter <= PATIENCE && !limited) {
        limited = true;
        await status.countdown(error.retryAfter, signal);
      } else throw error;
    }
  }
}

export class Run extends EventTarget {
  #last = 0;
  #control = new AbortController();
  #link = null; // the connection of now
  #heard = 0;
  #misses = 0;
  #wake = null; // ends the pause before the next attempt

  /** `id` is the server's; events after the one numbered `last` are wanted. */
  constructor(id, last = 0) {
    super();
    this.id = id;
    this.#last = last;
  }

  /**
   * Yields {event, data} up to the end: the last one is `done` or `error`.
   * Dispatches "away" when the line broke and "back" when it holds again.
   * Throws ApiError("gone") if the server does not know this run, the signal's reason after `leave`.
   */
  async *follow() {
    const alarm = setInterval(() => this.#listen(), SILENCE / 4);
    const back = () => document.hidden || this.#listen();
    document.addEventListener("visibilitychange", back);
    addEventListener("online", back);
    try {
      for (;;) {
        yield* this.#attempt();
        if (this.#control.signal.aborted) throw this.#control.signal.reason;
        if (this.#misses < 0) return;
        await this.#pause();
      }
    } finally {
      clearInterval(alarm);
      document.removeEventListener("visibilitychange", back);
      removeEventListener("online", back);
      this.#link?.abort();
    }
  }

  /** The server was reached: if this waits for its next attempt, it waits no longer. */
  wake() {
    this.#wake?.();
  }

  /** Look away; the server goes on. */
  leave() {
    this.#control.abort();
    this.#link?.abort();
    this.#wake?.();
  }

  /** The answer ends where it is; its text is kept. The end comes as an event. */
  async stop() {
    await runs.stop(this.id);
    this.#wake?.();
  }

  async *#attempt() {
    this.#link = new AbortController();
    this.#heard = Date.now();
    try {
      const body = await runs.events(this.id, this.#last, this.#link.signal);
      if (this.#misses) this.dispatchEvent(new Event("back"));
      this.#misses = 0;
      for await (const { event, data, id } of readEvents(body, () => (this.#heard = Date.now()))) {
        if (data === undefined || (id && Number(id) <= this.#last)) continue; // a comment, or told before
        if (id) this.#last = Number(id); // what the store tells of a run that is long over has none
        yield { event, data: JSON.parse(data) };
        if (event === "done" || event === "error") return void (this.#misses = -1);
      }
    } catch (error) {
      if (error.status === 404) throw new ApiError("gone", error.message);
      if (error instanceof ApiError && error.code !== "unreachable" && error.status < 500) throw error;
    }
    this.#misses += 1;
    this.dispatchEvent(new Event("away"));
  }

  /** Nothing came for too long, or the machine slept: the connection may be dead without anyone having said so. */
  #listen() {
    this.#wake?.();
    if (Date.now() - this.#heard > SILENCE) this.#link?.abort();
  }

  async #pause() {
    const ms = Math.min(1_000 * 2 ** (this.#misses - 1), RAREST) * (0.9 + Math.random() / 5);
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, ms);
    });
    this.#wake = null;
  }
}
