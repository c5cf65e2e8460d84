// The way in, where the server asks for a key: one field, and the browser may remember what is in it.

import { door, login } from "./api.js";
import { openDialog } from "./dialog.js";
import { byId, h } from "./dom.js";
import { put } from "./i18n.js";

/** Ask for the key until it fits: without one there is nothing else to do. `onEnter()` follows the right one. */
export function showLogin(onEnter) {
  const field = h("input", { type: "password", id: "key", autocomplete: "current-password", required: "" });
  const wrong = h("p", { class: "report bad", role: "alert" });
  const form = h(
    "form",
    { class: "login" },
    put(h("p", { class: "default" }), "login.why"),
    put(h("label", { for: "key" }), "login.key"),
    field,
    wrong,
    put(h("button", { type: "submit", class: "button primary" }), "login.enter"),
  );
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    wrong.textContent = "";
    try {
      await login(field.value.trim());
    } catch (error) {
      put(wrong, error.status === 401 ? "login.wrong" : "error.unreachable");
      return field.select();
    }
    entered = true;
    byId("dialog").close();
    door.dispatchEvent(new Event("opened"));
    onEnter();
  });
  let entered = false;
  const again = () => entered || showLogin(onEnter);
  openDialog("login.title", form).addEventListener("close", again, { once: true });
  field.focus();
}
