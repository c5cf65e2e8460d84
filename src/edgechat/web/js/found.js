// The place in a conversation that a search led to. Texts are compared in the form in which the server searches them
// (history/search.py): forms of a letter are one, and so are letters with and without the marks that many leave out.

const TWINS = { đ: "d", ø: "o", ł: "l", ı: "i", ß: "ss", ک: "ك", ی: "ي", ى: "ي", "ς": "σ" };
const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

function normal(text) {
  return text
    .normalize("NFKC")
    .toLowerCase()
    .normalize("NFD")
    .replace(/([\p{Script=Latin}\p{Script=Greek}\p{Script=Arabic}\p{Script=Hebrew}\u0435\u0456])\p{Mn}+/gu, "$1")
    .replace(/[\u00ad\u0640\u200b-\u200f\u2060\ufeff]/g, "")
    .replace(/[\u0660-\u0669\u06f0-\u06f9]/g, (digit) => digit.charCodeAt(0) % 16)
    .normalize("NFC")
    .replace(/[^\0-\u007f]/g, (letter) => TWINS[letter] ?? letter);
}

const parts = (words) => normal(words).split(/\s+/).filter(Boolean);

/** Whether `text` has all of `words`. */
export function has(text, words) {
  const form = normal(text);
  return parts(words).every((part) => form.includes(part));
}

/** Mark the first place of `words` in `article`; the element that it is in, or null. */
export function marked(article, words) {
  const walker = document.createTreeWalker(article.querySelector(":scope > .text"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { currentNode: node } = walker;
    const place = placeIn(node.data, parts(words));
    if (!place) continue;
    const range = document.createRange();
    range.setStart(node, place[0]);
    range.setEnd(node, place[1]);
    globalThis.CSS?.highlights?.set("found", new Highlight(range));
    return node.parentElement;
  }
  return null;
}

/** Where the first of `wanted` stands in `text`: [start, end], or null. */
function placeIn(text, wanted) {
  const form = normal(text);
  const part = wanted.find((one) => form.includes(one));
  if (!part) return null;
  const places = [];
  let traced = "";
  for (const { segment, index } of letters.segment(text)) {
    const letter = normal(segment);
    for (let n = 0; n < letter.length; n += 1) places.push([index, index + segment.length]);
    traced += letter;
  }
  const at = traced.indexOf(part);
  return at < 0 ? null : [places[at][0], places[at + part.length - 1][1]];
}
