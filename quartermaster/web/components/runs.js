// Evaluation runs: queueing one, following it to its end, and its state as a badge.

import { api, part, poll, watchRuns } from "../api.js";
import { el } from "../dom.js";
import { ago, between, words } from "../format.js";
import { address } from "../router.js";
import { session } from "../session.js";
import { notice } from "./notices.js";

const LOOK_MILLISECONDS = 2500;

const STATES = { queued: ["○", ""], running: ["◐", "live"], completed: ["✓", "good"], failed: ["✕", "bad"] };

const REASONS = {
  deadline_exceeded: "took longer than the deadline allows; eval.deadline_seconds of the settings sets it",
  cancelled: "was cancelled",
  interrupted: "was running when Quartermaster ended twice",
  evaluation_error: "could not be worked out",
};

export const hasEnded = (run) => run.status === "completed" || run.status === "failed";

/** Who may queue, cancel, freeze and accept. */
export const mayEvaluate = () => session.may("ADMIN");

/** State of a run, with a sign beside the colour. */
export function runBadge(run) {
  const [sign, kind] = STATES[run.status] ?? ["?", ""];
  if (run.status === "completed" && run.regressed) return el("span", { class: "badge bad" }, el("span", { "aria-hidden": "true" }, "▼"), "regressed");
  return el("span", { class: `badge ${kind}` }, el("span", { "aria-hidden": "true" }, sign), run.reason === "cancelled" ? "cancelled" : run.status);
}

/** Why a run failed, and its own words. */
export function failureOf(run) {
  return [REASONS[run.reason] && `It ${REASONS[run.reason]}`, run.result].filter(Boolean).join(": ");
}

/** What a run is about, with links. */
export function subject(run) {
  const link = (id) => el("a", { href: address("mission", [id]) }, id);
  if (run.mission_id) return link(run.mission_id);
  if (run.candidate_mission_id && run.baseline_mission_id) {
    return el("a", { href: address("compare", [], { baseline: run.baseline_mission_id, candidate: run.candidate_mission_id }) }, `${run.baseline_mission_id} → ${run.candidate_mission_id}`);
  }
  return run.candidate_mission_id ? link(run.candidate_mission_id) : el("span", { class: "muted" }, "two sets of missions");
}

/** How long it waits, works or took. */
export function took(run) {
  if (run.status === "queued") return `waiting, queued ${ago(run.created_at)}`;
  if (!run.started_at) return "never began";
  return run.completed_at ? between(run.started_at, run.completed_at) : `${between(run.started_at, new Date().toISOString())} so far`;
}

/** POST to a queue: "replay", "regression" or "comparisons"; the id of the run. */
export async function queue(kind, body, signal) {
  const { run_id: id } = await api.post(`/api/v1/eval/${kind}`, body, signal);
  return id;
}

/** Tells `changed(run)` now and with every change until the run has ended or `signal` fires. Throws where there is none. */
export async function follow(id, changed, signal) {
  const inner = new AbortController();
  const stop = () => inner.abort();
  signal.addEventListener("abort", stop);
  const look = async () => {
    const run = await api.get(`/api/v1/eval/runs/${part(id)}`, {}, inner.signal);
    if (inner.signal.aborted) return;
    changed(run);
    if (hasEnded(run)) stop();
  };
  await look();
  if (inner.signal.aborted) return;
  watchRuns((event) => { if (event.id === id) look().catch(() => {}); }, inner.signal);
  poll(look, LOOK_MILLISECONDS, inner.signal);
}

/** A button that ends a run; null for who may not, and for runs that have ended. */
export function cancelButton(run) {
  if (!mayEvaluate() || hasEnded(run)) return null;
  const button = el("button", { type: "button", "aria-label": `Cancel ${run.id}` }, "Cancel");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await api.post(`/api/v1/eval/runs/${part(run.id)}/cancel`);
    } catch (error) {
      button.disabled = false;
      notice(error.message, "bad");
    }
  });
  return button;
}

/** A line for a run that works or waits. */
export const progress = (run) => el("p", { class: "bar", role: "status" }, el("progress", { "aria-label": words(run.kind) }), runBadge(run), `${words(run.kind)} ${took(run)}`, cancelButton(run));
