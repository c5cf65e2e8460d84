// Markdown to elements. marked writes HTML, DOMPurify lets through what is on the list below, nothing else gets in:
// raw HTML is shown as text, an image becomes a link (a remote picture would tell its host what was written here).

import { Lexer, Marked, Tokenizer } from "../vendor/marked.js";
import "../vendor/purify.js";
import { h } from "./dom.js";
import { formula, formulaBlock, nextFormula, nextFormulaBlock, typeset } from "./formulas.js";

const Purifier = globalThis.DOMPurify;
const RULES = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "span",
    "strong", "em", "del", "a", "table", "thead", "tbody", "tr", "th", "td", "input", "kbd", "sub", "sup",
  ],
  ALLOWED_ATTR: ["href", "class", "title", "align", "start", "type", "checked", "disabled", "lang"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  ADD_URI_SAFE_ATTR: ["align", "start", "type", "checked", "disabled", "lang"], // no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

// CommonMark lets no ** close between a full stop and a letter: rare in English, everywhere in Chinese, where
// punctuation stands right at the word (**重点：**说明). For deciding what may open or close, and only there,
// Chinese punctuation counts as a letter; and beside it, and beside letters of scripts without spaces, any other
// punctuation may stand inside the ** as it may beside a space (**"引用"**后面).
const CJK = "\\u3001-\\u303F\\uFF01-\\uFF0F\\uFF1A-\\uFF20\\uFF3B-\\uFF40\\uFF5B-\\uFF65\\u2014\\u2018-\\u201D\\u2026\\u00B7";
const UNSPACED = `[${CJK}\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}]`;
const OPENS = "[\\s\\p{P}\\p{S}](\\*+)(?=(?:[^"; // three of marked's rules, as it writes them
const BOTH = "(?:[^\\s\\p{P}\\p{S}]|~)(\\*+)(?=(?:[^";
const BEFORE = "(?![*_])[\\s\\p{P}\\p{S}]";
const asLetters = (rule) =>
  new RegExp(
    rule.source
      .replace(OPENS, `(?!(?<=\\S)[\\p{P}\\p{S}]\\*+${UNSPACED})${OPENS}`)
      .replace(BOTH, `(?:[^\\s\\p{P}\\p{S}]|~|(?<=\\S)(?![*~])[\\p{P}\\p{S}](?=\\*+${UNSPACED}))(\\*+)(?=(?:[^`)
      .replace(BEFORE, `${BEFORE}|${UNSPACED}`)
      .replaceAll("[^\\s\\p{P}\\p{S}]", `(?:[^\\s\\p{P}\\p{S}]|[${CJK}])`)
      .replaceAll("[\\s\\p{P}\\p{S}]", `(?:(?![${CJK}])[\\s\\p{P}\\p{S}])`)
      .replaceAll("[\\p{P}\\p{S}]", `(?:(?![${CJK}])[\\p{P}\\p{S}])`),
    rule.flags,
  );
const FLANKING = ["emStrongLDelim", "emStrongRDelimAst", "punctuation", "delLDelim", "delRDelim"];
const PATCH = Object.fromEntries(FLANKING.map((name) => [name, asLetters(Lexer.rules.inline.gfm[name])]));
// Where a bare address ends in Chinese text, which has no space there.
const AFTER_ADDRESS = /[\u3000-\u303f\uff01-\uff0f\uff1a-\uff1f\uff3b\uff3d\uff5b-\uff65\u2014\u2018-\u201d\u2026]/;

function withCjk(tokenize) {
  return function (...given) {
    const rules = this.rules;
    this.rules = { ...rules, inline: { ...rules.inline, ...PATCH } };
    try {
      return tokenize.apply(this, given);
    } finally {
      this.rules = rules;
    }
  };
}

const strike = withCjk(Tokenizer.prototype.del);

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => text.replace(/[&<>"']/g, (character) => ESCAPES[character]);

/** An element that typeset() finds. */
const typesetLater = (kind, tex) => `<span class="${kind}">${escaped(tex)}</span>`;

const marked = new Marked();
marked.use({
  gfm: true,
  breaks: true,
  extensions: [
    {
      name: "formulaBlock",
      level: "block",
      start: nextFormulaBlock,
      tokenizer: formulaBlock,
      renderer: ({ raw, formula: tex, end }) =>
        tex ? `<p>${typesetLater("formula display", tex)}${escaped(end)}</p>` : `<p class="source">${escaped(raw.trim())}</p>`,
    },
    {
      name: "formula",
      level: "inline",
      start: nextFormula,
      tokenizer: formula,
      renderer: ({ raw }) => typesetLater(/^(?:\\\[|\$\$)/.test(raw) ? "formula display" : "formula", raw),
    },
  ],
  tokenizer: {
    emStrong: withCjk(Tokenizer.prototype.emStrong),
    del(source, ...more) {
      return source.startsWith("~~") ? strike.call(this, source, ...more) : undefined; // 27~28 ℃, ~5 and ~10
    },
    escape(source) {
      const [kept] = /^\\[()[\]]/.exec(source) ?? []; // half a formula, as it streams
      return kept ? { type: "text", raw: kept, text: kept } : false;
    },
    lheading(source) {
      const heading = Tokenizer.prototype.lheading.call(this, source);
      return heading && nextFormulaBlock(heading.raw) === undefined ? heading : undefined; // its lines may be an = alone
    },
    url(source) {
      return Tokenizer.prototype.url.call(this, source.split(AFTER_ADDRESS, 1)[0]);
    },
    tag(source) {
      const token = Tokenizer.prototype.tag.call(this, source);
      this.lexer.state.inLink = this.lexer.state.inRawBlock = false; // it is shown as text: what follows is no raw HTML
      return token;
    },
  },
  renderer: {
    html({ text, block }) {
      if (/^<br ?\/?>$/i.test(text)) return "<br>"; // models break lines in table cells with it
      if (!block && /^<\/?(?:kbd|sub|sup)>$/i.test(text)) return text;
      return block ? `<p>${escaped(text)}</p>` : escaped(text);
    },
    image({ href, text }) {
      return `<a href="${escaped(href)}">${escaped(text || href)}</a>`;
    },
    heading({ tokens, depth }) {
      const level = Math.min(Math.max(depth + 1, 3), 6); // the page's own come first; models like to begin with ##
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

Purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "INPUT") {
    if (node.getAttribute("type") !== "checkbox") return node.remove();
    node.setAttribute("disabled", "");
  }
  if (node.nodeName !== "A") return;
  const address = node.getAttribute("href");
  if (!address) return;
  node.setAttribute("rel", "noopener noreferrer nofollow");
  node.setAttribute("target", "_blank");
  node.setAttribute("title", address);
});

/** The blocks of `source`; `raw` of all of them joined is `source`. */
export const blocks = (source) => marked.lexer(source);

/** A fragment with the elements of `tokens`; `grown` is called where formulas are put in later. */
export function elements(tokens, grown) {
  const fragment = purified(marked.parser(tokens));
  for (const block of fragment.children) block.dir = "auto";
  typeset(fragment, grown);
  return fragment;
}

/** Whether blocks of `source` may mean something else once the whole text is known: [name]: address. */
export const refersAhead = (source) => source.includes("]: ");

/** A fragment of `html` with what is allowed; everything else is gone. */
export function purified(html) {
  const fragment = Purifier.sanitize(html, RULES);
  for (const box of fragment.querySelectorAll("input")) box.ariaLabel = box.parentElement?.textContent.trim();
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabindex: "0", role: "group" });
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}
