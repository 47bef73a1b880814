// The report of a run of any kind: what came out first, then why, then every number.

import { el, visible } from "../dom.js";
import { count, dollars, duration, metricValue, percent, plural, words } from "../format.js";
import { address } from "../router.js";
import { interval } from "./charts.js";

const VERDICTS = { regressed: ["▼", "bad"], improved: ["▲", "good"], unchanged: ["=", "good"], no_regression: ["=", "good"], drift: ["≈", "warn"], inconclusive: ["?", "warn"] };

/** The verdict as a banner: sign, word, sentences. */
export function verdictBanner(verdict, sentences, more = null) {
  const [sign, kind] = VERDICTS[verdict] ?? ["?", "warn"];
  return el("section", { class: `verdict ${kind}`, "aria-label": "Verdict" },
    el("h2", {}, el("span", { "aria-hidden": "true" }, `${sign} `), el("span", { class: "word" }, words(verdict))),
    sentences.filter(Boolean).map((sentence) => el("p", {}, visible(sentence))), more);
}

/** A table with a heading, in a box that scrolls for itself. */
export function table(title, head, rows, empty = "None.") {
  const titles = head.map((text) => (Array.isArray(text) ? el("th", { scope: "col", class: "number" }, text[0]) : el("th", { scope: "col" }, text)));
  return el("section", { class: "card" }, el("h2", {}, title),
    rows.length
      ? el("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": title }, el("table", {}, el("thead", {}, el("tr", {}, titles)), el("tbody", {}, rows)))
      : el("p", { class: "muted" }, empty));
}

export const cell = (...children) => el("td", {}, children);
export const number = (...children) => el("td", { class: "number" }, children);
export const rowHead = (...children) => el("th", { scope: "row" }, children);

const list = (title, sentences) => sentences.length > 0 && el("section", { class: "card" }, el("h2", {}, title), el("ul", {}, sentences.map((one) => el("li", {}, visible(one)))));
const missionLink = (id) => el("a", { href: address("mission", [id]) }, visible(id));

/** What is known of a run in sections; unknown kinds are shown as they came. */
export function reportOf(report) {
  if (report.kind === "replay") return replay(report);
  if (report.kind === "regression") return regression(report);
  if (report.kind === "comparison") return comparison(report);
  return [el("pre", { class: "card mono" }, visible(JSON.stringify(report, null, 2)))];
}

function replay({ mission, seed, notes, prices }) {
  return [
    el("section", { class: "card" },
      el("h2", {}, mission.goal_reached ? "Reached its goal" : "Reached no goal"),
      el("p", {}, missionLink(mission.mission_id), `: ${plural(mission.steps, "step")}, ${plural(mission.model_calls, "model call")}, ${plural(mission.commands, "command")}, ${count(mission.failed_commands)} of them failed`),
      el("p", { class: "mono wrap" }, `Signature (seed ${seed}): ${mission.signature}`)),
    list("Findings", mission.findings.map((one) => `${words(one.failure_mode)}, at step ${count(one.step + 1)}`)),
    table("Metrics", ["Metric", ["Value"], "What it rests on"], mission.metrics.map((metric) =>
      el("tr", {}, rowHead(words(metric.name)), number(metricValue(metric)), cell(visible([metric.coverage.known < metric.coverage.of && `${count(metric.coverage.known)} of ${count(metric.coverage.of)} known`, metric.reason].filter(Boolean).join("; ")))))),
    remarks(notes, prices),
  ];
}

const signed = (value, unit) => (value > 0 ? `+${metricValue({ value, unit })}` : metricValue({ value, unit }).replace(/^-/, "−"));

function change({ absolute, relative, unit }) {
  if (absolute === null) return "";
  return `${/ratio|rate/.test(unit) ? `${absolute > 0 ? "+" : absolute < 0 ? "−" : ""}${Math.abs(100 * absolute).toFixed(1)} pp` : signed(absolute, unit)}${relative === null ? "" : ` (${relative > 0 ? "+" : relative < 0 ? "−" : ""}${Math.abs(100 * relative).toFixed(1)}%)`}`;
}

const STATE_KINDS = { breach: "bad", better: "good", "not comparable": "warn" };

/** The sentences under a pair's verdict. */
export function pairVerdict(report, more = null) {
  const plain = report.result === "no_regression" ? "No gated metric got worse by more than its threshold." : report.result;
  const why = report.reasons.length ? report.reasons : [plain];
  const sure = Object.entries(report.evidence ?? {}).map(([metric, one]) => `${words(metric)}, ${one.grade}: ${one.sentence}`);
  return verdictBanner(report.verdict, [...why, ...sure], more);
}

/** Every metric of a pair on both sides. */
export const deltasTable = (report) => table("Metrics of both sides", ["Metric", ["Baseline"], ["Candidate"], ["Change"], "Judged"], report.deltas.map((delta) =>
  el("tr", {}, rowHead(words(delta.metric)), number(metricValue({ value: delta.baseline, unit: delta.unit })), number(metricValue({ value: delta.candidate, unit: delta.unit })), number(change(delta)),
    cell(el("span", { class: STATE_KINDS[delta.state] ?? "muted" }, delta.state), delta.threshold === undefined ? null : el("span", { class: "muted" }, ` threshold ${threshold(delta)}`), delta.reason && el("span", { class: "muted" }, `: ${visible(delta.reason)}`)))));

const threshold = ({ metric, threshold: value }) => (metric === "hallucinations" ? count(value) : percent(value));

function regression(report) {
  const sides = el("p", {}, "Candidate ", missionLink(report.candidate.mission_id), " against baseline ", missionLink(report.baseline.mission_id), ". ",
    el("a", { href: address("compare", [], { baseline: report.baseline.mission_id, candidate: report.candidate.mission_id }) }, "See the steps side by side"));
  return [
    pairVerdict(report, sides),
    list("What changed", (report.difference?.changes ?? []).map((one) => one.sentence)),
    list("Where it went", (report.difference?.attributions ?? []).filter((one) => one.total).map((one) => one.sentence)),
    deltasTable(report),
    drift(report.drift),
    remarks(report.notes, report.prices, report.provenance),
  ];
}

function drift({ changed, level, divergence }) {
  if (!changed) return el("p", { class: "muted" }, "Drift: none, every step has the same type and tool.");
  const step = (side) => (side ? `${side.entry_type} ${side.tool}` : "the end");
  return el("p", { class: "muted wrap" }, visible(`Drift: ${level ? `first in ${level}` : "the trajectories differ"}${divergence ? `; at step ${count(divergence.step + 1)} ${step(divergence.baseline)} became ${step(divergence.candidate)}` : ""}.`));
}

const remarks = (notes, prices, provenance) => el("details", { class: "card" }, el("summary", {}, "What this rests on"),
  el("ul", {}, notes.map((note) => el("li", {}, visible(note))), prices && el("li", {}, `Prices: ${visible(prices)}`)),
  provenance && el("p", { class: "mono wrap" }, `made by ${provenance.made_by}, rules ${provenance.rules_of_pairs}/${provenance.rules_of_sets}; baseline ${provenance.baseline}; candidate ${provenance.candidate}`));

const value = (metric, side) => {
  const one = metric[side];
  if (one === null) return "unknown";
  if (metric.effect === "risk difference" || metric.effect === "rate difference") return percent(one);
  if (metric.metric === "wall_time") return duration(1000 * one);
  return /cost/.test(metric.metric) ? dollars(one) : Number.isInteger(one) ? count(one) : one.toPrecision(3);
};

function detectable(metric) {
  if (metric.minimum_detectable === null) return "";
  const least = /difference/.test(metric.effect ?? "") && metric.effect !== "mean difference" ? `${(100 * metric.minimum_detectable).toFixed(1)} pp` : metric.effect === "mean difference" ? metric.minimum_detectable.toPrecision(2) : percent(metric.minimum_detectable);
  const enough = metric.threshold !== null && metric.minimum_detectable <= metric.threshold;
  const needed = [metric.trials_needed && `${plural(metric.trials_needed, "run")} per task and side`, metric.runs_needed && `${plural(metric.runs_needed, "run")} in all`].filter(Boolean);
  return `${least}${!enough && needed.length ? `; to see the threshold: ${needed.join(", ")}` : ""}`;
}

function comparison({ verdict, comparison: found, notes, prices, provenance }) {
  const told = [...found.metrics].sort((one, other) => (other.verdict === "regressed") - (one.verdict === "regressed") || (one.verdict === "not_gated") - (other.verdict === "not_gated"));
  const { population } = found;
  return [
    verdictBanner(verdict, [found.result, ...found.stamps, `${plural(population.tasks, "task")}: ${plural(population.baseline.compared, "mission")} of the baseline, ${count(population.candidate.compared)} of the candidate${found.fails ? "; this fails a gate" : ""}.`]),
    el("section", { class: "card" }, el("h2", {}, "Metric by metric"),
      el("p", { class: "muted" }, "Each line: how much worse the candidate is, with its interval. The line in the middle is no change; the shaded part is beyond the threshold."),
      told.map((metric) => el("article", { class: "metric" },
        el("h3", {}, words(metric.label), " ", el("span", { class: `badge ${(VERDICTS[metric.verdict] ?? [])[1] ?? ""}` }, words(metric.verdict))),
        interval(metric, metric.sentence),
        el("p", {}, visible(metric.sentence)),
        el("p", { class: "muted" }, visible([`${value(metric, "baseline")} → ${value(metric, "candidate")}`, detectable(metric) && `Least change that would show: ${detectable(metric)}`, ...metric.notes].filter(Boolean).join(". ")))))),
    list("What a success cost", spending(found.cost_per_success)),
    list("Scores of the recordings' own judges", (found.scores ?? []).map((one) => one.sentence)),
    list("Behaviour", behaviour(found.behaviour)),
    tasks(found.tasks),
    list("Worth a look", found.worth_a_look.map((one) => `${words(one.subject)} ${one.name}: ${one.sentence}`)),
    reliability(found.reliability),
    list("Not compared", [...population.only_in_baseline.slice(0, 50).map((task) => `${task}: only in the baseline`), ...population.only_in_candidate.slice(0, 50).map((task) => `${task}: only in the candidate`), ...population.quarantined.map((task) => `${task}: quarantined`)]),
    remarks([...found.notes, ...notes], prices, provenance),
  ];
}

function spending(found) {
  if (!found) return [];
  return ["baseline", "candidate"].map((side) => {
    const arm = found[side];
    const each = arm.cost_per_success === null ? "cannot be said" : `$${arm.cost_per_success.toPrecision(3)}`;
    return `${side}: ${each} for each of ${arm.successes} successes in ${arm.missions} missions${arm.reason ? ` (${arm.reason})` : ""}`;
  });
}

function behaviour(found) {
  if (!found) return [];
  const share = (part) => `${(100 * part).toPrecision(2)} %`;
  const moved = found.verdict === "drift" ? found.changed.map((one) => `${one.edge.join(" → ")}: ${share(one.baseline)} → ${share(one.candidate)} of transitions`) : [];
  return [found.sentence, ...moved];
}

const MOST_TASKS = 500;

function tasks(records) {
  const moved = (one) => one.candidate_succeeded / one.candidate_runs - one.baseline_succeeded / one.baseline_runs;
  const sorted = records.toSorted((one, other) => Math.abs(moved(other)) - Math.abs(moved(one)) || moved(one) - moved(other));
  const rows = sorted.slice(0, MOST_TASKS).map((one) => {
    const by = moved(one);
    const text = by === 0 ? "same" : by < 0 ? `▼ ${(-100 * by).toFixed(0)} pp worse` : `▲ ${(100 * by).toFixed(0)} pp better`;
    return el("tr", {}, rowHead(el("a", { href: address("missions", [], { task: one.task }) }, visible(one.task)), one.unstable && el("span", { class: "muted" }, " unstable")),
      number(`${count(one.baseline_succeeded)} of ${count(one.baseline_runs)}`), number(`${count(one.candidate_succeeded)} of ${count(one.candidate_runs)}`), cell(el("span", { class: by < 0 ? "bad" : by > 0 ? "good" : "muted" }, text)));
  });
  const title = sorted.length > MOST_TASKS ? `Task by task: the ${MOST_TASKS} that moved most of ${count(sorted.length)}` : "Task by task, what moved most first";
  return table(title, ["Task", ["Baseline succeeded"], ["Candidate succeeded"], "Change"], rows, "No mission names its task.");
}

const reliability = (found) => found && list(`Reliability over ${plural(found.k, "run")} of a task`, [
  `All of ${found.k} runs succeed: ${percent(found.baseline_pass_hat_k)} → ${percent(found.candidate_pass_hat_k)}`,
  `Tasks that succeed only sometimes: ${percent(found.baseline_flake_rate)} → ${percent(found.candidate_flake_rate)}`]);
