// How metrics went over many missions, where their level moved, and which mission shows it first.

import { api } from "../api.js";
import { course } from "../components/charts.js";
import { cell, number, rowHead, table } from "../components/report.js";
import { el, settled, visible } from "../dom.js";
import { compact, count, metricValue, percent, plural, words } from "../format.js";
import { address, amend } from "../router.js";

const METRICS = ["success_rate", "tool_success_rate", "total_cost_usd", "work_steps", "total_tokens", "wall_time"];
const SINCE = { "": "any time", month: "last 30 days", quarter: "last 90 days", year: "last 365 days" };
const DAYS = { month: 30, quarter: 90, year: 365 };
const STATES = { alert: "bad", watch: "warn", steady: "good" };
const NAMES = ["metric", "by", "task", "variant", "since"];

export async function show(root, { query, signal }) {
  const filters = Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
  const place = el("div", { class: "stack", "aria-live": "polite" });
  const choice = (name, text, options) => el("select", { name, "aria-label": text }, options.map(([value, shown]) => el("option", { value, selected: value === filters[name] }, shown)));
  const field = (name, text) => el("input", { name, type: "search", "aria-label": text, placeholder: text, value: filters[name] || null });
  const form = el("form", { class: "bar filters", role: "search" },
    choice("metric", "Metric", [["", "every metric"], ...METRICS.map((one) => [one, nameOf(one)])]),
    choice("by", "By", [["", "by day"], ["commit", "by commit"], ["mission", "by mission"]]),
    field("task", "Task"), field("variant", "Variant"), choice("since", "Since", Object.entries(SINCE)));
  let asked = 0;
  const load = async () => {
    const mine = ++asked;
    const { since, ...given } = filters;
    const from = DAYS[since] ? new Date(Date.now() - DAYS[since] * 86_400_000).toISOString() : null;
    const found = await api.get("/api/v1/eval/trends", { ...given, since: from }, signal);
    if (mine === asked) place.replaceChildren(...sections(found, filters));
  };
  form.addEventListener("input", settled(() => { Object.assign(filters, Object.fromEntries(new FormData(form))); amend(filters); load(); }, 200, signal));
  form.addEventListener("submit", (event) => event.preventDefault());
  root.append(el("h1", {}, "Trends"), form, place);
  await load();
}

function sections(found, filters) {
  const left = [found.without_place && `${plural(found.without_place, "mission")} without a ${found.by === "commit" ? "commit" : "time"}`, found.runs_left_out && `${plural(found.runs_left_out, "older run")}`].filter(Boolean);
  const head = el("p", { class: "muted" }, `${plural(found.missions, "mission")}${left.length ? `; not shown: ${left.join(", ")}` : ""}. Missions of different agents are never in one line.`);
  const agents = [...new Set(found.series.map((one) => one.agent))];
  const alerts = (agent) => found.series.filter((one) => one.agent === agent && one.alert).length;
  const longest = (agent) => Math.max(...found.series.filter((one) => one.agent === agent).map((one) => one.points.length));
  agents.sort((one, other) => alerts(other) - alerts(one) || longest(other) - longest(one));
  if (!found.series.length) return [head, el("section", { class: "card" }, el("p", {}, "No mission passes these filters."))];
  return [head, ...events(found.events), ...agents.map((agent) => ofAgent(agent, found, filters))];
}

const shown = (value, metric) => (unitOf(metric) === "" && value >= 1000 ? compact(value) : metricValue({ value, unit: unitOf(metric) }));
const level = (shift, value) => shown(value, shift.metric);
const nameOf = (metric) => words(metric).replace(" usd", "");
const unitOf = (metric) => (/rate/.test(metric) ? "rate" : /usd/.test(metric) ? "USD" : /time/.test(metric) ? "s" : "");

function moved(shift) {
  const rate = unitOf(shift.metric) === "rate";
  const show = (value) => (rate ? `${(100 * value).toFixed(0)} pp` : percent(value)).replace("-", "−");
  const by = shift.change === null ? "" : ` (${shift.change > 0 ? "+" : ""}${show(shift.change)}${shift.low === null ? "" : `, 95 % interval ${show(shift.low)} to ${show(shift.high)}`})`;
  const sure = shift.confirmed ? "" : "; not confirmed yet";
  return `${nameOf(shift.metric)} went from ${level(shift, shift.before)} to ${level(shift, shift.after)}${by}${shift.exceeds ? "" : "; within the threshold"}${sure}`;
}

/** Only a change that chart and test agree on, beyond its threshold, is called one; the others may be noise. */
const isSure = (event) => event.shifts.some((shift) => shift.confirmed && shift.exceeds);

function events(all) {
  const sorted = all.toSorted((one, other) => isSure(other) - isSure(one) || other.worse - one.worse || (other.at > one.at ? 1 : -1));
  return sorted.map((event) => el("section", { class: `verdict ${!isSure(event) ? "" : event.worse ? "bad" : "good"}` },
    el("h2", {}, `${event.worse ? "▼" : "▲"} ${visible(event.agent ?? "Unnamed agent")}, ${visible(event.at)}: ${isSure(event) ? "got" : "may have got"} ${event.worse ? "worse" : "better"}`),
    el("ul", {}, event.shifts.map((shift) => el("li", {}, moved(shift)))),
    event.explanations.length > 0 && el("p", {}, "At the same time: ", event.explanations.map((one) => `${one.fact} ${list(one.before)} → ${list(one.after)}`).join("; "), ". An offer, not a cause."),
    event.new_tasks > 0 && el("p", {}, `${plural(event.new_tasks, "task")} appeared only after it: another mix of tasks may explain it.`),
    event.first_bad_mission && el("p", {}, "First bad mission: ", el("a", { href: address("mission", [event.first_bad_mission.mission_id]) }, visible(event.first_bad_mission.mission_id)),
      event.first_bad_mission.task && el("span", { class: "muted" }, ` of ${visible(event.first_bad_mission.task)}`))));
}

const list = (names) => visible(names.join(", ") || "none");

function ofAgent(agent, found, filters) {
  const series = found.series.filter((one) => one.agent === agent);
  const drawn = series.filter((one) => one.points.some((point) => point.value !== null));
  const unsaid = series.filter((one) => !drawn.includes(one));
  const notes = found.annotations.filter((one) => one.agent === agent);
  return el("section", { class: "card agent" }, el("h2", {}, visible(agent ?? "Agent not named")),
    el("div", { class: "charts" }, drawn.map((one) => chart(one, found, notes))),
    unsaid.length > 0 && el("p", { class: "unknown" }, `Cannot be said: ${unsaid.map((one) => `${nameOf(one.metric)} (${one.reason})`).join(", ")}.`),
    notes.length > 0 && el("details", {}, el("summary", {}, `${plural(notes.length, "change")} of model, version, prompt or commit`), el("ul", {}, notes.map((one) => el("li", {}, `${visible(one.at)}: ${one.fact} ${list(one.before)} → ${list(one.after)}`)))),
    el("p", {}, el("a", { href: address("missions", [], { q: agent ?? "", task: filters.task, variant: filters.variant }) }, "Missions of this agent")));
}

function chart(series, found, notes) {
  const changes = found.events.filter((event) => event.agent === series.agent).flatMap((event) => event.shifts).filter((shift) => shift.metric === series.metric);
  const show = (value) => shown(value, series.metric);
  const now = series.level === null ? "unknown" : show(series.level);
  const text = `${nameOf(series.metric)}, ${plural(series.points.length, "point")}, now ${now}${changes.map((one) => `; ${moved(one)} at ${one.at}`).join("")}`;
  const { chart: drawn, high } = course(series.points, { label: text, rate: series.unit === "ratio", changes, notes });
  const rows = () => series.points.map((point) => el("tr", {}, rowHead(visible(point.at)), number(point.value === null ? el("span", { class: "unknown" }, "unknown") : show(point.value)), number(point.low === null ? "" : `${show(point.low)} to ${show(point.high)}`), number(count(point.missions)), cell(point.used ? "" : `not used: ${count(point.known)} of ${count(point.of)} known`)));
  const numbers = el("details", {}, el("summary", {}, "Numbers"));
  numbers.addEventListener("toggle", () => { if (numbers.open && numbers.children.length === 1) numbers.append(table(nameOf(series.metric), ["At", ["Value"], ["95 % interval"], ["Missions"], ""], rows())); });
  return el("figure", {},
    el("figcaption", { class: "bar" }, el("h3", {}, nameOf(series.metric)), el("span", { class: `badge ${STATES[series.state] ?? ""}` }, series.alert ? `alert since ${visible(series.alert.at)}` : series.state), el("span", { class: "grow" }), el("strong", {}, now)),
    el("div", { class: "plot" }, el("span", { class: "high muted" }, show(high)), drawn, el("span", { class: "low muted" }, "0")),
    el("p", { class: "ends muted" }, el("span", {}, visible(series.points[0].at)), el("span", {}, visible(series.points.at(-1).at))),
    series.reason && el("p", { class: "muted" }, visible(series.reason)), numbers);
}
