// The page: its parts, and what connects them. The conversation itself (chat.js, with markdown and all) is loaded when
// there is one to show.

import { ApiError, conversations, door, headOf, news } from "./api.js";
import { Attach } from "./attach.js";
import { Composer } from "./composer.js";
import { toast, walkMenu } from "./controls.js";
import { byId, h, sheet } from "./dom.js";
import * as i18n from "./i18n.js";
import * as keys from "./keys.js";
import * as preferences from "./preferences.js";
import { Readiness } from "./readiness.js";
import { Follower } from "./scroll.js";
import { Sidebar } from "./sidebar.js";
import { Status } from "./status.js";

const EXAMPLES = ["example.1", "example.2", "example.3", "example.4"];
const wide = matchMedia("(min-width: 64rem)");

const readiness = new Readiness();
let status, follower, composer, sidebar, attach;
let chat = null; // once it was needed
let loading = null;
let opened = 0; // the newest wish to see a conversation: answers to older ones are thrown away

/** The open conversation's code, loaded at its first use. */
function room() {
  loading ??= Promise.all([import("./chat.js"), sheet("messages")]).then(([{ Chat }]) => {
    chat = new Chat({ follower, status, readiness });
    chat.addEventListener("state", () => (composer.busy = chat.busy));
    chat.addEventListener("shown", () => (showEmpty(), showOwn()));
    chat.addEventListener("stored", ({ detail }) => stored(detail));
    chat.addEventListener("finished", ({ detail }) => finished(detail));
    chat.addEventListener("gone", () => (toast("chat.gone"), open(null, { focus: false })));
    chat.addEventListener("models", models);
    chat.addEventListener("typing", () => composer.focus());
    chat.addEventListener("back", ({ detail }) => back(detail));
    chat.addEventListener("over", async ({ detail }) => {
      await newChat();
      back(detail);
    });
    return chat;
  });
  loading.catch(() => {
    loading = null;
    readiness.check(); // the code comes from the server: it is gone, or another version
  });
  return loading;
}

async function ask(text, held) {
  try {
    await room();
    if (chat.busy) composer.send(text, held); // an answer was begun while this waited for the code
    else chat.ask(text, undefined, held);
  } catch (error) {
    back({ content: text, attachments: held });
    throw error;
  }
}

/** A question that was not asked, back where it was typed. */
function back({ content, attachments }) {
  composer.text = content;
  attach.hold(attachments ?? []);
}

function stored({ id, isNew }) {
  if (isNew) {
    history.pushState(null, "", address(id));
    composer.named(id);
    sidebar.open = id;
  }
  sidebar.touched(id);
}

function finished(end) {
  composer.next(end.status === "complete");
  if (chat.id) sidebar.touched(chat.id);
}

/** Show a conversation, or with null an empty one. */
async function open(id, { push = true, focus = true, find = "" } = {}) {
  byId("sheet").close();
  const wish = (opened += 1);
  try {
    const [found] = id ? await Promise.all([conversations.get(id), room()]) : [];
    if (wish !== opened) return;
    if (found?.deleted) throw new ApiError("gone", "", { status: 404 });
    if (found) chat.open(found, find);
    else chat?.close();
  } catch (error) {
    if (wish !== opened) return;
    const isGone = error.status === 404;
    toast(isGone ? "chat.gone" : "chat.not_opened", { bad: !isGone });
    if (isGone && !chat?.id) history.replaceState(null, "", address(null));
    return;
  }
  if (push) history.pushState(null, "", address(id));
  composer.open(id);
  sidebar.open = id;
  showEmpty();
  showTitle();
  if (focus) composer.focus();
}

/** Let the model sum up what will not fit much longer, and take that into a new conversation. */
async function sumUp() {
  const end = await chat.ask(i18n.t("context.summarize"));
  if (end?.status !== "complete" || chat.busy) return;
  const text = chat.thread.path().at(-1).content;
  await newChat();
  composer.attach(i18n.t("context.summary", { text }));
}

const newChat = () => open(null, { push: Boolean(chat?.id) });

const address = (id) => (id ? `?c=${encodeURIComponent(id)}` : location.pathname);
const asked = () => new URLSearchParams(location.search).get("c");

function showTitle() {
  const title = (chat?.id && headOf(chat.id)?.title) || "";
  byId("title").textContent = title || "edgechat";
  document.title = title ? `${title} · edgechat` : "edgechat";
}

function showEmpty() {
  const isEmpty = !chat?.thread.size;
  byId("empty").hidden = !isEmpty;
  byId("list").tabIndex = isEmpty ? -1 : 0;
}

/** What a setting is called: its label, without the explanation; one that has none goes by its name. */
const called = (name) => i18n.t(`settings.${name}`).replace(/^settings\./, "").split(/ ?[^ \p{L}\p{N}\p{Pd}]/u)[0];

/** What answers here are made with, beyond the model's defaults: the conversation's own first, the browser's else. */
function showOwn() {
  const { system, model, ...others } = { ...preferences.params(), ...chat?.thread.settings };
  const rest = Object.entries(others).map(([name, value]) => `${called(name)} ${value}`);
  const what = [system && i18n.t("own.system", { system }), ...rest].filter(Boolean).join(" · ");
  byId("own-text").textContent = what || i18n.t("own.title");
  byId("own").classList.toggle("some", Boolean(what));
}

/** Questions to begin with, in a language that the model speaks. */
async function showExamples() {
  const other = preferences.chosen() ?? readiness.now.model;
  const { languages = [] } = other === readiness.now.model ? readiness.now : {};
  const tag = i18n.LANGUAGES.find((known) => languages.includes(known.split("-")[0]));
  const speaks = !tag || languages.includes(i18n.current().split("-")[0]);
  const list = byId("examples");
  const shown = speaks ? i18n.current() : tag;
  if (list.lang === shown) return;
  list.lang = shown;
  const strings = speaks ? null : await i18n.stringsOf(tag).catch(() => null);
  if (list.lang !== shown) return;
  byId("speaks").hidden = speaks;
  const items = EXAMPLES.map((key) => {
    const text = strings?.[key] ?? i18n.t(key);
    const button = h("button", { type: "button", class: "button" }, text);
    button.addEventListener("click", () => ask(text));
    return h("li", {}, button);
  });
  list.replaceChildren(...items);
}

async function switchLanguage(tag) {
  try {
    await i18n.switchTo(tag);
    showExamples();
    showOwn();
    byId("language").lang = i18n.other();
  } finally {
    readiness.check(); // for its reasons in that language; without strings the server is gone, or another version
  }
}

async function settings() {
  byId("sheet").close();
  const [{ showSettings }] = await Promise.all([import("./settings.js"), sheet("dialogs")]);
  showSettings({ switchLanguage, onImport: () => sidebar.touched(), onDeleted: () => (newChat(), sidebar.touched()) });
}

async function own() {
  const [{ showOwnSettings }] = await Promise.all([import("./settings.js"), room(), sheet("dialogs")]);
  showOwnSettings(chat);
}

async function models() {
  const [{ showModels }] = await Promise.all([import("./models.js"), sheet("dialogs")]);
  showModels({ readiness });
}

async function help() {
  byId("sheet").close();
  const [{ showKeys }] = await Promise.all([import("./help.js"), sheet("dialogs")]);
  showKeys();
}

/** A key is needed: ask for it, then go on where we were. */
async function login() {
  if (byId("dialog").open) return;
  const [{ showLogin }] = await Promise.all([import("./login.js"), sheet("dialogs")]);
  showLogin(async () => {
    readiness.check();
    await sidebar.refresh();
    if (asked() && !chat?.id) open(asked(), { push: false });
  });
}

/** The sidebar is a column on wide screens and a sheet on others. */
function placeSidebar() {
  const sheet = byId("sheet");
  if (wide.matches) {
    sheet.close();
    byId("skip").after(byId("sidebar"));
  } else sheet.append(byId("sidebar"));
}

function toggleSidebar() {
  if (!wide.matches) {
    if (byId("sheet").open) return byId("sheet").close();
    byId("sheet").showModal();
    return void readiness.check(); // for what the list shows of the server
  }
  const isHidden = byId("app").classList.toggle("no-sidebar");
  preferences.write("no_sidebar", isHidden || null);
  byId("sidebar-toggle").setAttribute("aria-expanded", String(!isHidden));
}

function search() {
  if (!wide.matches && !byId("sheet").open) toggleSidebar();
  if (byId("app").classList.contains("no-sidebar") && wide.matches) toggleSidebar();
  sidebar.focusSearch();
}

function rename() {
  if (!chat?.id) return;
  if (!wide.matches && !byId("sheet").open) toggleSidebar();
  if (byId("app").classList.contains("no-sidebar") && wide.matches) toggleSidebar();
  sidebar.rename(chat.id);
}

/** Safari lays its keyboard over the page instead of resizing it. */
function followKeyboard() {
  const view = window.visualViewport;
  view?.addEventListener("resize", () => {
    const covered = view.scale === 1 ? Math.max(0, window.innerHeight - view.height - view.offsetTop) : 0;
    document.documentElement.style.setProperty("--kb", `${covered}px`);
  });
}

function connect() {
  const click = (id, action) => byId(id).addEventListener("click", action);
  for (const id of ["new-chat", "bar-new-chat"]) click(id, newChat);
  click("skip", (e) => (e.preventDefault(), byId("input").focus()));
  click("context-new", sumUp);
  click("language", () => switchLanguage(i18n.other()));
  click("settings", settings);
  click("help", help);
  click("own", own);
  for (const id of ["model", "notice-models"]) click(id, models);
  click("sidebar-toggle", toggleSidebar);
  click("sheet-close", () => byId("sheet").close());
  click("dialog-close", () => byId("dialog").close());
  for (const id of ["sheet", "dialog"]) {
    byId(id).addEventListener("click", (e) => e.target === e.currentTarget && e.currentTarget.close()); // beside it
    byId(id).addEventListener("close", (e) => byId("toasts").append(...e.currentTarget.querySelectorAll(".toast")));
  }
  byId("dialog").addEventListener("close", showOwn); // what all conversations have may be another by now
  byId("menu").addEventListener("keydown", walkMenu);
  sidebar.addEventListener("open", ({ detail: { id, find } }) => open(id, { find }));
  sidebar.addEventListener("gone", ({ detail: { id } }) => id === chat?.id && open(null, { focus: false }));
  sidebar.addEventListener("changed", ({ detail: { id } }) => (!id || id === chat?.id) && chat?.refresh());
  news.addEventListener("news", showTitle);
  readiness.addEventListener("change", showExamples);
  door.addEventListener("locked", login);
  addEventListener("beforeprint", () => (document.documentElement.dataset.theme = "light")); // paper is
  addEventListener("afterprint", preferences.applyLooks);
  addEventListener("popstate", () => open(asked(), { push: false }));
  wide.addEventListener("change", placeSidebar);
  const walk = (by) => () => chat?.walk(by);
  const actions = {
    search, rename, settings, new_chat: newChat, sidebar: toggleSidebar, composer: () => byId("input").focus(),
    previous: walk(-1), next: walk(1), help,
  };
  keys.listen(actions, () => chat?.busy && chat.stop());
}

async function start() {
  preferences.applyLooks();
  await i18n.start();
  follower = new Follower(byId("list"), byId("to-end"));
  status = new Status(readiness);
  sidebar = new Sidebar(readiness);
  composer = new Composer({ onSend: ask, onStop: () => chat?.stop(), onUp: () => chat?.editLast() });
  attach = new Attach({ readiness, composer, onModels: models });
  byId("app").classList.toggle("no-sidebar", Boolean(preferences.read("no_sidebar")));
  byId("language").lang = i18n.other();
  placeSidebar();
  connect();
  showExamples();
  showOwn();
  followKeyboard();
  byId("app").hidden = false;
  composer.open(null);
  composer.focus();
  performance.mark("ready");
  readiness.start();
  await sidebar.refresh();
  import("./panel.js").then(({ showPanel }) => showPanel(readiness)).catch(() => {});
  if (asked()) await open(asked(), { push: false });
}

start();
