// The keyboard: views say which keys they know, and `?` shows them.

import { el } from "./dom.js";

const EVERYWHERE = new Map();
let ofView = new Map();

/** Keys of the page itself: `everywhere({"?": ["Help", run]})`. */
export const everywhere = (keys) => Object.entries(keys).forEach(([key, said]) => EVERYWHERE.set(key, said));

/** Keys of the view that is shown; those of the view before are forgotten. */
export const ofThisView = (keys) => { ofView = new Map(Object.entries(keys)); };

const isWriting = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  if (isWriting(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const said = ofView.get(event.key) ?? EVERYWHERE.get(event.key);
  if (!said) return;
  event.preventDefault();
  said[1](event);
});

/** The dialog behind `?`. */
export function showHelp() {
  const rows = [...ofView, ...EVERYWHERE].filter(([, [text]]) => text);
  const dialog = el("dialog", { class: "help", "aria-label": "Keys" },
    el("h2", {}, "Keys"),
    el("dl", {}, rows.map(([key, [text]]) => [el("dt", {}, el("kbd", {}, key === " " ? "Space" : key)), el("dd", {}, text)])),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
