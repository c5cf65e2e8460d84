// Files that other programs exported: read here, as JSON or out of a zip, and sent in pieces that the server takes.
//
//   zip ─► conversations.json ─► pieces ─► POST api/import
//      └─► its pictures ─► PUT api/attachments ─► "sha256:…" in the place of ChatGPT's pointers

import { attachments, conversations } from "./api.js";

const MOST = 8_000_000; // characters of a piece, unless one conversation is larger
const MOST_PICTURE = 16_777_216; // bytes, as the server takes them
const ASSET = /^(?:file-service|sediment):\/\/(file[-_][0-9A-Za-z]+)/;
const MOST_UNPACKED = 1_000_000_000; // bytes
const WANTED = /(?:^|\/)conversations[^/]*\.json$/; // in the archives of ChatGPT and Claude
const END = 0x06054b50; // signatures of zip's records
const ENTRY = 0x02014b50;
const DEFLATED = 8;

/** What became of `file`: {imported, skipped, left_out, without}. Throws SyntaxError where it cannot be read. */
export async function importFile(file) {
  const sum = { imported: 0, skipped: 0, left_out: [], without: {} };
  const { texts, entries } = await textsOf(file);
  const put = pictures(file, entries);
  for (const text of texts) {
    for (const piece of pieces(JSON.parse(text), text.length)) {
      for (const part of pointers(piece)) part.asset_pointer = await put(part.asset_pointer);
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

/** The parts of a document that point at pictures of its archive. */
function* pointers(document) {
  const waiting = [document];
  while (waiting.length) {
    const one = waiting.pop();
    if (typeof one?.asset_pointer === "string") yield one;
    if (one && typeof one === "object") waiting.push(...Object.values(one));
  }
}

/** A function that gives the server the picture a pointer means; answers with where it is then. */
function pictures(file, entries) {
  const known = new Map(entries.map((entry) => [/^file[-_][0-9A-Za-z]+/.exec(entry.name.split("/").pop())?.[0], entry]));
  const sent = new Map();
  return async (pointer) => {
    const entry = known.get(ASSET.exec(pointer)?.[1]);
    if (!entry || entry.size > MOST_PICTURE) return pointer;
    if (!sent.has(entry)) {
      const bytes = await (await unpacked(file, entry)).arrayBuffer();
      const blob = new Blob([bytes], { type: "application/octet-stream" });
      const name = entry.name.split("/").pop().replace(/^file[-_][0-9A-Za-z]+-/, "");
      sent.set(entry, await attachments.put(blob, name).then(({ sha256 }) => `sha256:${sha256}`, () => pointer));
    }
    return sent.get(entry);
  };
}

async function textsOf(file) {
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (String.fromCharCode(...start) !== "PK") return { texts: [await file.text()], entries: [] };
  const entries = await entriesOf(file);
  const found = entries.filter(({ name }) => WANTED.test(name));
  if (!found.length) throw new SyntaxError("conversations.json?");
  if (found.reduce((sum, { size }) => sum + size, 0) > MOST_UNPACKED) throw new SyntaxError("> 1 GB");
  const texts = [];
  for (const entry of found) texts.push(await (await unpacked(file, entry)).text());
  return { texts, entries };
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
  return method === DEFLATED ? new Response(bytes.stream().pipeThrough(new DecompressionStream("deflate-raw"))) : bytes;
}
