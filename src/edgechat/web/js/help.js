// The list of shortcuts.

import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { put } from "./i18n.js";
import { BINDINGS, capsOf } from "./keys.js";

// Handled where the focus is: in the composer, in a message, in what is open.
const OTHERS = [
  ["Enter", "composer.send"],
  ["Shift+Enter", "keys.newline"],
  ["↑", "keys.edit_last"],
  ["Esc", "keys.stop"],
];

/** Show all shortcuts. */
export function showKeys() {
  const rows = [...OTHERS, ...BINDINGS.map(([combination, , key]) => [combination, key])].map(([combination, key]) => {
    const caps = capsOf(combination).map((cap) => h("kbd", {}, cap));
    return h("div", {}, put(h("dt"), key), h("dd", {}, ...caps));
  });
  openDialog("keys.title", h("dl", { class: "keys" }, ...rows));
}
