// The frame around the views: who is signed in, where one is, and what every view can rely on.

import { Problem, Unreachable, api, connection, signIn } from "./api.js";
import { failure, notice, waiting } from "./components/notices.js";
import { el, say } from "./dom.js";
import { everywhere, ofThisView, showHelp } from "./keys.js";
import { address, go, whereabouts } from "./router.js";
import { session } from "./session.js";
import { VIEWS } from "./views/index.js";

const top = document.getElementById("top");
const main = document.getElementById("main");
const THEMES = { "": "system", light: "light", dark: "dark" };
let leaving = null;

async function start() {
  try {
    session.open(await api.get("/api/v1/session"), whereabouts().query.get("workspace"));
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return askForToken();
    connection.addEventListener("back", start, { once: true });
    return main.replaceChildren(failure(error, start));
  }
  await show();
  requestIdleCallback(fetchOtherViews);
}

/** Once the first view stands, so that going to another one waits for nothing but its numbers. */
function fetchOtherViews() {
  for (const view of Object.values(VIEWS)) view.load().catch(() => {}); // it is fetched again, and told of, when it is shown
}

function askForToken(message) {
  leave();
  session.close();
  drawTop();
  document.title = "Sign in · Quartermaster";
  const token = el("input", { type: "password", id: "token", name: "token", autocomplete: "off", required: true, placeholder: "qm_…", spellcheck: "false" });
  const said = el("p", { class: "bad", role: "alert" }, message);
  const form = el("form", { class: "sign-in" },
    el("h1", {}, "Sign in"),
    el("p", {}, "Open the link that ", el("code", {}, "quartermaster serve"), " has printed, or paste a token. The first one is in the file ", el("code", {}, "token"), " of the home folder; ", el("code", {}, "quartermaster token create"), " makes more."),
    el("label", { for: "token" }, "Token"), token, said,
    el("button", { class: "primary" }, "Sign in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "";
    try {
      session.open(await signIn(token.value.trim()), whereabouts().query.get("workspace"));
      await show();
    } catch (error) {
      said.textContent = error.status === 401 ? "This token is not valid: it may have been revoked, or it has expired." : error.message;
      token.select();
    }
  });
  main.replaceChildren(form);
  token.focus();
}

function leave() {
  leaving?.abort();
  leaving = null;
  ofThisView({});
}

async function show() {
  if (!session.user) return;
  leave();
  const here = whereabouts();
  const named = here.query.get("workspace");
  session.choose(named);
  drawTop(here.view);
  if (!session.workspace) {
    const text = named ? `You are not a member of the workspace “${named}”, or there is none of that name.` : "You are not a member of any workspace yet; ask its owner to add you.";
    return main.replaceChildren(failure({ error: "No workspace", detail: text }));
  }
  const view = VIEWS[here.view];
  if (!view) {
    return main.replaceChildren(failure({ error: "There is no such page", detail: "Choose one above." }));
  }
  leaving = new AbortController();
  const { signal } = leaving;
  const slow = setTimeout(() => signal.aborted || main.replaceChildren(waiting()), 150);
  try {
    const module = await view.load();
    if (signal.aborted) return;
    clearTimeout(slow);
    document.title = `${view.title} · Quartermaster`;
    main.className = `view-${here.view}`;
    const root = el("div", { class: "view" });
    main.replaceChildren(root);
    await module.show(root, { ...here, signal });
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    const outdated = error instanceof TypeError && /import|module/i.test(error.message);
    const told = outdated ? { error: "Quartermaster was updated", detail: "Load this page again to go on." } : error;
    main.replaceChildren(failure(told, outdated ? () => location.reload() : show));
    if (error instanceof Unreachable) connection.addEventListener("back", show, { once: true, signal });
    else if (!(error instanceof Problem) && !outdated) throw error;
  } finally {
    clearTimeout(slow);
  }
}

function drawTop(here) {
  const links = session.user
    ? Object.entries(VIEWS).filter(([, one]) => one.inMenu).map(([name, one]) =>
        el("a", { href: address(name), "aria-current": name === here || one.alsoFor?.includes(here) ? "page" : null }, one.title))
    : [];
  top.replaceChildren(
    el("a", { class: "brand", href: address("missions") }, "Quartermaster"),
    el("nav", { "aria-label": "Pages" }, links),
    el("div", { class: "corner" },
      session.workspaces.length > 1 ? workspaceChoice() : null,
      themeChoice(),
      session.user && el("button", { type: "button", class: "quiet", "aria-label": "Keys", title: "Keys (?)", onclick: showHelp }, "?"),
      session.user && el("button", { type: "button", class: "quiet", title: `Signed in as ${session.user}${session.workspace ? `, ${session.workspace.role}` : ""}`, onclick: signOut }, "Sign out")));
  const current = top.querySelector("nav [aria-current]");
  if (current) current.parentNode.scrollLeft = current.offsetLeft - current.parentNode.offsetLeft - 40;
}

function workspaceChoice() {
  const choice = el("select", { "aria-label": "Workspace" },
    session.workspaces.map((one) => el("option", { value: one.slug, selected: one === session.workspace }, one.slug)));
  choice.addEventListener("change", () => {
    session.choose(choice.value);
    go(address("missions"));
  });
  return choice;
}

function themeChoice() {
  const current = document.documentElement.dataset.theme ?? "";
  const choice = el("select", { "aria-label": "Theme", class: "theme" },
    Object.entries(THEMES).map(([value, text]) => el("option", { value, selected: value === current }, text)));
  choice.addEventListener("change", () => {
    if (choice.value) document.documentElement.dataset.theme = choice.value;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem("quartermaster.theme", choice.value);
    } catch {
      // it holds until the page is left
    }
    window.dispatchEvent(new Event("theme"));
  });
  return choice;
}

async function signOut() {
  try {
    await api.delete("/api/v1/session");
    askForToken();
  } catch (error) {
    notice(error.message, "bad");
  }
}

everywhere({
  "?": ["Show the keys", showHelp],
  g: ["Go to the missions", () => go(address("missions"))],
});
session.addEventListener("refused", () => {
  if (session.user) askForToken("The session has ended. Sign in again.");
});
// What a click or a key has asked for, and was refused: nobody else tells it.
window.addEventListener("unhandledrejection", (event) => {
  const { reason } = event;
  const isRefused = reason instanceof Problem;
  if (isRefused && reason.status !== 401) notice(reason.message, "bad");
  if (isRefused || reason instanceof Unreachable || reason?.name === "AbortError") event.preventDefault();
});
window.addEventListener("hashchange", async () => {
  await show();
  if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });
  say(document.title);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
start();
