// What the server and the running answer are doing: the line over the composer, the model's name, the banners, how full
// the context is, and the one region that speaks to screen readers at boundaries, never per token.

import { byId } from "./dom.js";
import { fetching, put, t } from "./i18n.js";
import { chosen } from "./preferences.js";

const HINT = 5_000; // ms
const WARN = 0.8; // of the context
const FULL = 0.95;
const SPEECH = 10_000; // ms between two announcements of the place in the queue
const LONG = 5; // s of reading that are worth an announcement

const percent = (fraction) => (fraction == null ? null : Math.floor(fraction * 100));
const seconds = (value) => (value == null ? null : Math.max(1, Math.round(value)));

export class Status {
  #readiness;
  #run = null; // what the running answer does, with the figures of its last event
  #hint = null;
  #hintTimer = 0;
  #countdown = 0;
  #dismissed = false;
  #said = "";
  #lost = false;
  #place = { n: 0, at: 0 }; // the last one announced, and when
  #slow = false; // whether long reading was announced

  constructor(readiness) {
    this.#readiness = readiness;
    readiness.addEventListener("change", () => this.#update());
    byId("offline-retry").addEventListener("click", () => readiness.check());
    byId("notice-close").addEventListener("click", () => this.#dismiss(true));
    byId("notice-open").addEventListener("click", () => this.#dismiss(false));
    this.#update();
  }

  /**
   * `run`: null (nothing runs) or {stage, …}: waiting | sent | queued {position, eta_s} | loading {what, pct} |
   * media, prefill {done, total, eta_s} | thinking | streaming | reconnecting | limited {n}.
   */
  show(run) {
    this.#run = run;
    if (!run) this.#slow = false;
    this.#line();
    this.#speakOf(run);
  }

  /** Answer something that cannot be done now; it stays for a few seconds. */
  hint(key) {
    clearTimeout(this.#hintTimer);
    this.#hint = key;
    this.#hintTimer = setTimeout(() => {
      this.#hint = null;
      this.#line();
    }, HINT);
    this.#line();
    this.announce(key);
  }

  /** Say something once to those who cannot see it. */
  announce(key, params) {
    byId("announcer").textContent = t(key, params);
  }

  /** Count down to the next attempt. Throws the signal's reason. */
  async countdown(wait, signal) {
    const until = Date.now() + wait * 1000;
    this.announce("status.limited", { n: Math.ceil(wait) });
    for (let n = wait; n > 0; n = (until - Date.now()) / 1000) {
      this.show({ stage: "limited", n: Math.ceil(n) });
      await new Promise((resolve) => {
        setTimeout(resolve, Math.min(1000, n * 1000));
        signal.addEventListener("abort", resolve, { once: true });
      });
      signal.throwIfAborted();
    }
  }

  /** How much of what the model can read at once is taken: usage with ctx_used and ctx_max, or null. */
  context(usage) {
    const { ctx_used: used, ctx_max: max } = usage ?? {};
    const share = max ? used / max : 0;
    byId("context").hidden = !max;
    byId("context-full").hidden = share < FULL;
    if (!max) return;
    byId("context").classList.toggle("high", share >= WARN);
    byId("context-meter").value = Math.min(share, 1);
    put(byId("context-text"), "context.text", { used, max });
  }

  #update() {
    const { state, model, wanted, why, hint } = this.#readiness.now;
    byId("model").dataset.state = state;
    const answers = chosen() ?? model;
    if (answers) byId("model-name").textContent = answers;
    this.#notice({ model, wanted: answers === model ? wanted : null, why, hint });
    this.#offline(state === "unreachable");
    this.#line();
    this.#speak();
  }

  #notice({ model, wanted, why, hint }) {
    const replaced = Boolean(wanted && model && wanted !== model);
    byId("notice").hidden = !replaced || this.#dismissed;
    byId("notice-open").hidden = !replaced || !this.#dismissed;
    byId("notice-open").setAttribute("aria-expanded", String(!this.#dismissed));
    if (!replaced) return;
    put(byId("notice-what"), "notice.what", { model, wanted });
    byId("notice-why").textContent = why ?? "";
    byId("notice-hint").textContent = hint ?? "";
    byId("notice-todo").hidden = !hint;
  }

  #dismiss(dismissed) {
    this.#dismissed = dismissed;
    this.#update();
    byId(dismissed ? "notice-open" : "notice-close").focus();
  }

  #offline(lost) {
    byId("offline").hidden = !lost;
    clearInterval(this.#countdown);
    if (lost !== this.#lost) this.announce(lost ? "offline.text" : "offline.back");
    this.#lost = lost;
    if (!lost) return;
    const tick = () => {
      const n = Math.max(0, Math.ceil((this.#readiness.nextAt - Date.now()) / 1000));
      put(byId("offline-text"), "offline.text", n ? { n } : {});
    };
    tick();
    this.#countdown = setInterval(tick, 1000);
  }

  #line() {
    const [key, params, fraction] = this.#words();
    byId("status").hidden = !key;
    if (key) put(byId("status-text"), key, params);
    const bar = byId("status-bar");
    bar.hidden = fraction == null;
    if (fraction != null) bar.value = fraction;
  }

  /** [key, params, fraction] for the line; no key, no line. */
  #words() {
    const run = this.#run;
    if (this.#hint) return [this.#hint];
    switch (run?.stage) {
      case "queued":
        return run.position ? ["status.queued", { n: run.position, s: seconds(run.eta_s) }] : ["status.prefill"];
      case "loading":
        if (run.what === "downloading" && this.#readiness.now.download) return this.#server();
        return loading(run.what === "downloading" ? "downloading" : "loading", run.pct == null ? null : run.pct / 100);
      case "prefill":
      case "media":
        return reading(`status.${run.stage}`, run);
      case "limited":
        return ["status.limited", { n: run.n }];
      case "sent":
        return ["status.prefill"];
      case "reconnecting": // that the answer goes on is known of a server that can be reached
        return [this.#readiness.now.state === "unreachable" ? "status.lost" : "status.reconnecting"];
      case "waiting":
        return ["status.waiting"];
      case "thinking":
      case "streaming":
        return [];
      default:
        return this.#server();
    }
  }

  /** The server's own state. That it cannot be reached is said by the banner. */
  #server() {
    const { state, progress, download, why, hint } = this.#readiness.now;
    if (state === "downloading" && download) return ["status.downloading", fetching(download), progress];
    if (state === "downloading" || state === "loading") return loading(state, progress);
    if (state === "failed") return ["status.failed", { why: [why, hint].filter(Boolean).join(" · ") }];
    return state === "draining" || state === "paused" ? [`status.${state}`] : [];
  }

  /** Start, half and end of a download; start and end of loading. */
  #speak() {
    const { state, progress } = this.#readiness.now;
    const half = state === "downloading" && progress >= 0.5;
    const now = half ? "half" : state;
    const before = this.#said;
    this.#said = now;
    if (now === before) return;
    if (half) this.announce("status.downloading", { percent: percent(progress) });
    else if (state === "downloading" || state === "loading" || state === "failed") this.announce(`status.${state}`);
    else if (state === "ready" && ["downloading", "half", "loading"].includes(before)) this.announce("status.ready");
  }

  /** A new place in the queue, at most every ten seconds; reading that takes long, once. */
  #speakOf(run) {
    const now = Date.now();
    if (run?.stage === "queued" && run.position && run.position !== this.#place.n && now - this.#place.at > SPEECH) {
      this.#place = { n: run.position, at: now };
      this.announce("status.queued", { n: run.position });
    } else if (run?.stage === "prefill" && run.eta_s > LONG && !this.#slow) {
      this.#slow = true;
      this.announce(...reading("status.prefill", run));
    }
  }
}

function loading(state, fraction) {
  return [`status.${state}`, { percent: percent(fraction) }, fraction];
}

function reading(key, { done, total, eta_s: eta }) {
  const fraction = total ? done / total : null;
  return [key, { percent: percent(fraction), s: seconds(eta) }, fraction];
}
