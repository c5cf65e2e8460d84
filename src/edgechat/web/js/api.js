// Every call to the server, and what is known of conversations from its answers. Errors come out as ApiError, whatever
// went wrong.

/** What went wrong: `code` is the server's, or ours (unreachable, interrupted); `body` is what the server said. */
export class ApiError extends Error {
  constructor(code, message = "", { status = 0, retryAfter = null, body = null } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfter, body });
  }
}

/** Tells "locked" when a key is needed that this browser has not given, "opened" when it has. */
export const door = new EventTarget();

const TIMEOUT = 15_000; // ms, for anything that is not a stream

/** The language that the page shows: reasons come in it. */
const language = () => ({ "Accept-Language": document.documentElement.lang });

const at = (path) => new URL(path, document.baseURI);
const query = (path, given) => {
  const params = Object.entries(given).filter(([, value]) => value != null && value !== "");
  return params.length ? `${path}?${new URLSearchParams(params)}` : path;
};

/** `{state, model, wanted, why, hint, progress, …}`; state is the server's, or "unreachable". */
export async function readyz() {
  let response;
  let body;
  try {
    const signal = AbortSignal.timeout(TIMEOUT);
    response = await fetch(at("readyz"), { cache: "no-store", headers: language(), signal });
    body = await response.json();
  } catch {
    if (!response) return { state: "unreachable" };
  }
  if (typeof body?.state === "string") return body;
  return { state: "failed", why: `HTTP ${response.status}` };
}

export const runs = {
  /** Store a question and start its answer. The same `key` again is the same turn. */
  start: (body, key, signal) => send("POST", "api/runs", body, { headers: { "Idempotency-Key": key }, signal }),
  stop: (id) => send("DELETE", `api/runs/${id}`),
  /** The byte stream of events after the one called `last`. */
  async events(id, last, signal) {
    const headers = last ? { "Last-Event-ID": last } : {};
    return (await request("GET", `api/runs/${id}/events`, { headers, signal })).body;
  },
};

const heads = new Map(); // id -> a conversation without its messages, by the newest version that any answer told

/** The newest that is known of a conversation: title, version, pinned, updated, deleted. */
export const headOf = (id) => heads.get(id);

/** Tells "news" when something is known better than before. */
export const news = new EventTarget();

/** Learn from `answer`, a list, a conversation or a change. Answers overtake each other: what is older says nothing. */
async function told(answer) {
  const said = await answer;
  const all = said.conversations ?? [said];
  const newer = all.filter(({ id, version }) => !(heads.get(id)?.version >= version));
  for (const { messages, snippet, ...head } of newer) heads.set(head.id, head);
  if (newer.length) news.dispatchEvent(new Event("news"));
  return said;
}

export const conversations = {
  list: (params = {}) => told(send("GET", query("api/conversations", params))),
  get: (id) => told(send("GET", `api/conversations/${id}`)),
  change: (id, change) => told(send("PATCH", `api/conversations/${id}`, change)),
  remove: (id) => send("DELETE", `api/conversations/${id}`),
  removeMessage: (id, message) => told(send("DELETE", `api/conversations/${id}/messages/${message}`)),
  deletedMessages: () => send("GET", "api/conversations/deleted-messages"),
  restoreMessage: (id, message) => told(send("POST", `api/conversations/${id}/messages/${message}/restore`, {})),
  removeAll: () => send("DELETE", "api/conversations"),
  restore: (id) => told(send("POST", `api/conversations/${id}/restore`, {})),
  load: (content) => send("POST", "api/import", content),
  /** Where a download comes from; `id` null means everything. */
  exported: (format, id = null) => at(query("api/export", { format, conversation_id: id })).href,
};

export const presets = {
  get: () => send("GET", "api/presets"),
  put: (kept) => send("PUT", "api/presets", kept),
};

export const attachments = {
  /** Keep the bytes of a file, under its name; answers with their SHA-256, and the tokens they take of `model`. */
  async put(blob, name, model) {
    const headers = { "Content-Type": blob.type };
    const response = await request("PUT", query("api/attachments", { name, model }), { headers, body: blob });
    return response.json();
  },
  /** Where its bytes come from. */
  at: (sha256) => at(`api/attachments/${sha256}`).href,
};

export const models = {
  list: () => send("GET", "api/models"),
  load: (name) => send("POST", `api/models/${encodeURIComponent(name)}/load`, {}),
  /** A name of the catalog, or a reference: then it goes by that until it is here. */
  download: (name) => send("POST", `api/models/${encodeURIComponent(name)}/download`, {}),
  /** Stop a download, or forget how it failed. */
  cancel: (name) => send("DELETE", `api/models/${encodeURIComponent(name)}/download`),
  remove: (name) => send("DELETE", `api/models/${encodeURIComponent(name)}`),
};

/** Exchange a key for a session that lives in a cookie scripts cannot read. */
export const login = (key) => send("POST", "api/login", { key });
export const logout = () => send("POST", "api/logout", {});

/** Who this browser is logged in as: `name` of a key, or null; whether it is an `operator`. */
export const who = () => send("GET", "api/login");

/** Figures of the server: memory, tokens a second in the last minute, who waits, and the defaults it answers with. */
export const status = () => send("GET", "api/status");

/** An id for one turn. (crypto.randomUUID is missing on plain http.) */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send(method, path, body, { headers = {}, signal } = {}) {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  // The server asks it of everything that changes something: a form of another site cannot send it.
  if (method !== "GET") headers = { ...headers, "Content-Type": "application/json" };
  const limit = AbortSignal.timeout(TIMEOUT);
  const response = await request(method, path, { headers, ...content, signal: signal ? AbortSignal.any([signal, limit]) : limit });
  return response.status === 204 ? null : response.json();
}

async function request(method, path, options) {
  let response;
  try {
    const headers = { ...language(), ...options.headers };
    response = await fetch(at(path), { method, cache: "no-store", ...options, headers });
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError("unreachable", String(error));
  }
  if (response.ok) return response;
  if (response.status === 401 && path !== "api/login") door.dispatchEvent(new Event("locked"));
  throw await refusal(response);
}

async function refusal(response) {
  const raw = await response.text().catch(() => "");
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const more = { status: response.status, retryAfter };
  try {
    const body = JSON.parse(raw);
    const { code, message } = body.error;
    return new ApiError(code ?? "", message, { ...more, body });
  } catch {
    return new ApiError("", raw.slice(0, 2000) || `HTTP ${response.status}`, more);
  }
}
