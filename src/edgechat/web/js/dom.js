// Small helpers over the DOM. Text only ever enters as text nodes: this page has no HTML strings.

const SVG = "http://www.w3.org/2000/svg";
const SPRITE = new URL("../icons.svg", import.meta.url).pathname;

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children (nodes or strings). */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A decorative icon of the sprite. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${SPRITE}#${name}`);
  svg.append(use);
  return svg;
}

/** Which language a text is mostly in, for its glyphs and its voice. */
export function languageOf(text) {
  const han = text.match(/\p{Script=Han}/gu)?.length ?? 0;
  const letters = text.replace(/\\[a-z]+(?:\{[a-z]+\})?/gi, "").match(/\p{L}/gu)?.length ?? 0; // TeX is in no language
  return han * 4 > letters ? "zh-CN" : "en";
}

/** Load one of the style sheets that are not needed at once. */
export function sheet(name) {
  const href = new URL(`../${name}.css`, import.meta.url).href;
  const known = document.querySelector(`link[href="${href}"]`);
  if (known) return Promise.resolve();
  const link = h("link", { rel: "stylesheet", href });
  document.head.append(link);
  return new Promise((resolve, reject) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", () => (link.remove(), reject(new Error(href))));
  });
}
