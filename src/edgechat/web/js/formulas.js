// Formulas: which parts of a text are TeX, and their typesetting as MathML. Temml does that. It is loaded with the
// first formula, makes elements and no markup, and is trusted with nothing: no links, no rule larger than the page.
// Until it is there, without it, and where it gives up, the source stands as the model wrote it. What is copied is
// always the source.
//
//   \( … \)   $ … $                                within a line
//   \[ … \]   $$ … $$   \begin{…} … \end{…}        for themselves; where a line begins with one, so does a block

import { h, sheet } from "./dom.js";

const OPENING = /^[ \t]*(?:\\\[|\$\$|\\begin\{([a-zA-Z]+\*?)\})/;
const NEXT = /\n[ \t]*(?:\\\[|\$\$|\\begin\{[a-zA-Z]+\*?\})/;
const BLANK = /\n[ \t]*\n/;
const END = /[ \t]*[.,;:!?\u3002\uff01\uff0c\uff1a\uff1b\uff1f]?/y; // a sentence may end with a formula
const INLINE = [
  /^\\\((?:(?!\\\(|\n[ \t]*\n)[^])+?\\\)/,
  /^\\\[(?:(?!\\\[|\n[ \t]*\n)[^])+?\\\]/,
  /^\$\$(?:(?!\n[ \t]*\n)[^$])+?\$\$/,
  // No prices and no shell variables: no space inside the dollars, no letter behind them, save for $n$th and $x$s.
  /^\$(?![\s$])(?:\\[^\n]|[^\\$\n\x60])+?(?<!\s)\$(?=(?:st|nd|rd|th|s)\b|(?![\p{Script=Latin}\d$_]))/u,
];
const PRICE = /^\$[\d.,]+[\s\u3001\u3002\uff0c\uff1b]*\p{L}{2}/u; // "$5, or 10$"
const LONGEST = 10_000; // characters; a longer one would hold up the page
const MOST = 500; // typeset ones that are kept for when their block is rendered again
const LIMITS = { throwOnError: true, trust: false, maxSize: [20, 40] }; // em

const made = new Map(); // source -> math element; null where there is none
let temml = null;
let loading = null;

/** The formula that a block begins with: up to its closing delimiter, else as source up to a blank line. */
export function formulaBlock(source) {
  const opening = OPENING.exec(source);
  if (!opening) return;
  const [open, environment] = opening;
  const closing = environment ? `\\end{${environment}}` : open.endsWith("$") ? "$$" : "\\]";
  const close = source.indexOf(closing, open.length);
  const blank = BLANK.exec(source)?.index ?? source.length;
  if (close <= open.length || close > blank) return { type: "formulaBlock", raw: source.slice(0, blank), formula: "", end: "" };
  END.lastIndex = close + closing.length;
  const [end] = END.exec(source);
  const raw = source.slice(0, END.lastIndex || close + closing.length);
  return { type: "formulaBlock", raw, formula: source.slice(0, close + closing.length).trim(), end };
}

/** Where the next one may begin in a paragraph. */
export const nextFormulaBlock = (source) => NEXT.exec(source)?.index;

/** The formula that `source` begins with, within a paragraph. */
export function formula(source) {
  const raw = INLINE.map((rule) => rule.exec(source)?.[0]).find(Boolean);
  return raw && !PRICE.test(raw) ? { type: "formula", raw } : undefined;
}

export const nextFormula = (source) => /\\[([]|\$/.exec(source)?.index;

/** Typeset every element of class "formula" in `root`, now or when that can be done; `grown` is called then. */
export function typeset(root, grown) {
  const nodes = [...root.querySelectorAll(".formula")];
  if (!nodes.length) return;
  if (temml) return nodes.forEach(show);
  loading ??= load();
  loading.then(() => (nodes.forEach(show), grown?.())).catch(() => (loading = null)); // the next one tries again
}

async function load() {
  const [library] = await Promise.all([import("../vendor/temml.js"), sheet("formulas")]);
  temml = library.default;
  document.addEventListener("copy", copySource);
}

function show(node) {
  const source = node.textContent;
  const math = mathOf(source);
  if (math) node.replaceChildren(math, h("span", { class: "tex" }, source));
}

function mathOf(source) {
  if (!made.has(source)) {
    if (made.size >= MOST) made.clear();
    made.set(source, source.length > LONGEST ? null : mathOfNew(source));
  }
  return made.get(source)?.cloneNode(true);
}

function mathOfNew(source) {
  const [, open, inner] = /^(\\begin|\\[([]|\$\$?)([^]*?)(?:\\[)\]]|\$\$?)?$/.exec(source);
  const box = h("span");
  try {
    temml.render(open === "\\begin" ? source : inner, box, { ...LIMITS, displayMode: open !== "\\(" && open !== "$" });
  } catch {
    return null; // no TeX, or more than Temml knows of it
  }
  return box.firstElementChild;
}

/** What a selection says when its formulas are as the model wrote them. */
function copySource(e) {
  const selection = getSelection();
  if (e.target.closest?.("input, textarea") || !selection.rangeCount) return;
  const range = selection.getRangeAt(0);
  const around = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest(".formula");
  const [first, last] = [around(range.startContainer), around(range.endContainer)];
  if (!first && !last && !range.cloneContents().querySelector("math")) return;
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  document.body.classList.add("copying"); // shows the source instead, as style sheets can
  e.clipboardData.setData("text/plain", selection.toString());
  document.body.classList.remove("copying");
  e.preventDefault();
}
