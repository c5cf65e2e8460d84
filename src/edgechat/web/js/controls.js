// Buttons, the one menu, the toasts.

import { byId, h, icon } from "./dom.js";
import { put, putLabel } from "./i18n.js";

const TOAST = 10_000; // ms

/** A button that shows only an icon. */
export function iconButton(image, key, onClick, kind = "icon-button") {
  const node = putLabel(h("button", { type: "button", class: kind }, icon(image)), key);
  node.addEventListener("click", onClick);
  return node;
}

/** A button with an icon (or null) and words. */
export function textButton(image, key, onClick, kind = "button", params) {
  const words = put(h("span"), key, params);
  const node = h("button", { type: "button", class: kind }, ...(image ? [icon(image), words] : [words]));
  node.addEventListener("click", onClick);
  return node;
}

/** Open the menu at `anchor`. `items`: [icon, key, action], of which null ones are left out. */
export function openMenu(anchor, items) {
  const menu = byId("menu");
  const choose = (action) => () => {
    menu.hidePopover();
    action();
  };
  menu.replaceChildren(
    ...items.filter(Boolean).map(([image, key, action]) => textButton(image, key, choose(action), "menu-item")),
  );
  (anchor.closest("dialog") ?? byId("app")).append(menu); // outside a modal dialog nothing can be pressed
  menu.showPopover();
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + 4 + height <= innerHeight;
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - 4 - height)}px`;
  anchor.setAttribute("aria-expanded", "true");
  menu.addEventListener("toggle", () => anchor.setAttribute("aria-expanded", "false"), { once: true });
  menu.firstElementChild?.focus();
}

/** Arrow keys walk through the menu. */
export function walkMenu(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const items = [...event.currentTarget.children];
  items.at((items.indexOf(document.activeElement) + step) % items.length)?.focus();
}

/**
 * A message that goes after ten seconds, not while it is pointed at or holds the focus. `undo` gets a button,
 * and so does an `action`: its words and what it does; `bad` stays until it is closed.
 */
export function toast(key, { params, undo, action, bad = false } = {}) {
  const node = h("div", { class: bad ? "toast bad" : "toast", role: bad ? "alert" : "status" }, put(h("p"), key, params));
  let timer = 0;
  const close = () => (clearTimeout(timer), node.remove());
  const wait = () => !bad && (timer = setTimeout(close, TOAST));
  if (undo) node.append(textButton("undo", "action.undo", () => (close(), undo())));
  if (action) node.append(textButton(null, action[0], () => (close(), action[1]())));
  node.append(iconButton("close", "action.close", close));
  for (const enter of ["mouseenter", "focusin"]) node.addEventListener(enter, () => clearTimeout(timer));
  for (const leave of ["mouseleave", "focusout"]) node.addEventListener(leave, wait);
  const modal = [...document.querySelectorAll("dialog:modal")].at(-1);
  const within = modal && (modal.querySelector(":scope > .toasts") ?? modal.appendChild(h("div", { class: "toasts" })));
  (within ?? byId("toasts")).append(node); // outside a modal dialog nothing can be pressed
  wait();
  return close;
}
