// Follows /readyz: every second until the model answers, then every five, and not at all in a hidden tab
// unless a message waits. Where the server is gone it asks less and less often.

import { readyz } from "./api.js";

const SOON = 1_000;
const LATER = 5_000;
const RAREST = 30_000;

/** Dispatches "change" after every answer, "reached" where there was one. */
export class Readiness extends EventTarget {
  /** The last answer; state "unknown" before the first. */
  now = { state: "unknown" };
  /** When the next attempt comes, in milliseconds of Date.now(); only while unreachable. */
  nextAt = 0;

  #timer = 0;
  #misses = 0;
  #waiting = 0;
  #asking = null;
  #again = null; // the question after the one under way

  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.check();
      else if (!this.#waiting) clearTimeout(this.#timer);
    });
    return this.check();
  }

  /**
   * Ask now. An answer under way may be older than what the caller knows (another language, a server come back), so
   * those who call meanwhile share one more question after it.
   */
  check() {
    if (this.#asking) return (this.#again ??= this.#asking.then(() => ((this.#again = null), this.check())));
    this.#asking = this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** Resolves once the server can be reached again. Throws the signal's reason. */
  async whenReachable(signal) {
    this.#waiting += 1;
    try {
      await this.check();
      while (this.now.state === "unreachable") await this.#change(signal);
      signal.throwIfAborted();
    } finally {
      this.#waiting -= 1;
    }
  }

  async #ask() {
    clearTimeout(this.#timer);
    this.now = await readyz();
    const lost = this.now.state === "unreachable";
    this.#misses = lost ? this.#misses + 1 : 0;
    const pause = lost ? backoff(this.#misses) : this.now.state === "ready" ? LATER : SOON;
    this.nextAt = lost ? Date.now() + pause : 0;
    if (!document.hidden || this.#waiting) this.#timer = setTimeout(() => this.check(), pause);
    this.dispatchEvent(new Event("change"));
    if (!lost) this.dispatchEvent(new Event("reached"));
  }

  #change(signal) {
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      this.addEventListener("change", () => (stop.abort(), resolve()), { signal: stop.signal });
      signal.addEventListener("abort", () => (stop.abort(), reject(signal.reason)), { signal: stop.signal });
    });
  }
}

/** 1, 2, 4 … 30 seconds, a little apart from other tabs. */
const backoff = (misses) => Math.min(SOON * 2 ** (misses - 1), RAREST) * (0.9 + Math.random() / 5);
