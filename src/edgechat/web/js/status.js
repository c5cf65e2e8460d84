// What the server and the running answer are doing: the line over the composer, the model's name, the banners,
// and the one region that speaks to screen readers at boundaries, never per token.

import { byId } from "./dom.js";
import { put, t } from "./i18n.js";

const HINT = 5_000; // ms

const percent = (fraction) => Math.floor(fraction * 100);

export class Status {
  #readiness;
  #run = null; // {stage, done, total} of the running answer
  #hint = null;
  #hintTimer = 0;
  #countdown = 0;
  #dismissed = false;
  #said = "";
  #lost = false;

  constructor(readiness) {
    this.#readiness = readiness;
    readiness.addEventListener("change", () => this.#update());
    byId("offline-retry").addEventListener("click", () => readiness.check());
    byId("notice-close").addEventListener("click", () => this.#dismiss(true));
    byId("notice-open").addEventListener("click", () => this.#dismiss(false));
    this.#update();
  }

  /** `run`: null (nothing runs) or {stage: waiting | sent | queued | loading | prefill | streaming, done, total}. */
  show(run) {
    this.#run = run;
    this.#line();
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

  #update() {
    const { state, model, wanted, why, hint } = this.#readiness.now;
    byId("model").dataset.state = state;
    if (model) byId("model-name").textContent = model;
    this.#notice({ model, wanted, why, hint });
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
    if (lost !== this.#lost) this.announce(lost ? "offline.lost" : "offline.back");
    this.#lost = lost;
    if (!lost) return;
    const tick = () => {
      const n = Math.max(0, Math.ceil((this.#readiness.nextAt - Date.now()) / 1000));
      put(byId("offline-text"), n ? "offline.text" : "offline.now", n ? { n } : undefined);
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
    if (run?.stage === "queued" && run.total) return ["status.queued", { n: run.done, total: run.total }];
    if (run?.stage === "prefill" && run.total) {
      const fraction = run.done / run.total;
      return ["status.prefill", { percent: percent(fraction) }, fraction];
    }
    if (run?.stage === "sent" || run?.stage === "prefill" || run?.stage === "queued") return ["status.sent"];
    if (run?.stage === "streaming") return [];
    if (run?.stage === "loading") return ["status.loading"];
    return this.#server(run?.stage === "waiting" ? "waiting" : "status");
  }

  /** The server's own state; as `waiting` it adds that a message is kept until then. */
  #server(kind) {
    const { state, progress, why, hint } = this.#readiness.now;
    if (!["downloading", "loading", "failed", "draining", "unreachable"].includes(state)) return [];
    if (state === "unreachable" && kind === "status") return []; // the banner says it
    if (state === "downloading" && progress != null) {
      return [`${kind}.downloading_percent`, { percent: percent(progress) }, progress];
    }
    if (state === "failed") return [`${kind}.failed`, { why: [why, hint].filter(Boolean).join(" · ") }];
    return [`${kind}.${state}`];
  }

  /** Start, half and end of a download; start and end of loading. */
  #speak() {
    const { state, progress } = this.#readiness.now;
    const half = state === "downloading" && progress >= 0.5;
    const now = half ? "half" : state;
    const before = this.#said;
    this.#said = now;
    if (now === before) return;
    if (half) this.announce("status.downloading_percent", { percent: percent(progress) });
    else if (state === "downloading" || state === "loading" || state === "failed") this.announce(`status.${state}`);
    else if (state === "ready" && ["downloading", "half", "loading"].includes(before)) this.announce("status.ready");
  }
}
