// What this browser remembers: looks, wishes for answers, drafts. Conversations are the server's; nothing here is missed
// when storage is blocked or cleared.

const PREFIX = "edgechat.";
const MOST_LEAVES = 200;
const memory = new Map(); // what holds for this tab where storage is blocked

/** The value kept under `name`, or null. */
export function read(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? memory.get(name) ?? null;
  } catch {
    return memory.get(name) ?? null;
  }
}

/** Keep `value`; null forgets it. */
export function write(name, value) {
  try {
    if (value == null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
    memory.delete(name);
  } catch {
    memory.set(name, value);
  }
}

/** The name of the model that was chosen here; null where the server's own answers. */
export const chosen = () => read("model");

/** How all conversations of this browser are answered, beyond the server's defaults; `system` is one of them. */
export function params() {
  const system = read("system");
  return { ...read("params"), ...(system && { system }) };
}

/** The same as a run takes it: {model?, params?}, without what the conversation has of its `own`. */
export function wanted(own = {}) {
  const all = { ...params(), model: chosen() };
  const { model, ...rest } = Object.fromEntries(Object.entries(all).filter(([name]) => !(name in own)));
  return { ...(model && { model }), ...(Object.keys(rest).length && { params: rest }) };
}

/** The end of the branch that was shown last in a conversation. */
export const leafOf = (id) => read("leaves")?.[id] ?? null;

export function rememberLeaf(id, leaf) {
  if (!id) return;
  const { [id]: _, ...others } = read("leaves") ?? {};
  write("leaves", Object.fromEntries([...Object.entries(others).slice(1 - MOST_LEAVES), [id, leaf]]));
}

/** Whether Enter sends; on a touch screen it breaks the line. */
export const sendsWithEnter = () => read("send") !== "ctrl" && !matchMedia("(pointer: coarse)").matches;

/** What was typed and not sent, per conversation; null is the new one. */
export const draftOf = (id) => read(`draft.${id ?? "new"}`) ?? "";
export const keepDraft = (id, text) => write(`draft.${id ?? "new"}`, text.trim() ? text : null);

/** Theme and text size onto the page. */
export function applyLooks() {
  const root = document.documentElement;
  for (const name of ["theme", "size"]) {
    const value = read(name);
    if (value) root.dataset[name] = value;
    else delete root.dataset[name];
  }
}
