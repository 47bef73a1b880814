// Two missions or two sets: what is worse, then where, step by step or task by task.

import { api, difference } from "../api.js";
import { amount, waterfall } from "../components/charts.js";
import "../components/difference.js";
import { failure, notice } from "../components/notices.js";
import { deltasTable, pairVerdict, reportOf, verdictBanner } from "../components/report.js";
import { failureOf, follow, hasEnded, mayEvaluate, progress, queue, runBadge } from "../components/runs.js";
import { inWords, selection } from "../components/selection.js";
import { el, say, visible } from "../dom.js";
import { ago, percent, words } from "../format.js";
import { ofThisView } from "../keys.js";
import { address, go } from "../router.js";

export async function show(root, { query, signal }) {
  const [baseline, ...more] = query.getAll("baseline");
  const candidates = query.getAll("candidate");
  if (query.get("run")) return watchComparison(root, query.get("run"), signal);
  if (baseline && !more.length && candidates.length === 1) return showPair(root, baseline, candidates[0], signal);
  await chooseSets(root, { baseline: query.getAll("baseline"), candidate: candidates }, signal);
}

async function showPair(root, baseline, candidate, signal) {
  const link = (id) => el("a", { href: address("mission", [id]) }, visible(id));
  const verdict = el("div", { class: "stack" });
  const rest = el("div", { class: "stack" }, el("p", { class: "waiting", role: "status" }, "Laying the steps side by side…"));
  root.append(
    el("div", { class: "bar heading" }, el("h1", {}, "Compare"), el("p", {}, "baseline ", link(baseline), " with candidate ", link(candidate)), el("span", { class: "grow" }),
      el("a", { class: "button", href: address("compare", [], { baseline: candidate, candidate: baseline }) }, "Swap sides")),
    verdict, rest);
  const judged = judgement(verdict, baseline, candidate, signal);
  try {
    const found = await difference(baseline, candidate, signal);
    showDifference(rest, found, signal);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    rest.replaceChildren(failure(error, () => { root.replaceChildren(); showPair(root, baseline, candidate, signal); }));
  }
  await judged;
}

/** What the last regression of this pair said; else the way to have it judged. */
async function judgement(place, baseline, candidate, signal) {
  const { rows } = await api.get("/api/v1/eval/runs", { kind: "regression", mission_id: candidate, limit: 100 }, signal);
  const last = rows.find((run) => run.baseline_mission_id === baseline && run.candidate_mission_id === candidate && run.reason !== "cancelled");
  const judge = async (event) => {
    event.target.disabled = true;
    try {
      watch(await queue("regression", { baseline_mission_id: baseline, candidate_mission_id: candidate }, signal));
    } catch (error) {
      event.target.disabled = false;
      notice(error.message, "bad");
    }
  };
  const button = (text) => mayEvaluate() && el("button", { type: "button", class: "primary judge", onclick: judge }, text);
  const tell = (run) => {
    if (!hasEnded(run)) return place.replaceChildren(el("section", { class: "verdict" }, progress(run)));
    if (!run.report) return place.replaceChildren(verdictBanner("inconclusive", [failureOf(run)], button("Judge again")));
    const facts = el("p", { class: "bar muted" }, el("a", { href: address("runs", [run.id]) }, `judged ${ago(run.completed_at)}`), button("Judge again"));
    place.replaceChildren(pairVerdict(run.report, facts), el("details", {}, el("summary", {}, "Metrics of both sides"), deltasTable(run.report)));
    say(`Verdict: ${words(run.report.verdict)}`);
  };
  const watch = (id) => follow(id, tell, signal);
  if (last) return watch(last.id);
  place.replaceChildren(el("section", { class: "verdict", "aria-label": "Verdict" }, el("h2", {}, el("span", { class: "word" }, "not judged yet")),
    el("p", {}, mayEvaluate() ? "The differences are below. A regression says whether they are worse than the thresholds allow." : "The differences are below. An owner or admin of this workspace can have them judged."), button("Judge: queue a regression")));
}

function showDifference(place, found, signal) {
  const lines = el("qm-difference");
  const falls = el("div", {});
  const quantities = found.attributions.filter((one) => one.baseline !== null || one.candidate !== null);
  const unsaid = found.attributions.filter((one) => one.baseline === null && one.candidate === null);
  const tabs = quantities.map((one) => el("button", { type: "button", "aria-pressed": "false", onclick: () => choose(one) }, `${words(one.quantity)} ${amount(one.total, one.unit, true)}`));
  const choose = (one) => {
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(quantities[index] === one)));
    falls.replaceChildren(waterfall(one, (cause) => lines.show({ baseline: cause.baseline.start < cause.baseline.end ? cause.baseline.start : -1, candidate: cause.candidate.start })), el("p", { class: "muted" }, visible(one.sentence)));
  };
  const first = found.first_divergence;
  const same = !found.unaligned && !found.changes.length;
  place.replaceChildren(
    el("div", { class: "columns" },
      el("section", { class: "card" }, el("h2", {}, "What changed"),
        same ? el("p", {}, "Nothing: every step, outcome and answer is the same.") : el("ul", { class: "changes" }, found.changes.map((one) => el("li", {}, el("button", { type: "button", class: "link", onclick: () => lines.show(one.first) }, visible(one.sentence))))),
        el("p", { class: "muted" }, `${percent(found.similarity)} alike.`, first ? ` First divergence: step ${first.baseline + 1} of the baseline, step ${first.candidate + 1} of the candidate.` : " No divergence.", found.method === "whole" ? "" : " Aligned between steps that both have once.")),
      el("section", { class: "card" }, el("h2", {}, "What it cost"),
        el("div", { class: "bar" }, tabs), falls,
        unsaid.length > 0 && el("p", { class: "unknown" }, `Not known on either side: ${unsaid.map((one) => words(one.quantity)).join(", ")}.`))),
    el("div", { class: "bar heading" }, el("h2", {}, "Step by step"), el("span", { class: "grow" }),
      first && el("button", { type: "button", onclick: () => lines.show(first) }, "First divergence (f)"),
      el("button", { type: "button", onclick: () => lines.move(-1) }, "Previous (p)"),
      el("button", { type: "button", onclick: () => lines.move(1) }, "Next difference (n)")),
    lines);
  lines.setup(found, signal);
  if (quantities.length) choose(quantities.find((one) => one.total) ?? quantities[0]);
  ofThisView({
    n: ["Next difference", () => lines.move(1)],
    p: ["Previous difference", () => lines.move(-1)],
    ...(first ? { f: ["First divergence", () => lines.show(first)] } : {}),
    j: ["Next line", () => { lines.list.current += 1; }],
    k: ["Line before", () => { lines.list.current = Math.max(0, lines.list.current - 1); }],
  });
}

async function chooseSets(root, ids, signal) {
  const [{ rows: frozen }, { rows: past }] = await Promise.all([
    api.get("/api/v1/baselines", {}, signal),
    api.get("/api/v1/eval/runs", { kind: "comparison", limit: 20 }, signal)]);
  const names = frozen.map((one) => one.name);
  const sides = {
    baseline: selection("Baseline", { mission_ids: ids.baseline }, names),
    candidate: selection("Candidate", { mission_ids: ids.candidate }, names),
  };
  const said = el("p", { class: "bad", role: "alert" });
  const form = el("form", { class: "card" },
    el("p", { class: "muted" }, "Each side is every mission that matches what you fill in, or a list of ids. Two ids, one on each side, are laid side by side step by step."),
    el("div", { class: "columns" }, sides.baseline.box, sides.candidate.box), said,
    el("div", { class: "bar" }, mayEvaluate() ? el("button", { class: "primary" }, "Compare") : el("button", {}, "Show two missions side by side")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const baseline = sides.baseline.read();
    const candidate = sides.candidate.read();
    said.textContent = "";
    if (!baseline || !candidate) return void (said.textContent = `Say which missions the ${baseline ? "candidate" : "baseline"} is.`);
    if (baseline.mission_ids?.length === 1 && candidate.mission_ids?.length === 1) return go(address("compare", [], { baseline: baseline.mission_ids, candidate: candidate.mission_ids }));
    if (!mayEvaluate()) return void (said.textContent = "Comparing sets needs the role ADMIN; name one mission on each side.");
    try {
      go(address("compare", [], { run: await queue("comparisons", { baseline, candidate }, signal) }));
    } catch (error) {
      said.textContent = error.message;
    }
  });
  root.append(el("h1", {}, "Compare"), form,
    el("section", { class: "card" }, el("h2", {}, "Comparisons before"),
      past.length ? el("ul", { class: "plain" }, past.map((run) => el("li", { class: "bar" }, runBadge(run), el("a", { href: address("compare", [], { run: run.id }) }, visible(run.result ?? run.id)), el("span", { class: "muted" }, ago(run.created_at))))) : el("p", { class: "muted" }, "None yet. Two missions can also be chosen with x in the list of missions.")));
  const two = ids.baseline.length + ids.candidate.length;
  if (two) say(`${two} missions are chosen: ${inWords({ mission_ids: ids.baseline })} against ${inWords({ mission_ids: ids.candidate })}`);
}

async function watchComparison(root, id, signal) {
  const place = el("div", { class: "stack" });
  root.append(el("div", { class: "bar heading" }, el("h1", {}, "Compare"), el("p", {}, "two sets of missions"), el("span", { class: "grow" }), el("a", { class: "button", href: address("compare") }, "Another comparison")), place);
  await follow(id, (run) => {
    if (!hasEnded(run)) return place.replaceChildren(el("section", { class: "verdict" }, progress(run)));
    place.replaceChildren(...(run.report ? reportOf(run.report).filter(Boolean) : [verdictBanner("inconclusive", [failureOf(run)])]));
    say(run.result ?? run.status);
  }, signal);
}
