// Strings in the reader's language. The DOM remembers which key an element shows, so a switch needs no reload.
//
//   data-i18n="key" [data-i18n-params="{…}"]   text
//   data-i18n-label="key" [data-i18n-params]   accessible name and tooltip
//   data-i18n-placeholder="key"                placeholder
//
// A key may have a form per plural class of its parameter n: "figures.tokens#one", "figures.tokens#other". A part in
// brackets is left out where one of its parameters is missing: "Place {n}[ · about {s} s]".

import * as preferences from "./preferences.js";

export const LANGUAGES = ["en", "zh-CN"];

const HOLE = /\{(\w+)\}/g;

let folder = "";
let language = LANGUAGES[0];
let strings = {};
let numbers = new Intl.NumberFormat(language);
let plurals = new Intl.PluralRules(language);

export const current = () => language;

/** The language after the current one. */
export const other = () => LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length];

/** The first of the wanted languages that there is; any Chinese is zh-CN until it has its own. */
export function choose(wanted) {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split("-")[0];
    const found = LANGUAGES.find((known) => known.toLowerCase().split("-")[0] === primary);
    if (found) return found;
  }
  return LANGUAGES[0];
}

/** Load the language that ?lang=, the last choice or the browser asks for; `where` is the folder of a page's strings. */
export async function start(where = "") {
  folder = where;
  const asked = new URLSearchParams(location.search).get("lang");
  await load(choose([asked, preferences.read("language"), ...navigator.languages].filter(Boolean)));
}

/** Switch the whole page and remember the choice. Throws, and changes nothing, if the strings cannot be had. */
export async function switchTo(tag) {
  await load(tag);
  preferences.write("language", tag);
}

export function t(key, params = {}) {
  const form = typeof params.n === "number" ? strings[`${key}#${plurals.select(params.n)}`] : undefined;
  const isGiven = (part) => [...part.matchAll(HOLE)].every(([, name]) => params[name] != null);
  const text = (form ?? strings[key] ?? key).replace(/\[([^\]]*)\]/g, (_, part) => (isGiven(part) ? part : ""));
  return text.replace(HOLE, (_, name) => shown(params[name]));
}

/** Show a string in `node`, now and after every switch. */
export function put(node, key, params) {
  node.dataset.i18n = key;
  if (params) node.dataset.i18nParams = JSON.stringify(params);
  else delete node.dataset.i18nParams;
  const text = t(key, params);
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** Name `node`, now and after every switch. (A node has one set of parameters, for its text or for its name.) */
export function putLabel(node, key, params) {
  node.dataset.i18nLabel = key;
  if (params) node.dataset.i18nParams = JSON.stringify(params);
  label(node);
  return node;
}

/** A number of bytes as people read it; null of null. */
export function bytes(n) {
  if (n == null) return null;
  const power = n >= 1e9 ? 3 : 2;
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: power === 3 ? "gigabyte" : "megabyte",
    maximumFractionDigits: power === 3 || n < 1e7 ? 1 : 0,
  }).format(n / 1000 ** power);
}

/** The parameters of a download's line: bytes, once its speed is known. */
export function fetching({ size, progress, received, rate, left }) {
  if (!rate) return { percent: Math.floor((progress ?? (size && received / size) ?? 0) * 100) };
  return { done: bytes(received), size: bytes(size), rate: bytes(rate), n: left == null ? null : Math.ceil(left) };
}

/** How many words a text has, in any script; Chinese readers count characters. */
export function wordsIn(text) {
  const segments = new Intl.Segmenter(language, { granularity: "word" }).segment(text);
  let words = 0;
  for (const { segment, isWordLike } of segments) {
    if (isWordLike) words += (language === "zh-CN" && segment.match(/\p{Script=Han}/gu)?.length) || 1;
  }
  return words;
}

async function load(tag) {
  strings = await stringsOf(tag);
  language = tag;
  numbers = new Intl.NumberFormat(tag, { maximumFractionDigits: 1 });
  plurals = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
  translate(document);
}

/** All strings of a language. */
export async function stringsOf(tag) {
  const answer = await fetch(new URL(`../i18n/${folder}${tag}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`${answer.status} ${answer.url}`);
  return answer.json();
}

function translate(root) {
  for (const node of root.querySelectorAll("[data-i18n]")) {
    node.textContent = t(node.dataset.i18n, paramsOf(node));
  }
  for (const node of root.querySelectorAll("[data-i18n-label]")) label(node);
  for (const node of root.querySelectorAll("[data-i18n-placeholder]")) {
    node.placeholder = t(node.dataset.i18nPlaceholder);
  }
}

function label(node) {
  const text = t(node.dataset.i18nLabel, paramsOf(node));
  node.setAttribute("aria-label", text);
  if (node.matches("button, a")) node.title = text;
}

function paramsOf(node) {
  return node.dataset.i18nParams ? JSON.parse(node.dataset.i18nParams) : undefined;
}

const shown = (value) => (typeof value === "number" ? numbers.format(value) : String(value ?? ""));
