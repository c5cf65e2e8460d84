// Shortcuts, and the list of them. No single letters: those belong to whoever dictates (WCAG 2.1.4).

import { openDialog } from "./controls.js";
import { h } from "./dom.js";
import { put } from "./i18n.js";

const APPLE = /Mac|iP(hone|ad)/.test(navigator.platform);
const SHOWN = APPLE ? { Ctrl: "⌘", Alt: "⌥", Shift: "⇧" } : {};

// Told, but handled where the focus is: in the composer.
const TOLD = [
  ["Enter", "keys.send"],
  ["Shift+Enter", "keys.newline"],
  ["↑", "keys.edit_last"],
];

/** `actions`: name -> function, for every name in `BINDINGS`; `onEscape` is tried when nothing is open. */
export function listen(actions, onEscape) {
  document.addEventListener("keydown", (e) => {
    if (e.isComposing || e.keyCode === 229) return;
    if (e.key === "Escape" && !document.querySelector("dialog:modal, :popover-open")) return onEscape(e);
    const binding = BINDINGS.find(([combination]) => matches(e, combination));
    if (!binding) return;
    e.preventDefault();
    actions[binding[1]]();
  });
}

const BINDINGS = [
  ["Ctrl+K", "search"],
  ["Ctrl+Shift+O", "new_chat"],
  ["Ctrl+B", "sidebar"],
  ["Ctrl+Shift+L", "composer"],
  ["Alt+↑", "previous"],
  ["Alt+↓", "next"],
  ["Ctrl+Shift+E", "rename"],
  ["Ctrl+,", "settings"],
  ["Ctrl+/", "help"],
];

/** Show all shortcuts. */
export function showKeys() {
  const rows = [...TOLD, ["Esc", "keys.stop"], ...BINDINGS.map(([keys, name]) => [keys, `keys.${name}`])];
  const list = h("dl", { class: "keys" });
  for (const [keys, key] of rows) {
    const caps = keys.split("+").map((cap) => h("kbd", {}, SHOWN[cap] ?? cap));
    list.append(h("div", {}, put(h("dt"), key), h("dd", {}, ...caps)));
  }
  openDialog("keys.title", list);
}

function matches(e, combination) {
  const parts = combination.split("+");
  const key = { "↑": "arrowup", "↓": "arrowdown" }[parts.at(-1)] ?? parts.at(-1).toLowerCase();
  const command = APPLE ? e.metaKey : e.ctrlKey;
  const others = APPLE ? e.ctrlKey : e.metaKey;
  const shift = parts.includes("Shift") || key === "/"; // where / needs the shift key
  return (
    e.key.toLowerCase() === key &&
    !others &&
    command === parts.includes("Ctrl") &&
    e.altKey === parts.includes("Alt") &&
    (e.shiftKey === parts.includes("Shift") || shift)
  );
}
