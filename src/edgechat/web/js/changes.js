// What can be done to a conversation of the list: rename, pin, download, delete and undo. `list` is the Sidebar.

import { conversations, headOf } from "./api.js";
import { openMenu, toast } from "./controls.js";
import { byId, h } from "./dom.js";
import { putLabel } from "./i18n.js";

/** All of it, for the conversation that is shown as `head`, under `anchor`. */
export function menu(list, anchor, head) {
  const download = (format) => () => h("a", { href: conversations.exported(format, head.id), download: "" }).click();
  openMenu(anchor, [
    ["pin", head.pinned ? "list.unpin" : "list.pin", () => change(list, head, { pinned: !head.pinned })],
    ["edit", "list.rename", () => rename(list, head.id)],
    ["download", "list.export_md", download("md")],
    ["download", "list.export_json", download("json")],
    ["trash", "list.delete", () => remove(list, head)],
  ]);
}

/** Ask for another title, in the row itself. */
export function rename(list, id) {
  const head = headOf(id);
  const row = list.rowOf(id);
  if (!row || row.querySelector("form")) return;
  const field = putLabel(h("input", { type: "text", class: "rename", dir: "auto", maxlength: "200" }), "list.rename");
  field.value = head.title;
  const form = h("form", {}, field);
  const close = () => {
    form.replaceWith(link);
    link.focus();
    list.render();
  };
  const link = row.firstElementChild;
  let over = false;
  const save = () => {
    if (over) return;
    over = true;
    const title = field.value.trim();
    close();
    if (title && title !== head.title) change(list, head, { title });
  };
  form.addEventListener("submit", (e) => (e.preventDefault(), save()));
  field.addEventListener("blur", save);
  field.addEventListener("keydown", (e) => {
    if (e.key !== "Escape") return;
    e.stopPropagation();
    over = true;
    close();
  });
  link.replaceWith(form);
  field.select();
}

/** Change what was shown as `head`: nobody's change of the same is overwritten unseen. */
async function change(list, head, wanted) {
  const now = headOf(head.id);
  const { version } = Object.keys(wanted).every((name) => now[name] === head[name]) ? now : head;
  try {
    await conversations.change(head.id, { version, ...wanted });
  } catch (error) {
    toast(error.status === 409 ? "list.stale" : "list.not_changed", { bad: true });
  }
  list.changed(head.id);
}

async function remove(list, head) {
  const link = list.rowOf(head.id)?.firstElementChild;
  const links = [...byId("conversations").querySelectorAll("a")];
  const at = links.indexOf(link);
  const wasOpen = link?.hasAttribute("aria-current");
  try {
    await conversations.remove(head.id);
  } catch {
    return toast("list.not_changed", { bad: true });
  }
  (links[at + 1] ?? links[at - 1] ?? byId("new-chat")).focus();
  toast("list.was_deleted", { params: { title: head.title }, undo: () => restore(list, head, wasOpen) });
  list.tell("gone", head.id);
  list.changed(head.id);
}

/** Bring back a conversation, or a message of one, and show it unless something else is looked at. */
export async function restore(list, head, show = true) {
  const id = head.conversation_id ?? head.id;
  try {
    await (id === head.id ? conversations.restore(id) : conversations.restoreMessage(id, head.id));
  } catch {
    return toast("list.not_changed", { bad: true });
  }
  list.showDeleted(false);
  list.changed(id);
  if (show) list.tell("open", id);
}
