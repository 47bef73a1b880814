// One entry on demand: what it was asked, what came back, and the whole of it as it was recorded.

import { Problem, Unreachable, api, connection, part } from "../api.js";
import { kindSign } from "../components/parts.js";
import { failure, waiting } from "../components/notices.js";
import { copyButton, el, visible } from "../dom.js";
import { UNKNOWN, count, dollars, duration, words } from "../format.js";

const SHOWN = 20_000;
const TOLD = new Set(["arguments", "args", "input", "output", "result", "error", "text", "command"]);

/** A long text in a box of its own, cut where it is very long until somebody wants it all. */
function textBox(title, value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const box = el("pre", { tabindex: "0", "aria-label": title }, visible(text.slice(0, SHOWN)));
  const rest = text.length > SHOWN && el("button", { type: "button", onclick: () => { box.textContent = visible(text); rest.remove(); } }, `Show all ${count(text.length)} characters`);
  return el("section", { class: "text-box" }, el("div", { class: "bar" }, el("h3", {}, title), el("span", { class: "grow" }), copyButton(text)), box, rest);
}

/** Fills `panel` with the row; what comes too late, because another row was chosen, is dropped. */
export async function showEntry(panel, steps, row, signal) {
  const id = steps.entry_id[row];
  const number = steps.step[row] === null ? "Entry" : `Step ${count(steps.step[row] + 1)}`;
  const found = steps.findings.get(row) ?? [];
  const facts = [
    ["Type", steps.type(row)],
    ["Agent", steps.agent(row) ?? UNKNOWN],
    ["At", steps.clock === "time" ? `${new Date(Date.parse(steps.started_at) + steps.at_ms[row]).toISOString().replace("T", " ").replace("Z", " UTC")}` : "not recorded"],
    ["Took", duration(steps.duration_ms[row])],
    ["Outcome", steps.success[row] === null ? UNKNOWN : steps.success[row] ? "succeeded" : "failed"],
    ...(steps.kind(row) === "m" ? [["Context", `${count(steps.context_tokens[row])} tokens`], ["Tokens", count(steps.tokens[row])], ["Cost", steps.cost_usd[row] === null ? "not recorded" : dollars(steps.cost_usd[row])]] : []),
  ];
  const body = el("div", {}, waiting());
  panel.replaceChildren(
    el("div", { class: "bar" }, kindSign(steps.kind(row)), el("h2", {}, number), el("span", { class: "grow" }), copyButton(id, "Copy id")),
    el("p", { class: "mono wrap" }, visible(steps.label(row))),
    ...found.map((one) => el("p", { class: `finding ${one.severity}` }, el("strong", {}, words(one.name)), ": ", visible(one.reason))),
    el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { class: value === UNKNOWN ? "unknown" : null }, visible(value))))),
    body);
  try {
    const ids = [id, steps.ended_by[row]].filter(Boolean);
    const entries = await Promise.all(ids.map((one) => api.get(`/api/v1/journal/${part(one)}`, {}, signal)));
    if (panel.row !== row) return;
    body.replaceChildren(...boxes(entries), ...entries.map((entry, index) => raw(entry, index === 0 ? "Entry as it was recorded" : "Its end as it was recorded")));
  } catch (error) {
    if (error.name === "AbortError" || panel.row !== row) return;
    const again = () => { if (panel.row === row) showEntry(panel, steps, row, signal); };
    if (error instanceof Unreachable) connection.addEventListener("back", again, { once: true, signal });
    body.replaceChildren(failure(error, error instanceof Problem ? null : again));
  }
}

function boxes(entries) {
  const shown = [];
  const seen = new Set();
  for (const entry of entries) {
    const payload = entry.payload ?? {};
    for (const name of Object.keys(payload)) {
      const value = payload[name];
      if (!TOLD.has(name) || value === null || value === "" || seen.has(`${name}:${JSON.stringify(value)}`)) continue;
      seen.add(`${name}:${JSON.stringify(value)}`);
      shown.push([name, value]);
    }
  }
  const order = ["command", "text", "arguments", "args", "input", "error", "output", "result"];
  shown.sort((one, other) => order.indexOf(one[0]) - order.indexOf(other[0]));
  return shown.map(([name, value]) => textBox(words(name), value));
}

function raw(entry, title) {
  const box = el("details", {}, el("summary", {}, title));
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(textBox("JSON", entry)); });
  return box;
}
