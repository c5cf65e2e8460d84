// Files that other programs exported: read here, as JSON or out of a zip, and sent in pieces that the server takes.

import { conversations } from "./api.js";

const MOST = 8_000_000; // characters of a piece, unless one conversation is larger
const MOST_UNPACKED = 1_000_000_000; // bytes
const WANTED = /(?:^|\/)conversations[^/]*\.json$/; // in the archives of ChatGPT and Claude
const END = 0x06054b50; // signatures of zip's records
const ENTRY = 0x02014b50;
const DEFLATED = 8;

/** What became of `file`: {imported, skipped, left_out, without}. Throws SyntaxError where it cannot be read. */
export async function importFile(file) {
  const sum = { imported: 0, skipped: 0, left_out: [], without: {} };
  for (const text of await textsOf(file)) {
    for (const piece of pieces(JSON.parse(text), text.length)) {
      const { imported = 0, skipped = 0, left_out = [], without = {} } = await conversations.load(piece);
      sum.imported += imported;
      sum.skipped += skipped;
      sum.left_out.push(...left_out);
      for (const [kind, n] of Object.entries(without)) sum.without[kind] = (sum.without[kind] ?? 0) + n;
    }
  }
  return sum;
}

/** A list of conversations in parts; anything else is one. */
function* pieces(document, length) {
  if (length <= MOST || !Array.isArray(document) || document.some((one) => one?.role)) return yield document;
  let part = [];
  let size = 0;
  for (const one of document) {
    const more = JSON.stringify(one).length;
    if (part.length && size + more > MOST) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(one);
    size += more;
  }
  yield part;
}

async function textsOf(file) {
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (String.fromCharCode(...start) !== "PK") return [await file.text()];
  const found = (await entriesOf(file)).filter(({ name }) => WANTED.test(name));
  if (!found.length) throw new SyntaxError("conversations.json?");
  if (found.reduce((sum, { size }) => sum + size, 0) > MOST_UNPACKED) throw new SyntaxError("> 1 GB");
  const texts = [];
  for (const entry of found) texts.push(await unpacked(file, entry));
  return texts;
}

/** What a zip's directory, at its end, lists. */
async function entriesOf(file) {
  const tail = new DataView(await file.slice(-65_557).arrayBuffer());
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new SyntaxError("zip?");
  const from = tail.getUint32(end + 16, true);
  const list = new DataView(await file.slice(from, from + tail.getUint32(end + 12, true)).arrayBuffer());
  const entries = [];
  for (let at = 0; at + 46 <= list.byteLength && list.getUint32(at, true) === ENTRY; ) {
    const length = list.getUint16(at + 28, true);
    entries.push({
      method: list.getUint16(at + 10, true),
      packed: list.getUint32(at + 20, true),
      size: list.getUint32(at + 24, true),
      offset: list.getUint32(at + 42, true),
      name: new TextDecoder().decode(new Uint8Array(list.buffer, at + 46, length)),
    });
    at += 46 + length + list.getUint16(at + 30, true) + list.getUint16(at + 32, true);
  }
  return entries;
}

async function unpacked(file, { method, packed, offset }) {
  const head = new DataView(await file.slice(offset, offset + 30).arrayBuffer());
  const from = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const bytes = file.slice(from, from + packed);
  if (method !== DEFLATED) return bytes.text();
  return new Response(bytes.stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
}
