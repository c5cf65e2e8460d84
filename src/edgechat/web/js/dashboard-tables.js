// The dashboard's tables: answers under way, models, clients, errors, settings.

import { copyButton } from "./clipboard.js";
import { byId, h } from "./dom.js";
import * as i18n from "./i18n.js";

const t = i18n.t;
const JSON_BODY = { "Content-Type": "application/json" };

export const number = (value, digits = 1) =>
  value == null ? "–" : new Intl.NumberFormat(i18n.current(), { maximumFractionDigits: digits }).format(value);
export const bytes = (value) => (value == null ? "–" : i18n.bytes(value));
const plain = (text) => h("span", { translate: "no" }, text);

/** `value` of a `unit`, as the reader's language writes it. */
export function measured(value, unit, digits = 0) {
  if (value == null) return "–";
  return new Intl.NumberFormat(i18n.current(), { style: "unit", unit, unitDisplay: "narrow", maximumFractionDigits: digits }).format(value);
}

export function age(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  if (hours) return `${measured(hours, "hour")} ${measured(minutes, "minute")}`;
  return minutes ? measured(minutes, "minute") : measured(seconds, "second");
}

const cell = (tag, content, kind = "") => h(tag, kind ? { class: kind } : {}, content ?? "–");

/** `rows` under `heads`, [key, kind] each, of which a null key is a column of buttons; where there are none, `nothing`. */
export function table(place, nothing, heads, rows) {
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.does : null;
  if (!rows.length) return place.replaceChildren(i18n.put(h("p", { class: "nothing" }), nothing));
  place.replaceChildren(
    h(
      "table",
      { class: "grid" },
      h("thead", {}, h("tr", {}, ...heads.map(([key, kind]) => (key ? cell("th", t(key), kind) : cell("td", ""))))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((item, n) => cell("td", item, heads[n][1]))))),
    ),
  );
  if (focused) place.querySelector(`[data-does="${CSS.escape(focused)}"]`)?.focus();
}

/** A button in a table that is made anew every second: `does` is what it is found by again. */
function button(key, does, act) {
  const node = h("button", { class: "button", type: "button", "data-does": does }, t(key));
  node.addEventListener("click", () => {
    node.disabled = true;
    act();
  });
  return node;
}

export function requests(all, lost) {
  const end = (id) => fetch(`api/dash/requests/${id}`, { method: "DELETE", headers: JSON_BODY }).catch(lost);
  table(
    byId("requests"),
    "requests.none",
    [
      ["requests.client"],
      ["requests.model"],
      ["requests.phase"],
      ["requests.tokens", "number"],
      ["requests.speed", "number"],
      ["requests.age", "number"],
      [null, "number"],
    ],
    all.map((one) => [
      plain(one.client),
      plain(one.model),
      t(`requests.${one.phase}`),
      one.said ? `${number(one.total)} + ${number(one.said)}` : `${number(one.read)} / ${number(one.total)}`,
      number(one.tok_s),
      age(one.age_s),
      button("action.end", `end ${one.id}`, () => end(one.id)),
    ]),
  );
}

const SOON = [0, 500, 1_500, 4_000]; // ms after a model was sent on its way: when it may have arrived

/** `changed` is called when one was sent on its way in or out, and while it is likely to arrive. */
export function models(all, changed) {
  const move = (name, way) =>
    fetch(`api/models/${encodeURIComponent(name)}/${way}`, { method: "POST", headers: JSON_BODY, body: "{}" })
      .catch(() => null) // the stream says that the server is gone
      .then(() => SOON.forEach((wait) => setTimeout(changed, wait)));
  const mover = ({ name, state }) => {
    if (state === "loaded") return button("action.unload", `unload ${name}`, () => move(name, "unload"));
    return state === "installed" ? button("action.load", `load ${name}`, () => move(name, "load")) : "";
  };
  table(
    byId("models"),
    "models.none",
    [
      ["models.name"],
      ["models.kind"],
      ["models.state"],
      ["models.size", "number"],
      ["models.needs", "number"],
      ["models.held", "number"],
      ["models.idle", "number"],
      [null, "number"],
    ],
    all.map((one) => [
      plain(one.name),
      one.quantisation,
      t(`models.${one.state}`),
      one.size ? bytes(one.size) : null,
      one.ram ? bytes(one.ram) : null,
      one.cells ? `${number(one.held)} / ${number(one.cells)}` : null,
      one.idle_s == null ? null : age(one.idle_s),
      mover(one),
    ]),
  );
}

export function clients(all) {
  const left = (one) => Object.entries(one.left).map(([limit, count]) => `${t(`clients.${limit}`)}: ${number(count)}`);
  table(
    byId("clients"),
    "clients.none",
    [
      ["clients.name"],
      ["clients.open", "number"],
      ["clients.answers", "number"],
      ["clients.tokens", "number"],
      ["clients.left", "wide"],
    ],
    all.map((one) => [
      plain(one.name || t("clients.itself")),
      number(one.open),
      number(one.answers),
      number(one.tokens),
      left(one).join(" · ") || null,
    ]),
  );
}

let report = "";

/** `codes` counts the errors since the start; `all` are the last ones. */
export function errors(all, codes) {
  report = all.map((one) => [new Date(one.at * 1000).toISOString(), one.code, one.model, one.message].join("\t")).join("\n");
  if (all.length && !byId("copy-errors").firstChild) byId("copy-errors").append(copyButton("action.copy", () => report));
  byId("codes").replaceChildren(
    ...Object.entries(codes).flatMap(([code, count]) => [h("dt", { translate: "no" }, code), h("dd", {}, number(count))]),
  );
  table(
    byId("errors"),
    "errors.none",
    [["errors.when"], ["errors.code"], ["errors.message", "wide"]],
    all.map((one) => [
      new Date(one.at * 1000).toLocaleString(i18n.current()),
      h("code", { translate: "no" }, one.code),
      h("span", { lang: "en" }, one.message),
    ]),
  );
}

export function settings(all) {
  const written = (value) => (value === null ? null : h("code", { translate: "no" }, JSON.stringify(value)));
  table(
    byId("settings"),
    "models.none",
    [["settings.name"], ["settings.value", "wide"]],
    Object.entries(all).map(([name, value]) => [h("code", { translate: "no" }, name), written(value)]),
  );
}
