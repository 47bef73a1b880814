// Drawings of numbers: intervals, splits of a change, courses over time. The words beside them say the same.

import { el, svg, visible } from "../dom.js";
import { count, dollars, duration } from "../format.js";

const WIDE = 1000;

/** A stretchable drawing: texts are kept out of it, so that it may be of any width. */
const drawing = (kind, height, label, ...children) =>
  svg("svg", { class: kind, viewBox: `0 0 ${WIDE} ${height}`, preserveAspectRatio: "none", ...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }) }, children);

/** How much worse the candidate is, with its interval, against "no change" and the threshold. */
export function interval({ worsening, interval: bounds, threshold, verdict }, label) {
  if (worsening === null || worsening === undefined) return el("span", { class: "unknown" }, "no interval");
  const told = [worsening, bounds?.low, bounds?.high, threshold].filter((value) => Number.isFinite(value));
  const reach = 1.1 * Math.max(...told.map(Math.abs), 1e-9);
  const x = (value) => Math.max(0, Math.min(WIDE, (WIDE * (value + reach)) / (2 * reach)));
  return drawing(`interval ${verdict === "regressed" ? "bad" : verdict === "improved" ? "good" : ""}`, 20, label,
    svg("rect", { class: "over", x: x(threshold ?? reach), y: 0, width: WIDE - x(threshold ?? reach), height: 20 }),
    svg("path", { class: "zero", d: `M${x(0)} 0V20` }),
    bounds && svg("path", { class: "span", d: `M${x(bounds.low)} 10H${x(bounds.high)}M${x(bounds.low)} 5V15M${x(bounds.high)} 5V15` }),
    svg("path", { class: "point", d: `M${x(worsening)} 10h0` }));
}

const SHOW = {
  picodollars: (amount) => dollars(amount / 1e12),
  nanoseconds: (amount) => (amount < 0 ? `−${duration(-amount / 1e6)}` : duration(amount / 1e6)),
};

/** An amount of a quantity in its unit; a change has its sign. */
export function amount(value, unit, change = false) {
  const text = (SHOW[unit] ?? count)(value);
  return change && value > 0 ? `+${text}` : text.replace(/^-/, "−");
}

const MOST_PARTS = 12;

/** From the baseline's total to the candidate's, part by part; the parts add up exactly. */
export function waterfall({ baseline, candidate, unit, parts, total }, pick) {
  const shown = parts.slice(0, MOST_PARTS);
  const rest = parts.slice(MOST_PARTS);
  const steps = shown.map((one) => ({ text: one.cause, by: one.amount, one }));
  if (rest.length) steps.push({ text: `${count(rest.length)} smaller ones`, by: rest.reduce((sum, one) => sum + one.amount, 0) });
  const start = baseline ?? 0;
  const levels = steps.reduce((all, step) => [...all, all.at(-1) + step.by], [start]);
  const low = Math.min(0, ...levels);
  const high = Math.max(...levels, candidate ?? 0, low + 1);
  const x = (value) => (WIDE * (value - low)) / (high - low);
  const bar = (from, to, kind) => drawing(`fall ${kind}`, 16, "", svg("rect", { x: Math.min(x(from), x(to)), y: 2, width: Math.max(2, Math.abs(x(to) - x(from))), height: 12 }));
  const row = (text, shape, number, kind = "", jump = null) =>
    el("tr", { class: kind }, el("th", { scope: "row" }, jump ? el("button", { type: "button", class: "link", onclick: jump }, text) : text), el("td", {}, shape), el("td", { class: "number" }, number));
  return el("table", { class: "waterfall" },
    el("caption", { class: "unseen" }, `What the change of ${amount(total, unit, true)} is made of`),
    el("tbody", {},
      row("Baseline", bar(0, start, "whole"), amount(start, unit), "sum"),
      steps.map((step, index) => row(visible(step.text), bar(levels[index], levels[index + 1], step.by > 0 ? "more" : "less"), amount(step.by, unit, true), "", pick && step.one ? () => pick(step.one) : null)),
      row("Candidate", bar(0, candidate ?? levels.at(-1), "whole"), amount(candidate ?? levels.at(-1), unit), "sum")));
}

/** A series over its runs with its intervals; `changes` are runs at which the level moved, `notes` other marks. */
export function course(points, { label, rate, changes = [], notes = [] }) {
  const told = points.filter((point) => point.value !== null);
  const ends = told.map((point) => point.high ?? point.value);
  // A wide interval is cut rather than that it flattens the course.
  const high = rate ? 1 : 1.05 * Math.min(Math.max(...ends), 1.6 * Math.max(...told.map((point) => point.value))) || 1;
  const from = points[0].run;
  const span = Math.max(1, points.at(-1).run - from);
  const x = (run) => (0.005 + (0.99 * (run - from)) / span) * WIDE;
  const y = (value) => 4 + 92 * (1 - value / high);
  const sure = told.filter((point) => point.low !== null);
  const band = sure.length > 1 && svg("path", { class: "band", d: `M${sure.map((point) => `${x(point.run)} ${y(point.high)}`).join("L")}L${sure.toReversed().map((point) => `${x(point.run)} ${y(point.low)}`).join("L")}Z` });
  const line = svg("path", { class: "line", d: told.map((point, index) => `${index ? "L" : "M"}${x(point.run)} ${y(point.value)}`).join("") });
  const dots = svg("path", { class: "dots", d: told.filter((point) => point.used).map((point) => `M${x(point.run)} ${y(point.value)}h0`).join("") });
  const levels = changes.map((change) => svg("path", { class: "level", d: `M${x(Math.max(from, change.run - change.runs_before))} ${y(change.before)}H${x(change.run)}M${x(change.run)} ${y(change.after)}H${x(Math.min(points.at(-1).run, change.run + change.runs_after))}` }));
  const marks = changes.map((change) => svg("path", { class: change.worse ? "change worse" : "change", d: `M${x(change.run)} 0V100` }, svg("title", {}, `Change at ${change.at}`)));
  const ticks = notes.map((note) => svg("path", { class: "note", d: `M${x(note.run)} 94V100` }));
  return { high, chart: drawing("course", 100, label, band, marks, ticks, line, dots, levels) };
}
