// Small parts that several views show: outcomes, kinds of steps, strips, findings, costs.

import { el, svg } from "../dom.js";
import { UNKNOWN, count, dollars, plural, words } from "../format.js";

const OUTCOMES = {
  succeeded: ["✓", "good"],
  failed: ["✕", "bad"],
  aborted: ["■", "warn"],
  timed_out: ["◷", "warn"],
  limit_reached: ["▲", "warn"],
};

export const OUTCOME_NAMES = Object.keys(OUTCOMES);

/** How a mission ended, with a sign beside the colour; "unknown" where nobody says. */
export function outcome(name) {
  const [sign, kind] = OUTCOMES[name] ?? ["?", "unknown"];
  return el("span", { class: `badge ${kind}` }, el("span", { "aria-hidden": "true" }, sign), name ? words(name) : UNKNOWN);
}

/** Kinds of entries: [token of the colour, shape, what it is]. Shapes tell them apart without colours. */
export const KINDS = {
  m: ["kind-model", "circle", "model call"],
  t: ["kind-tool", "square", "tool"],
  g: ["kind-guard", "diamond", "guardrail or budget"],
  p: ["kind-person", "triangle", "people"],
  s: ["kind-status", "bar", "status"],
  o: ["kind-other", "dot", "other"],
};

/** The letter of KINDS for an entry type. */
export function kindOf(type) {
  if (type === "llm.call") return "m";
  if (type === "exec.command") return "t";
  if (type.startsWith("guardrail.") || type.startsWith("budget.") || type === "keeper.decision") return "g";
  if (type.startsWith("peer.") || type === "message.user" || type.startsWith("human")) return "p";
  if (type.startsWith("assignment.") || type.startsWith("mission.")) return "s";
  return "o";
}

const OUTLINES = {
  circle: "M6 1.5a4.5 4.5 0 1 0 .01 0z",
  square: "M2 2h8v8H2z",
  diamond: "M6 .5 11.5 6 6 11.5.5 6z",
  triangle: "M6 1 11 10.5H1z",
  bar: "M4 1h4v10H4z",
  dot: "M6 4a2 2 0 1 0 .01 0z",
};

/** The sign of a kind, 12 by 12. */
export function kindSign(letter) {
  const [, shape, text] = KINDS[letter];
  return svg("svg", { class: `sign k-${letter}`, viewBox: "0 0 12 12", width: 12, height: 12, role: "img", "aria-label": text },
    svg("path", { d: OUTLINES[shape] }));
}

const HEIGHTS = { m: 8, t: 12, g: 16, p: 14, s: 5 };

/** The strip of a mission as the API tells it: kinds by colour and height, failures as marks below. */
export function strip(told) {
  const width = Math.max(1, told.kinds.length) * 3;
  const failed = told.failed.reduce((sum, one) => sum + one, 0);
  const text = `${plural(told.steps, "step")}, ${count(failed)} failed`;
  const cells = [...told.kinds].map((letter, index) => {
    const height = HEIGHTS[letter] ?? 5;
    return svg("rect", { class: `k-${letter}`, x: index * 3, y: 16 - height, width: 2.4, height });
  });
  const marks = told.failed.map((many, index) => many > 0 && svg("rect", { class: "failed", x: index * 3, y: 17.5, width: 2.4, height: 3 }));
  return svg("svg", { class: "strip", viewBox: `0 0 ${width} 21`, width, height: 21, role: "img", "aria-label": text }, cells, marks, svg("title", {}, text));
}

/** Counts of findings by severity; said in words where a mission has none, "not examined" where nobody has looked. */
export function findings(counts) {
  if (!counts) return el("span", { class: "unknown", title: "Nobody has looked yet: open the mission to have it examined" }, "not examined");
  const shown = [["high", "bad"], ["warn", "warn"], ["info", ""]].filter(([name]) => counts[name] > 0);
  if (!shown.length) return el("span", { class: "muted" }, "no finding");
  return el("span", { class: "findings" }, shown.map(([name, kind]) => el("span", { class: `badge ${kind}` }, `${count(counts[name])} ${name}`)));
}

/** Money, with what it covers where that is not everything. */
export function cost(value, title) {
  return value === null || value === undefined
    ? el("span", { class: "unknown", title: title ?? "Not every model call says what it cost" }, UNKNOWN)
    : el("span", { title }, dollars(value));
}
