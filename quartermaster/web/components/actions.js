// Buttons that change something: once at a time, asked for again where it cannot be taken back, refusals told.

import { el, say } from "../dom.js";
import { notice } from "./notices.js";

/** A button that calls `act`. With `asks` the first click only turns it into that question. */
export function action(label, act, { asks, name = label, ...properties } = {}) {
  const button = el("button", { type: "button", "aria-label": name, ...properties }, label);
  const turn = (asking) => {
    button.classList.toggle("danger", asking);
    button.textContent = asking ? asks : label;
    button.setAttribute("aria-label", asking ? asks : name);
  };
  const isAsking = () => button.classList.contains("danger");
  button.addEventListener("click", async () => {
    if (asks && !isAsking()) {
      turn(true);
      return say(asks);
    }
    button.disabled = true;
    await told(act);
    button.disabled = false;
    turn(false);
  });
  button.addEventListener("blur", () => turn(false));
  return button;
}

/** A form of one line: `act(fields)` with what was typed, cleared once that has worked. */
export function lineForm(label, fields, act) {
  const form = el("form", { class: "bar", "aria-label": label }, fields, el("button", {}, label));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const typed = Object.fromEntries([...new FormData(form)].map(([name, text]) => [name, text.trim()]));
    if (await told(() => act(typed))) form.reset();
  });
  return form;
}

/** Do it; whether it worked. Why it did not is told at the top. */
export async function told(act) {
  try {
    await act();
    return true;
  } catch (error) {
    if (error.name !== "AbortError") notice(error.message, "bad");
    return false;
  }
}
