// Server-sent events out of a byte stream, as the HTML standard reads them, plus the comments.
// No DOM, no network: bytes in, {event, data, id} and {comment} out.

export class SseParser {
  #decoder = new TextDecoder(); // drops a byte order mark, holds back half a character
  #rest = ""; // the line that has not ended yet
  #data = [];
  #event = "";
  #id = "";

  /** The events that `bytes` complete, in order. */
  push(bytes) {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const found = [];
    for (;;) {
      const end = this.#rest.search(/[\r\n]/);
      if (end < 0) break;
      // A lone \r at the edge may be the first half of \r\n: wait for what follows.
      if (this.#rest[end] === "\r" && end + 1 === this.#rest.length) break;
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + (this.#rest.startsWith("\r\n", end) ? 2 : 1));
      this.#line(line, found);
    }
    return found;
  }

  /** The stream is over: an event whose blank line never came does not count. */
  end() {
    const found = [];
    if (this.#rest.endsWith("\r")) this.#line(this.#rest.slice(0, -1), found);
    this.#rest = "";
    this.#data = [];
    return found;
  }

  #line(line, found) {
    if (line === "") {
      if (this.#data.length) {
        found.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
      }
      this.#data = [];
      this.#event = "";
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "") found.push({ comment: value });
    else if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }
}

/** Every event of a response body; `heard` is called for any sign of life. Leaving the loop early closes the connection. */
export async function* readEvents(body, heard = () => {}) {
  const parser = new SseParser();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      heard();
      yield* done ? parser.end() : parser.push(value);
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
