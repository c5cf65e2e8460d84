// Shortcuts, and the list of them. No single letters: those belong to whoever dictates (WCAG 2.1.4).

const APPLE = /Mac|iP(hone|ad)/.test(navigator.platform);
const CAPS = APPLE ? { Ctrl: "⌘", Alt: "⌥", Shift: "⇧" } : {};

/** [combination, action, what it does] */
export const BINDINGS = [
  ["Ctrl+K", "search", "search.label"],
  ["Ctrl+Shift+O", "new_chat", "chat.new"],
  ["Ctrl+B", "sidebar", "sidebar.toggle"],
  ["Ctrl+Shift+L", "composer", "keys.composer"],
  ["Alt+↑", "previous", "keys.previous"],
  ["Alt+↓", "next", "keys.next"],
  ["Ctrl+Shift+E", "rename", "list.rename"],
  ["Ctrl+,", "settings", "settings.title"],
  ["Ctrl+/", "help", "keys.title"],
];

/** The caps of a combination, as they are printed on this machine's keys. */
export const capsOf = (combination) => combination.split("+").map((cap) => CAPS[cap] ?? cap);

/** `actions`: name -> function, for every name in `BINDINGS`; `onEscape` is tried when nothing is open. */
export function listen(actions, onEscape) {
  addEventListener("keydown", keepForInputMethods, { capture: true });
  document.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && !document.querySelector("dialog:modal, :popover-open")) return onEscape(e);
    const binding = BINDINGS.find(([combination]) => matches(e, combination));
    if (!binding) return;
    e.preventDefault();
    actions[binding[1]]();
  });
}

/**
 * A key with which an input method chooses characters is nobody else's, in any field. Safari ends the composition before
 * the key event, hence 229, and would send the field's form.
 */
function keepForInputMethods(e) {
  if (!e.isComposing && e.keyCode !== 229) return;
  e.stopPropagation();
  if (e.key === "Enter" && e.target.matches?.("input")) e.preventDefault();
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
