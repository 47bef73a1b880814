// Health, thresholds and what is set, as far as the API tells it; commands for the rest.

import { Problem, api, poll } from "../api.js";
import { cell, rowHead, table } from "../components/report.js";
import { copyButton, el, visible } from "../dom.js";
import { count, percent, words } from "../format.js";
import { session } from "../session.js";

const POLL_MILLISECONDS = 5000;

const ROLES = {
  VIEWER: "read everything of the workspace",
  MEMBER: "read, and bring in recordings",
  MANAGER: "read, and bring in recordings",
  ADMIN: "queue and cancel evaluations, freeze and accept baselines",
  OWNER: "everything that an ADMIN may",
};

const COMMANDS = [
  ["Health of the whole installation", "quartermaster doctor"],
  ["What is kept and for how long", "quartermaster retention show"],
  ["Watch a folder of recordings in place", "quartermaster watch PATH"],
  ["Members of a workspace", "quartermaster member list --workspace SLUG"],
  ["Let somebody in, or change their role", "quartermaster member add USER --workspace SLUG --role VIEWER"],
  ["A token, printed once", "quartermaster token create --user USER --expires 90d"],
  ["Tokens and their last use", "quartermaster token list"],
  ["End a token", "quartermaster token revoke TOKEN_ID"],
  ["A copy of everything", "quartermaster backup FILE"],
];

export async function show(root, { signal }) {
  const health = el("section", { class: "card", "aria-live": "polite" }, el("h2", {}, "Health"));
  const [schema, { rows }] = await Promise.all([api.get("/schema", {}, signal), api.get("/api/v1/eval/runs", { kind: "regression", status: "completed", limit: 1 }, signal)]);
  const last = rows[0] && (await api.get(`/api/v1/eval/runs/${rows[0].id}`, {}, signal));
  let told = "";
  const look = async () => {
    const state = await readiness(signal);
    if (told === JSON.stringify(state)) return;
    told = JSON.stringify(state);
    health.replaceChildren(el("h2", {}, "Health"), ...healthOf(state));
  };
  root.append(el("h1", {}, "Settings"), el("div", { class: "columns" }, health, you(), thresholds(last?.report?.profile)),
    el("section", { class: "card" }, el("h2", {}, "By command"), el("p", { class: "muted" }, "Administration works on the home folder, by whoever may read it, with the daemon running or not."),
      el("ul", { class: "plain commands" }, COMMANDS.map(([text, command]) => el("li", {}, el("p", {}, text), el("div", { class: "command" }, el("code", { tabindex: "0" }, command), copyButton(command)))))),
    el("p", { class: "muted" }, `Quartermaster ${visible(schema.info.version)}. `, el("a", { href: "/schema" }, "The API as OpenAPI"), ". Light, dark or the system's theme: at the top of this page."));
  await look();
  poll(look, POLL_MILLISECONDS, signal);
}

async function readiness(signal) {
  try {
    return await api.get("/readyz", {}, signal);
  } catch (error) {
    if (error instanceof Problem) return { status: "not ready", reasons: [error.detail || error.message] };
    throw error;
  }
}

function healthOf({ status, reasons = [], parts = {} }) {
  return [
    el("p", {}, el("span", { class: `badge ${status === "ready" ? "good" : "bad"}` }, status)),
    reasons.length > 0 && el("ul", {}, reasons.map((reason) => el("li", { class: "bad" }, visible(reason)))),
    el("dl", { class: "parts" }, Object.entries(parts).map(([name, state]) => [el("dt", {}, words(name)), el("dd", { class: state === "ok" ? "good" : "bad" }, visible(state))])),
  ].filter(Boolean);
}

function you() {
  return el("section", { class: "card" }, el("h2", {}, "You"),
    el("p", {}, "Signed in as ", el("strong", {}, visible(session.user)), "."),
    el("ul", { class: "plain" }, session.workspaces.map((one) => el("li", {}, el("strong", {}, visible(one.slug)), ` as ${one.role}: ${ROLES[one.role] ?? ""}`))));
}

function thresholds(profile) {
  if (!profile) return el("section", { class: "card" }, el("h2", {}, "Thresholds"), el("p", { class: "muted" }, "Told by the first regression that completes."));
  return table("Thresholds of the last regression", ["Metric", "May get worse by"], Object.entries(profile).map(([metric, value]) => el("tr", {}, rowHead(words(metric)), cell(metric === "hallucinations" ? count(value) : percent(value)))));
}
