// The place in a conversation that a search led to.

const normal = (text) => text.normalize("NFKC").toLowerCase();
const parts = (words) => normal(words).split(/\s+/).filter(Boolean);

/** Whether `text` has all of `words`. */
export const has = (text, words) => parts(words).every((part) => normal(text).includes(part));

/** Mark the first place of `words` in `article`; the element that it is in, or null. */
export function marked(article, words) {
  const walker = document.createTreeWalker(article.querySelector(":scope > .text"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { currentNode: node } = walker;
    const part = parts(words).find((one) => node.data.toLowerCase().includes(one));
    if (!part) continue;
    const range = document.createRange();
    const start = node.data.toLowerCase().indexOf(part);
    range.setStart(node, start);
    range.setEnd(node, Math.min(start + part.length, node.length));
    globalThis.CSS?.highlights?.set("found", new Highlight(range));
    return node.parentElement;
  }
  return null;
}
