// The settings dialog: looks, how answers are made (with the server's defaults beside), system prompt, data.

import { conversations, logout, presets, status, who } from "./api.js";
import { iconButton, textButton, toast } from "./controls.js";
import { openDialog, section } from "./dialog.js";
import { h } from "./dom.js";
import { current, LANGUAGES, put, putLabel, t } from "./i18n.js";
import * as preferences from "./preferences.js";

const MOST_NAMED = 20; // entries of a file that did not come in
const NAMES = { en: "English", "zh-CN": "简体中文" };
// name, smallest, largest, step; the first three are shown, the others folded.
const PARAMS = [
  ["temperature", 0, 2, 0.1],
  ["top_p", 0.01, 1, 0.01],
  ["max_tokens", 1, 131072, 1],
  ["context", 256, 131072, 1],
  ["top_k", 0, 1000, 1],
  ["repetition_penalty", 0.1, 10, 0.05],
  ["seed", 0, 2147483647, 1],
];
const SHOWN = 3;

let ids = 0;

/** `switchLanguage(tag)`, `onImport()`, `onDeleted()`. */
export function showSettings(actions) {
  const form = h("form", { class: "settings", novalidate: "" });
  form.addEventListener("submit", (e) => e.preventDefault());
  form.append(looks(actions), answers(everywhere), section("settings.system", put(h("p", { class: "default" }), "settings.system_note"), ...system(everywhere)), data(actions));
  openDialog("settings.title", form);
  who().then(({ name }) => name && form.append(key(name)), () => {});
}

/** What one conversation has of its own: the same as for all of them, kept with it when the dialog closes. */
export function showOwnSettings(chat) {
  const { thread } = chat;
  const own = { ...thread.settings };
  const before = JSON.stringify(own);
  const kept = {
    read: (name) => own[name] ?? null,
    write: (name, value) => (value === null ? delete own[name] : (own[name] = value)),
  };
  const form = h("form", { class: "settings", novalidate: "" });
  form.addEventListener("submit", (e) => e.preventDefault());
  form.append(section("settings.system", ...system(kept)), answers(kept));
  const keep = () => thread === chat.thread && JSON.stringify(own) !== before && chat.keep(own);
  openDialog("own.title", form).addEventListener("close", keep, { once: true });
}

/** Where the settings of all conversations are kept: in this browser. */
const everywhere = {
  read: (name) => preferences.params()[name] ?? null,
  write(name, value) {
    if (name === "system") return preferences.write("system", value);
    const { [name]: _, ...others } = preferences.read("params") ?? {};
    const params = value === null ? others : { ...others, [name]: value };
    preferences.write("params", Object.keys(params).length ? params : null);
  },
};

function looks({ switchLanguage }) {
  const remember = (name) => (value) => {
    preferences.write(name, value === "auto" ? null : value);
    preferences.applyLooks();
  };
  const languages = LANGUAGES.map((tag) => [tag, NAMES[tag]]);
  return section(
    "settings.looks",
    choice("settings.language", languages, current(), switchLanguage),
    choice("settings.theme", named("theme", ["auto", "light", "dark"]), preferences.read("theme") ?? "auto", remember("theme")),
    choice("settings.size", named("size", ["auto", "large", "larger"]), preferences.read("size") ?? "auto", remember("size")),
    choice("settings.send", [["auto", "Enter"], ["ctrl", "Ctrl+Enter"]], preferences.read("send") ?? "auto", remember("send")),
  );
}

/** The key that one came in with, and the way out: to another one, or to none. */
function key(name) {
  const leave = () => logout().then(() => location.reload(), () => toast("list.not_changed", { bad: true }));
  return section("login.key", put(h("p", { class: "default" }), "login.as", { name }), textButton(null, "login.leave", leave));
}

const named = (kind, values) => values.map((value) => [value, `settings.${kind}.${value}`]);

function choice(key, options, value, onChange) {
  const select = h("select");
  for (const [name, words] of options) {
    const option = h("option", { value: name });
    if (words.startsWith("settings.")) put(option, words);
    else option.append(words);
    select.append(option);
  }
  select.value = value;
  select.addEventListener("change", () => onChange(select.value));
  return field(key, select);
}

/** A line with a label, a control, and whatever else belongs there. */
function field(key, control, ...more) {
  control.id = `field-${(ids += 1)}`;
  return h("div", { class: "field" }, put(h("label", { for: control.id }), key), control, ...more);
}

// ── answers ──

/** The fields stand at once; the server's defaults come beside them when it answers, and change nothing that is typed. */
function answers(kept) {
  const asked = status().then(({ defaults }) => defaults ?? {}, () => ({}));
  const fields = PARAMS.map((param) => number(param, asked, kept));
  const folded = h("details", {}, put(h("summary"), "settings.more"), ...fields.slice(SHOWN), stops(kept));
  const whole = section("settings.answers", ...fields.slice(0, SHOWN), folded);
  whole.classList.add("answers");
  return whole;
}

function number([name, min, max, step], asked, kept) {
  const input = h("input", { type: "number", min, max, step, inputmode: "decimal" });
  const note = h("span", { class: "default" });
  asked.then(({ [name]: usual = null }) => {
    if (usual === null) return;
    put(note, "settings.default", { value: usual });
    input.placeholder = usual;
  });
  const wrong = put(h("span", { class: "default warning", role: "alert" }), "settings.wrong", { min: String(min), max: String(max) });
  wrong.hidden = true;
  const reset = iconButton("undo", "settings.reset", () => {
    input.value = "";
    keep();
    input.focus();
  });
  const keep = () => {
    const isGood = input.value === "" ? !input.validity.badInput : input.validity.valid || input.validity.stepMismatch;
    input.setAttribute("aria-invalid", String(!isGood));
    wrong.hidden = isGood;
    reset.hidden = input.value === "";
    if (isGood) kept.write(name, input.value === "" ? null : Number(input.value));
  };
  input.value = kept.read(name) ?? "";
  reset.hidden = input.value === "";
  input.addEventListener("input", keep);
  return field(`settings.${name}`, input, reset, wrong, note);
}

function stops(kept) {
  const input = h("input", { type: "text", autocomplete: "off" });
  input.value = (kept.read("stop") ?? []).join(", ");
  input.addEventListener("input", () => {
    const words = input.value.split(/[,\uff0c\u3001]/).map((word) => word.trim()).filter(Boolean).slice(0, 4);
    kept.write("stop", words.length ? words : null);
  });
  return field("settings.stop", input, put(h("span", { class: "default" }), "settings.stop_note"));
}

// ── system prompt ──

function system(kept) {
  const text = h("textarea", { rows: "3", class: "system", dir: "auto" });
  putLabel(text, "settings.system");
  text.value = kept.read("system") ?? "";
  const keep = () => kept.write("system", text.value.trim() || null);
  text.addEventListener("input", keep);
  const row = h("div", { class: "row" });
  const use = (value) => {
    text.value = value;
    keep();
  };
  list(row, text, use).catch(() => row.replaceChildren());
  return [text, row];
}

/** The kept prompts: choose one, keep the present one under a name, forget the chosen one. */
async function list(row, text, use) {
  const kept = await presets.get();
  const select = putLabel(h("select"), "presets.choose");
  select.append(put(h("option", { value: "" }), "presets.choose"));
  for (const [at, { name }] of kept.presets.entries()) select.append(h("option", { value: at }, name));
  const save = async (all) => {
    try {
      await presets.put({ ...kept, presets: all });
    } catch {
      toast("list.not_changed", { bad: true });
    }
    await list(row, text, use);
  };
  const name = putLabel(h("input", { type: "text", dir: "auto", maxlength: "60" }), "presets.name");
  name.placeholder = t((name.dataset.i18nPlaceholder = "presets.name"));
  const add = textButton("plus", "presets.save", () => {
    const title = name.value.trim();
    if (!title || !text.value.trim()) return (title ? text : name).focus();
    const others = kept.presets.filter((preset) => preset.name !== title);
    save([...others, { name: title, text: text.value.trim() }]);
  });
  const forget = iconButton("trash", "presets.delete", () => save(kept.presets.filter((_, at) => String(at) !== select.value)));
  forget.hidden = true;
  select.addEventListener("change", () => {
    const chosen = kept.presets[select.value];
    forget.hidden = !chosen;
    if (chosen) use((name.value = chosen.name) && chosen.text);
  });
  row.replaceChildren(select, forget, name, add);
}

// ── data ──

function data({ onImport, onDeleted }) {
  const download = (format) => h("a", { class: "button", href: conversations.exported(format), download: "" }, put(h("span"), `data.export_${format}`));
  const file = putLabel(h("input", { type: "file", accept: ".json,.zip,application/json,application/zip", multiple: "", class: "sr", tabindex: "-1" }), "data.import");
  const report = h("div", { class: "report", role: "status" });
  file.addEventListener("change", async () => {
    await load([...file.files], report);
    file.value = "";
    onImport();
  });
  const row = h("div", { class: "row" }, download("json"), download("md"), textButton("up", "data.import", () => file.click()), file);
  return section("settings.data", put(h("p", { class: "default" }), "data.note"), row, report, ...removal(onDeleted));
}

/** Every file that can be read; what came of it, what did not and why stands in `report`. */
async function load(files, report) {
  report.replaceChildren();
  report.className = "report";
  const { importFile } = await import("./import.js");
  for (const file of files) {
    try {
      report.append(...told(await importFile(file)));
    } catch (error) {
      const key = error instanceof SyntaxError ? "data.no_json" : "data.not_imported";
      report.classList.add("bad");
      report.append(put(h("p", { class: "bad", role: "alert" }), key, { name: file.name, why: error.message }));
    }
  }
}

function told({ imported, skipped, left_out: out, without }) {
  const lines = [put(h("p"), "data.imported", { n: imported })];
  if (skipped) lines.push(put(h("p"), "data.skipped", { n: skipped }));
  for (const [kind, n] of Object.entries(without)) lines.push(put(h("p"), `data.without_${kind}`, { n }));
  if (!out.length) return lines;
  const items = out.slice(0, MOST_NAMED).map(({ place, title, why }) => put(h("li"), `data.why_${why}`, { name: title || place }));
  return [...lines, put(h("p"), "data.left_out", { n: out.length }), h("ul", {}, ...items)];
}

/** Everything goes only if the word is typed. */
function removal(onDeleted) {
  const word = h("input", { type: "text", autocomplete: "off", class: "word" });
  const button = textButton("trash", "data.delete_all", async () => {
    try {
      await conversations.removeAll();
    } catch {
      return toast("list.not_changed", { bad: true });
    }
    word.value = "";
    button.disabled = true;
    toast("data.deleted_all");
    onDeleted();
  }, "button danger");
  button.disabled = true;
  word.addEventListener("input", () => (button.disabled = word.value.trim() !== t("data.word")));
  return [field("data.type_word", word, button)];
}
