// The queue and what came of it, live; one run with its report.

import { api, poll, watchRuns } from "../api.js";
import { table, cell, number, reportOf } from "../components/report.js";
import { cancelButton, failureOf, follow, hasEnded, mayEvaluate, progress, queue, runBadge, subject, took } from "../components/runs.js";
import { el, say, settled, visible } from "../dom.js";
import { ago, dollars, plural, time } from "../format.js";
import { address, amend, go } from "../router.js";

const PAGE = 50;
const POLL_MILLISECONDS = 4000;
const KINDS = ["replay", "regression", "comparison"];
const STATUSES = ["queued", "running", "completed", "failed"];

export async function show(root, place) {
  if (place.parts[0]) return showRun(root, place.parts[0], place.signal);
  await showRuns(root, place);
}

async function showRuns(root, { query, signal }) {
  const names = ["kind", "status", "regressed", "mission_id"];
  const filters = Object.fromEntries(names.map((name) => [name, query.get(name) ?? ""]));
  let limit = PAGE;
  const list = el("div", {});
  const total = el("p", { class: "muted", role: "status" });
  const more = el("button", { type: "button", hidden: true, onclick: () => { limit = Math.min(200, limit + PAGE); load(); } }, "Show more");
  const choice = (name, text, options) => el("select", { name, "aria-label": text }, el("option", { value: "" }, `any ${text.toLowerCase()}`), options.map(([value, shown]) => el("option", { value, selected: value === filters[name] }, shown)));
  const form = el("form", { class: "bar filters", role: "search" },
    choice("kind", "Kind", KINDS.map((one) => [one, one])), choice("status", "Status", STATUSES.map((one) => [one, one])),
    choice("regressed", "Verdict", [["true", "regressed"], ["false", "not regressed"]]),
    el("input", { name: "mission_id", type: "search", class: "grow", "aria-label": "Only runs of the mission", placeholder: "Only runs of this mission id", value: filters.mission_id || null }));
  let asked = 0;
  const load = async () => {
    const mine = ++asked;
    const page = await api.get("/api/v1/eval/runs", { ...filters, limit }, signal);
    if (mine !== asked) return;
    const active = page.rows.filter((run) => !hasEnded(run)).length;
    total.textContent = `${plural(page.rows.length, "run")}${page.next_cursor ? " and more" : ""}${active ? `, ${active} not ended` : ""}`;
    more.hidden = !page.next_cursor || limit >= 200;
    const held = document.activeElement?.closest?.("[data-run]")?.dataset.run;
    const onCancel = document.activeElement?.tagName === "BUTTON";
    list.replaceChildren(table("Queue and history", ["State", "Kind", "About", "Result", ["Cost"], ["Took"], "Queued", ""], page.rows.map(row), "No run yet. Queue one above, or compare two missions."));
    if (held) list.querySelector(`[data-run="${CSS.escape(held)}"]`)?.querySelector(onCancel ? "button" : "a")?.focus();
  };
  const soon = settled(() => load().catch(() => {}), 60);
  form.addEventListener("input", settled(() => { Object.assign(filters, Object.fromEntries(new FormData(form))); amend(filters); load(); }, 150, signal));
  form.addEventListener("submit", (event) => event.preventDefault());
  root.append(el("div", { class: "bar heading" }, el("h1", {}, "Runs"), total), ...(mayEvaluate() ? [queueing(query, signal, soon)] : []), form, list, more);
  await load();
  watchRuns((event) => { soon(); if (event.status === "completed" || event.status === "failed") say(`Run ${event.id} ${event.status}`); }, signal);
  poll(load, POLL_MILLISECONDS, signal);
}

function row(run) {
  return el("tr", { data: { run: run.id } },
    cell(runBadge(run)), cell(el("a", { href: address("runs", [run.id]), "aria-label": `${run.kind} ${run.id}` }, run.kind)), cell(subject(run)),
    el("td", { class: "result" }, run.status === "failed" ? visible(failureOf(run)) : visible(run.result === "no_regression" ? "no regression" : run.result ?? ""), run.status === "running" && el("progress", { "aria-label": `${run.id} works` })),
    number(run.total_cost_usd ? dollars(run.total_cost_usd) : ""), number(took(run)), el("td", { title: time(run.created_at), class: "muted when" }, ago(run.created_at)), cell(cancelButton(run)));
}

/** The form for a replay or a regression; the address may fill it. */
function queueing(query, signal, queued) {
  const kind = el("select", { name: "kind", "aria-label": "What to queue" }, el("option", { value: "replay" }, "Replay of"), el("option", { value: "regression", selected: query.get("queue") === "regression" }, "Regression of"));
  const mission = el("input", { name: "mission", required: true, placeholder: "Mission id", "aria-label": "Mission id", value: query.get("mission"), spellcheck: "false", class: "grow" });
  const baseline = el("input", { name: "baseline", placeholder: "Baseline: mission id or name of a frozen one", "aria-label": "Baseline", value: query.get("baseline"), spellcheck: "false", class: "grow" });
  const said = el("p", { class: "bad", role: "alert" });
  const fit = () => { baseline.hidden = kind.value === "replay"; baseline.required = !baseline.hidden; };
  kind.addEventListener("change", fit);
  fit();
  const form = el("form", { class: "card" }, el("div", { class: "bar" }, kind, mission, baseline, el("button", { class: "primary" }, "Queue")), said);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "";
    try {
      if (kind.value === "replay") await queue("replay", { mission_id: mission.value.trim() }, signal);
      else await queue("regression", { ...(await baselineNamed(baseline.value.trim(), signal)), candidate_mission_id: mission.value.trim() }, signal);
      say("Queued");
      queued();
    } catch (error) {
      said.textContent = error.message;
    }
  });
  return form;
}

async function baselineNamed(text, signal) {
  const { rows } = await api.get("/api/v1/baselines", {}, signal);
  return rows.some((one) => one.name === text) ? { baseline: text } : { baseline_mission_id: text };
}

async function showRun(root, id, signal) {
  const place = el("div", { class: "stack" });
  const head = el("div", { class: "bar heading" }, el("h1", {}, "Run"), el("span", { class: "mono" }, visible(id)), el("span", { class: "grow" }), el("a", { href: address("runs") }, "All runs"));
  root.append(head, place);
  await follow(id, (run) => {
    place.replaceChildren(...runSections(run, signal).filter(Boolean));
    if (hasEnded(run)) say(run.result ?? run.status);
  }, signal);
}

function runSections(run, signal) {
  const facts = [["Kind", run.kind], ["About", subject(run)], ["Queued", `${time(run.created_at)}${run.created_by ? ` by ${run.created_by}` : ""}`], ["Took", took(run)], ["Seed", run.seed], ["Result", run.status === "failed" ? failureOf(run) : run.result ?? ""]];
  const again = mayEvaluate() && hasEnded(run) && (run.mission_id || (run.baseline_mission_id && run.candidate_mission_id)) && el("button", { type: "button", onclick: async () => {
    const body = run.mission_id ? { mission_id: run.mission_id, seed: run.seed } : { baseline_mission_id: run.baseline_mission_id, candidate_mission_id: run.candidate_mission_id, seed: run.seed };
    go(address("runs", [await queue(run.kind, body, signal)]));
  } }, "Run it again");
  return [
    hasEnded(run) ? el("p", { class: "bar" }, runBadge(run), again) : progress(run),
    el("dl", { class: "facts card" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, typeof value === "string" ? visible(value) : value)))),
    ...(run.report ? reportOf(run.report) : []),
  ];
}
