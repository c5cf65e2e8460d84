// The operator's page: figures once a second and plots of the last 15 minutes; dashboard-tables.js has the rest.
// While the tab is hidden or paused nothing is asked for. Every element is made once; a second later only texts change.

import * as tables from "./dashboard-tables.js";
import { age, bytes, measured, number, table } from "./dashboard-tables.js";
import { readEvents } from "./sse.js";
import { toast } from "./controls.js";
import { byId, h } from "./dom.js";
import * as i18n from "./i18n.js";

const KEPT = 900; // samples, one a second
const LOOK_EVERY = 10_000; // ms
const AGAIN = 2_000; // ms, until a lost server is tried again
const SUMMARY_EVERY = 10; // samples: a screen reader is not told more often
const HEIGHT = 170; // px of a plot

const FIGURES = ["speed", "read", "running", "waiting", "first", "cells", "rss", "free", "cpu", "uptime"];
const PLOTS = {
  speed: ["decode", "prefill"],
  queue: ["running", "waiting", "refused"],
  first: ["first", "slow", "queued"],
  memory: ["rss", "free", "swap"],
  cpu: ["cpu", "cells", "celsius"],
  failures: ["failed", "http4", "http5"],
};
const COLOURS = ["--accent", "--code-name", "--code-number"];
const DASHES = [[], [6, 4], [2, 3]]; // not by colour alone
const WHOLE = Array.from({ length: 39 }, (_, n) => [1, 2, 5][n % 3] * 10 ** Math.floor(n / 3)); // between two ticks
const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400]; // s: no half of one, which would read the same twice

let samples = [];
let now = null;
let paused = false;
let asTable = false;
let listening = null; // the AbortController of the open stream
let seen = 0;
const figures = {};
const plots = {};

const t = i18n.t;
const percent = (value) => measured(value, "percent", 0);
const seconds = (value) => number(value, 2);
const shown = {
  rss: bytes,
  free: bytes,
  swap: bytes,
  cpu: percent,
  cells: percent,
  first: seconds,
  slow: seconds,
  queued: seconds,
};
const clock = (at) => new Date(at * 1000).toLocaleTimeString(i18n.current());

// ── the stream ──

async function listen() {
  listening?.abort();
  const own = (listening = new AbortController());
  try {
    const headers = { "Accept-Language": i18n.current() };
    const answer = await fetch("api/dash/events", { signal: own.signal, cache: "no-store", headers });
    if (!answer.ok) return problem(answer.status === 401 || answer.status === 403 ? "server.locked" : "server.lost");
    problem(null);
    for await (const { event, data } of readEvents(answer.body)) take(event, JSON.parse(data));
  } catch {
    // aborted by us, or lost
  }
  if (own.signal.aborted) return;
  problem("server.lost");
  setTimeout(() => listening === own && listen(), AGAIN);
}

function take(event, data) {
  if (event === "samples") samples = data;
  if (event === "sample") samples = [...samples, data].slice(-KEPT);
  if (event !== "now") return;
  now = data;
  requestAnimationFrame(show);
}

function problem(key) {
  byId("problem").hidden = !key;
  if (key) i18n.put(byId("problem"), key);
}

// ── what is seen ──

function show() {
  const last = samples.at(-1);
  i18n.put(byId("state"), `state.${now.state}`);
  byId("model").textContent = [now.model, now.progress == null ? "" : percent(now.progress * 100)]
    .filter(Boolean)
    .join(" · ");
  const draining = now.state === "draining";
  byId("doors").disabled = byId("drain").disabled = draining;
  i18n.put(byId("doors"), now.paused ? "action.open_doors" : "action.close_doors");
  byId("version").textContent = `edgechat ${now.version}`;
  if (last) {
    const values = {
      speed: number(last.decode),
      read: number(last.prefill),
      running: number(last.running),
      waiting: number(last.waiting),
      first: measured(last.first, "second", 2),
      cells: percent(last.cells),
      rss: bytes(last.rss),
      free: bytes(last.free),
      cpu: [percent(last.cpu), last.celsius && measured(last.celsius, "celsius", 0)].filter(Boolean).join(" · "),
      uptime: age(now.uptime_s),
    };
    for (const name of FIGURES) if (figures[name].textContent !== values[name]) figures[name].textContent = values[name];
  }
  if (asTable) showTable();
  else for (const name of Object.keys(PLOTS)) draw(name);
  tables.requests(now.requests, () => problem("server.lost"));
  tables.errors(now.errors, now.codes);
  seen += 1;
}

function column(name) {
  return samples.map((sample) => sample[name]);
}

function draw(name) {
  const data = [column("at"), ...PLOTS[name].map(column)];
  const place = byId(`plot-${name}`);
  if (!plots[name]) plots[name] = new uPlot(options(name, place.clientWidth), data, place);
  else plots[name].setData(data);
  if (plots[name].cursor.idx == null) plots[name].setLegend({ idx: samples.length - 1 }); // nobody points: what is now
  if (seen % SUMMARY_EVERY) return;
  const values = data[1].filter((value) => value != null);
  const write = shown[PLOTS[name][0]] ?? number;
  place.setAttribute(
    "aria-label",
    t("plot.summary", {
      what: t(`${name}.series.${PLOTS[name][0]}`),
      now: write(values.at(-1)),
      most: write(values.length ? Math.max(...values) : null),
      minutes: Math.ceil(samples.length / 60),
    }),
  );
}

function options(name, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (variable) => style.getPropertyValue(variable).trim();
  const write = shown[PLOTS[name][0]] ?? number;
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const times = (_, ticks, place, space, step) => ticks.map((at) => (step < 60 ? clock(at) : clock(at).replace(/:\d\d(?=\D*$)/, "")));
  return {
    width,
    height: HEIGHT,
    cursor: { sync: { key: "board" }, drag: { x: false, y: false } },
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, values: times, incrs: TIMES, space: 80, size: 32 },
      { ...axis, size: 64, values: (_, ticks) => ticks.map((value) => write(value)), ...(write !== seconds && { incrs: WHOLE }) },
    ],
    series: [
      { label: t("table.at"), value: (_, at) => (at == null ? "–" : clock(at)) },
      ...PLOTS[name].map((one, place) => ({
        label: t(`${name}.series.${one}`),
        stroke: colour(COLOURS[place]),
        dash: DASHES[place],
        width: 2,
        points: { show: false },
        value: (_, value) => (shown[one] ?? number)(value),
      })),
    ],
  };
}

/** Make the plots anew: their words, colours and widths are drawn into them. */
function redraw() {
  for (const name of Object.keys(plots)) {
    plots[name].destroy();
    delete plots[name];
  }
  seen = 0;
  if (now) show();
}

function showTable() {
  const names = Object.entries(PLOTS).flatMap(([plot, series]) => series.map((one) => [plot, one]));
  const last = samples.slice(-60).reverse();
  table(
    byId("numbers"),
    "requests.none",
    [["table.at"], ...names.map(([plot, one]) => [`${plot}.series.${one}`, "number"])],
    last.map((sample) => [clock(sample.at), ...names.map(([, one]) => (shown[one] ?? number)(sample[one]))]),
  );
}

/** Once in a while: models, clients, and whether the server still has the settings that were shown. */
async function look() {
  try {
    const answers = await Promise.all(
      ["api/dash/status", "api/dash/settings"].map((path) => fetch(path, { cache: "no-store" })),
    );
    if (answers.some((answer) => !answer.ok)) return;
    const [status, settings] = await Promise.all(answers.map((answer) => answer.json()));
    tables.models(status.models, look);
    tables.clients(status.clients);
    tables.settings(settings);
    take("now", status);
  } catch {
    // the stream says that the server is gone
  }
}

// ── what an operator does ──

/** Let the server be "serving", "paused" or "draining". What came of it is told by the stream; in a frozen view, by a look. */
async function become(state) {
  const sent = { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ state }) };
  const answer = await fetch("api/dash/state", sent).catch(() => null);
  if (!answer?.ok) toast("server.refused", { bad: true });
  else if (paused) look();
}

function command() {
  byId("doors").addEventListener("click", () => now && become(now.paused ? "serving" : "paused"));
  byId("drain").addEventListener("click", () => byId("ask").showModal());
  byId("ask-no").addEventListener("click", () => byId("ask").close());
  byId("ask-yes").addEventListener("click", () => {
    byId("ask").close();
    become("draining");
  });
}

// ── the frame ──

function build() {
  for (const name of FIGURES) {
    figures[name] = h("dd", {}, "–");
    byId("figures").append(h("div", { class: "figure" }, i18n.put(h("dt"), `now.${name}`), figures[name]));
  }
  for (const name of Object.keys(PLOTS)) {
    const place = h("div", { id: `plot-${name}`, role: "img" });
    byId("plots").append(h("section", { class: "plot" }, i18n.put(h("h2"), `${name}.label`), place));
  }
  const numbers = h("div", { id: "numbers", class: "scroll", tabindex: "0", role: "group" });
  const place = h("section", { class: "card", id: "as-table", hidden: "" }, numbers);
  i18n.putLabel(numbers, "speed.label");
  byId("plots").after(place);
}

function watch() {
  if (paused || document.hidden) {
    listening?.abort();
    listening = null;
  } else if (!listening) listen();
}

function wire() {
  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", String(paused));
    i18n.put(byId("pause"), paused ? "action.resume" : "action.pause");
    watch();
  });
  byId("table").addEventListener("click", () => {
    asTable = !asTable;
    byId("table").setAttribute("aria-pressed", String(asTable));
    i18n.put(byId("table"), asTable ? "action.plot" : "action.table");
    byId("plots").hidden = asTable;
    byId("as-table").hidden = !asTable;
    redraw();
  });
  byId("language").addEventListener("click", async () => {
    await i18n.switchTo(i18n.other());
    titled();
    redraw();
    look();
  });
  document.addEventListener("visibilitychange", watch);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(() => {
    for (const [name, plot] of Object.entries(plots)) {
      plot.setSize({ width: byId(`plot-${name}`).clientWidth, height: HEIGHT });
    }
  }).observe(byId("plots"));
}

function titled() {
  document.title = `${t("page.title")} · edgechat`;
}

await i18n.start("dashboard/");
titled();
build();
wire();
command();
watch();
look();
setInterval(() => paused || document.hidden || look(), LOOK_EVERY);
