// Copying where the clipboard API is missing: a page on http://192.168.x.x is not a secure context.

import { iconButton, toast } from "./controls.js";
import { h, icon } from "./dom.js";
import { putLabel } from "./i18n.js";

const THANKS = 2_000; // ms

/** A button that copies what `text()` gives, and says so. */
export function copyButton(key, text) {
  let timer = 0;
  const show = (image, label) => {
    button.replaceChildren(icon(image));
    putLabel(button, label);
  };
  const button = iconButton("copy", key, async () => {
    if (!(await copy(text()))) return toast("copy.failed");
    show("check", "copy.done");
    clearTimeout(timer);
    timer = setTimeout(show, THANKS, "copy", key);
  });
  return button;
}

/** Put `text` on the clipboard; whether that worked. Call it from a click. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const area = h("textarea", { class: "sr", readonly: "", tabindex: "-1" });
  area.value = text;
  (focused?.closest("dialog") ?? document.body).append(area); // outside a modal dialog nothing can be selected
  area.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    area.remove();
    focused?.focus({ preventScroll: true });
  }
}
