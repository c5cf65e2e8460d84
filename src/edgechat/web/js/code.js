// Code blocks: a bar with the language, wrap and copy; colours come later, when the block is complete.

import { copyButton } from "./clipboard.js";
import { iconButton } from "./controls.js";
import { h } from "./dom.js";
import { putLabel } from "./i18n.js";
import { purified } from "./markdown.js";

const MOST = 50_000; // characters that are coloured; more would hold up the page
const ALIASES = {
  "c#": "csharp", "c++": "cpp", cc: "cpp", cs: "csharp", docker: "dockerfile", golang: "go", h: "c", hpp: "cpp",
  html: "xml", js: "javascript", jsx: "javascript", kt: "kotlin", make: "makefile", md: "markdown", mjs: "javascript",
  node: "javascript", patch: "diff", ps1: "powershell", py: "python", python3: "python", rb: "ruby", rs: "rust",
  sh: "bash", shell: "bash", svg: "xml", toml: "ini", ts: "typescript", tsx: "typescript", vue: "xml", yml: "yaml",
  zsh: "bash",
};
const GRAMMARS = new Set([
  "bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "ini", "java", "javascript", "json", "kotlin", "lua",
  "makefile", "markdown", "php", "powershell", "python", "ruby", "rust", "sql", "swift", "typescript", "xml", "yaml",
]);

export class CodeBlock {
  #text;
  #code;
  #language;

  /** `language` is the fence's first word, or "". */
  constructor(source, language) {
    this.#language = language;
    this.#text = document.createTextNode(source);
    this.#code = h("code", { translate: "no" }, this.#text);
    const pre = h("pre", { tabindex: "0", role: "group" }, this.#code);
    putLabel(pre, "code.label", { language });
    const wrap = iconButton("wrap", "code.wrap", () => {
      wrap.setAttribute("aria-pressed", String(pre.classList.toggle("wrapped")));
    });
    wrap.setAttribute("aria-pressed", "false");
    const name = h("span", { class: "code-language", translate: "no" }, language);
    const bar = h("div", { class: "code-bar" }, name, wrap, copyButton("code.copy", () => this.source));
    this.element = h("div", { class: "code", dir: "ltr" }, bar, pre);
  }

  get source() {
    return this.#code.textContent;
  }

  /** While it streams: the same block with more text in it. False if `source` is not that. */
  grow(source, language) {
    if (language !== this.#language || !source.startsWith(this.#text.data)) return false;
    this.#text.appendData(source.slice(this.#text.data.length));
    return true;
  }

  /** The block is complete: colour it, where its language is known. */
  async colour() {
    const name = ALIASES[this.#language.toLowerCase()] ?? this.#language.toLowerCase();
    if (!GRAMMARS.has(name) || this.source.length > MOST) return;
    try {
      const hljs = await grammar(name);
      this.#code.replaceChildren(purified(hljs.highlight(this.source, { language: name }).value));
    } catch {
      // Without colours it reads as well: the server is gone, or the grammar choked.
    }
  }
}

/** Replace the plain code blocks in `fragment`, such as those inside lists. */
export function dressCode(fragment) {
  for (const code of fragment.querySelectorAll("pre > code")) {
    const language = /\blanguage-(\S+)/.exec(code.className)?.[1] ?? "";
    const block = new CodeBlock(code.textContent.replace(/\n$/, ""), language);
    code.parentElement.replaceWith(block.element);
    block.colour();
  }
}

async function grammar(name) {
  const [{ default: hljs }, { default: language }] = await Promise.all([
    import("../vendor/hljs/core.js"),
    import(`../vendor/hljs/${name}.js`),
  ]);
  if (!hljs.getLanguage(name)) hljs.registerLanguage(name, language);
  return hljs;
}
