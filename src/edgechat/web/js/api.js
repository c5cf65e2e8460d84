// The server as the page sees it: is it ready, and one answer as a stream of small events.

import { readEvents } from "./sse.js";

/** What went wrong: `code` is the server's, or ours (unreachable, interrupted, model_failed). */
export class ApiError extends Error {
  constructor(code, message = "", status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const at = (path) => new URL(path, document.baseURI);

/** `{state, model, wanted, why, hint, progress}`; state is the server's, or "unreachable". */
export async function readyz() {
  let response;
  let body;
  try {
    response = await fetch(at("readyz"), { cache: "no-store", signal: AbortSignal.timeout(10_000) });
    body = await response.json();
  } catch {
    if (!response) return { state: "unreachable" };
  }
  if (typeof body?.state === "string") return body;
  return { state: "failed", why: `HTTP ${response.status}` };
}

/**
 * One answer to `messages`. Yields, in order:
 *   {type: "progress", stage, done, total}    stage: queued | loading | prefill
 *   {type: "delta", text}
 *   {type: "end", reason, usage, edgechat}    once, when the answer is whole
 * Throws ApiError, or the signal's reason once it is aborted.
 */
export async function* complete(messages, signal) {
  const response = await post({ messages, stream: true, stream_options: { include_usage: true } }, signal);
  const end = { type: "end", reason: null, usage: null, edgechat: null };
  try {
    for await (const event of readEvents(response.body)) {
      if (event.comment !== undefined) {
        const step = progress(event.comment);
        if (step) yield step;
      } else if (event.data === "[DONE]") {
        yield end;
        return;
      } else {
        const text = read(JSON.parse(event.data), end);
        if (text) yield { type: "delta", text };
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError("interrupted", String(error));
  }
  throw new ApiError("interrupted");
}

async function post(body, signal) {
  let response;
  try {
    response = await fetch(at("v1/chat/completions"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("unreachable", String(error));
  }
  if (response.ok) return response;
  const raw = await response.text();
  try {
    const { code, message } = JSON.parse(raw).error;
    throw new ApiError(code ?? "", message, response.status);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError("", raw.slice(0, 2000) || `HTTP ${response.status}`, response.status);
  }
}

/** The text of one chunk; what only the last ones carry is noted in `end`. */
function read(chunk, end) {
  if (chunk.error) throw new ApiError(chunk.error.code ?? "", chunk.error.message, 200);
  end.usage = chunk.usage ?? end.usage;
  end.edgechat = chunk.edgechat ?? end.edgechat;
  const choice = chunk.choices?.[0];
  end.reason = choice?.finish_reason ?? end.reason;
  return choice?.delta?.content;
}

/** ": queued 2 of 4", ": prefill 120 of 300", ": loading"; any other comment only keeps the line open. */
function progress(comment) {
  const match = /^(queued|loading|prefill)\b(?:.*?(\d+) of (\d+))?/.exec(comment);
  if (!match) return null;
  const [, stage, done, total] = match;
  return { type: "progress", stage, done: done ? Number(done) : null, total: total ? Number(total) : null };
}
