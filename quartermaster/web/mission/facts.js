// What is known of a mission beside its steps: metrics with what they cover, findings, claims, where it came from.

import { el, visible } from "../dom.js";
import { UNKNOWN, count, dollars, duration, metricValue, plural, time, words } from "../format.js";
import { address } from "../router.js";

/** Few numbers for the head of the page: [name, text, what it covers]. */
export function keyFigures(mission) {
  const named = new Map((mission.metrics ?? []).map((metric) => [metric.name, metric]));
  const figure = (name, title) => {
    const metric = named.get(name);
    return metric && [title, metricValue(metric), covered(metric)];
  };
  return [
    ["Steps", mission.steps === undefined ? "…" : count(mission.steps), ""],
    figure("tool_success_rate", "Tool calls that succeeded"),
    figure("total_cost_usd", "Cost") ?? ["Cost", dollars(mission.total_cost_usd), ""],
    figure("total_tokens", "Tokens") ?? ["Tokens", count(mission.total_tokens), ""],
  ].filter(Boolean);
}

function covered({ coverage, source, reason, partial, unit }) {
  const parts = [];
  if (coverage && coverage.known < coverage.of) parts.push(`${count(coverage.known)} of ${count(coverage.of)} known`);
  if (partial !== undefined && partial !== null && coverage?.known !== 0) parts.push(`at least ${metricValue({ value: partial, unit })}`);
  if (source && source !== "recorded") parts.push(source === "catalogue" ? "from list prices" : "partly from list prices");
  if (reason) parts.push(reason);
  return parts.join("; ");
}

export function metricsTable(mission) {
  const rows = (mission.metrics ?? []).map((metric) =>
    el("tr", {}, el("th", { scope: "row" }, words(metric.name)), el("td", { class: "number" }, value(metricValue(metric))), el("td", { class: "muted" }, visible(covered(metric)))));
  const more = (mission.catalogue ?? []).map((metric) => {
    const text = metric.state === "undefined" ? UNKNOWN : metricValue(metric);
    const parts = [metric.known < metric.of && `${count(metric.known)} of ${count(metric.of)} known`, metric.provenance !== "recorded" && metric.provenance, metric.reason].filter(Boolean);
    return el("tr", {}, el("th", { scope: "row" }, words(metric.id)), el("td", { class: "number" }, value(text)), el("td", { class: "muted" }, visible(parts.join("; "))));
  });
  const table = (name, body) => body.length > 0 && el("section", {}, el("h2", {}, name),
    el("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": name }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Metric"), el("th", { scope: "col", class: "number" }, "Value"), el("th", { scope: "col" }, "What it rests on"))), el("tbody", {}, body))));
  return [table("What regressions are judged by", rows), table("Everything that was measured", more)].filter(Boolean);
}

const value = (text) => (text === UNKNOWN ? el("span", { class: "unknown" }, text) : text);

/** Findings with a way to where they show; `jump(entryIds)` goes there. */
export function findingsList(mission, jump) {
  const shown = [];
  for (const one of mission.failure_modes ?? []) {
    shown.push(el("article", { class: "finding warn" },
      el("h3", {}, words(one.failure_mode)),
      el("p", {}, `Complete at step ${count(one.step + 1)}. `, el("button", { type: "button", onclick: () => jump({ step: one.step + 1 }) }, "Show"))));
  }
  for (const one of mission.failures ?? []) {
    const wasted = [one.wasted?.steps && plural(one.wasted.steps, "step"), one.wasted?.cost_usd && dollars(one.wasted.cost_usd), one.wasted?.seconds >= 1 && duration(1000 * one.wasted.seconds)].filter(Boolean);
    shown.push(el("article", { class: `finding ${one.severity}` },
      el("h3", {}, words(one.name), el("span", { class: "muted" }, ` ${one.severity}, ${one.confidence}`)),
      el("p", {}, visible(one.reason)),
      wasted.length > 0 && el("p", { class: "muted" }, `Wasted: ${wasted.join(", ")}`),
      el("p", { class: "bar" },
        (one.entry_ids ?? []).slice(0, 6).map((id, index) => el("button", { type: "button", onclick: () => jump({ entry: id }) }, index === 0 ? "Show" : `Place ${index + 1}`)),
        el("a", { href: address("missions", [], { failure_mode: one.name }) }, "Missions with this"))));
  }
  const cause = mission.root_cause;
  return [
    mission.unexamined && el("p", { class: "muted" }, `Not examined: ${visible(mission.unexamined)}`),
    cause && el("section", { class: "card" }, el("h2", {}, "Where it went wrong"), el("p", {}, visible(cause.reason)), cause.entry_id && el("button", { type: "button", onclick: () => jump({ entry: cause.entry_id }) }, "Show")),
    shown.length ? el("section", {}, el("h2", {}, plural(shown.length, "finding")), shown) : el("p", { class: "muted" }, "Nothing was found."),
    notJudged(mission.not_judged),
    claims(mission.claims, jump),
  ].filter(Boolean);
}

function notJudged(reasons) {
  const told = Object.entries(reasons ?? {});
  if (!told.length) return null;
  return el("section", {}, el("h2", {}, "What could not be judged"), el("ul", {}, told.map(([id, reason]) => el("li", {}, visible(`${id}: ${reason}`)))));
}

function claims(all, jump) {
  if (!all?.length) return null;
  return el("section", {}, el("h2", {}, "What the agent claimed"),
    all.map((one) => el("article", { class: "finding" },
      el("p", {}, visible(one.text ?? one.claim ?? JSON.stringify(one))),
      el("p", { class: "muted" }, [one.verdict ?? one.state, one.reason].filter(Boolean).map(words).join(": ")),
      one.entry_id && el("button", { type: "button", onclick: () => jump({ entry: one.entry_id }) }, "Show"))));
}

export function provenance(mission) {
  const facts = [
    ["Mission", mission.mission_id], ["Task", mission.task], ["Variant", mission.variant], ["Trial", mission.trial], ["Agent", mission.agent], ["Model", mission.model],
    ["Version", mission.version], ["Commit", mission.commit], ["Part of", mission.parent_mission_id], ["Started", time(mission.started_at)], ["Ended", time(mission.ended_at)],
    ...Object.entries(mission.labels ?? {}),
  ];
  const outcomes = (mission.outcomes ?? []).map((one) => `${one.origin}: ${one.outcome ? words(one.outcome) : "no outcome"}${one.reward === null ? "" : `, reward ${one.reward}`}`);
  return [
    el("dl", { class: "facts" }, facts.map(([name, told]) => el("div", {}, el("dt", {}, visible(name)), el("dd", { class: told === null || told === UNKNOWN ? "unknown" : "wrap" }, told === null ? UNKNOWN : visible(typeof told === "object" ? JSON.stringify(told) : told))))),
    el("section", {}, el("h2", {}, "Who says how it ended"), outcomes.length ? el("ul", {}, outcomes.map((text) => el("li", {}, visible(text)))) : el("p", { class: "muted" }, "Nobody does.")),
    el("section", {}, el("h2", {}, "Where it came from"),
      (mission.sources ?? []).length ? el("ul", { class: "plain" }, mission.sources.map((one) => el("li", { class: "card" },
        el("p", { class: "mono wrap" }, visible(one.name)),
        el("p", { class: "muted" }, `${one.format ?? "unknown format"}, ${one.state}: ${count(one.accepted)} accepted, ${count(one.duplicate)} duplicate, ${count(one.conflicting)} conflicting, ${count(one.rejected)} rejected`),
        (one.rejected_lines ?? []).slice(0, 20).map((line) => el("p", { class: "bad" }, `Line ${line.line ?? UNKNOWN}: ${visible(line.reason)}`))))) : el("p", { class: "muted" }, "Sent over HTTP, not read from a file.")),
    el("section", {}, el("h2", {}, "Signatures"), el("dl", { class: "facts" }, Object.entries({ replay: mission.signature, ...mission.signatures }).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", { class: "mono wrap" }, text ?? UNKNOWN))))),
  ];
}
