// The one dialog, and what stands in it.

import { byId, h } from "./dom.js";
import { put } from "./i18n.js";

/** Show `children` in the one dialog, under a heading. Gives the dialog. */
export function openDialog(key, ...children) {
  const dialog = byId("dialog");
  put(byId("dialog-title"), key);
  byId("dialog-body").replaceChildren(...children);
  if (!dialog.open) dialog.showModal();
  byId("dialog-body").scrollTop = 0;
  return dialog;
}

/** A section of a dialog: a heading and what belongs to it. */
export function section(key, ...children) {
  return h("section", { class: "section" }, put(h("h3"), key), ...children);
}
