// What went wrong and what to do, a connection that is gone, work that goes on.

import { Unreachable, connection } from "../api.js";
import { el } from "../dom.js";

/** An error in its place: what happened, what to do, and a button to try again. */
export function failure(error, again) {
  return el("section", { class: "failure", role: "alert" },
    el("h2", {}, error.error ?? (error instanceof Unreachable ? "No connection" : "Something went wrong in this page")),
    el("p", {}, error.detail ?? error.message),
    again && el("button", { type: "button", onclick: again }, "Try again"));
}

/** "Loading…", said only when it takes long enough to be noticed. */
export const waiting = (text = "Loading…") => el("p", { class: "waiting", role: "status" }, text);

/** A short message at the top, gone by itself; `kind` is "good", "bad" or nothing. */
export function notice(text, kind = "") {
  const line = el("p", { class: `notice ${kind}` }, text,
    el("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => line.remove() }, "×"));
  document.getElementById("notices").append(line);
  if (kind !== "bad") setTimeout(() => line.remove(), 6000);
}

const lost = el("p", { class: "notice bad", id: "lost" }, "The connection to Quartermaster is lost. Trying again; nothing needs to be reloaded.");
connection.addEventListener("lost", () => document.getElementById("notices").append(lost));
connection.addEventListener("back", () => {
  lost.remove();
  notice("Connected again.", "good");
});
