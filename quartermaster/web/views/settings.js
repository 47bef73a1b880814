// Health, what is set and who may do what, as far as the API tells it to this role; commands for the rest.

import { Problem, api, poll } from "../api.js";
import { action } from "../components/actions.js";
import { cell, rowHead, table } from "../components/report.js";
import { copyButton, el, visible } from "../dom.js";
import { compact, count, percent, plural, words } from "../format.js";
import { session } from "../session.js";
import { alerts } from "../settings/alerts.js";
import { people } from "../settings/people.js";

const POLL_MILLISECONDS = 5000;

const ROLES = {
  VIEWER: "read everything of the workspace",
  MEMBER: "read, and bring in recordings",
  MANAGER: "read, and bring in recordings",
  ADMIN: "evaluate, freeze and accept baselines, manage members, tokens and alerts",
  OWNER: "everything that an ADMIN may, for other OWNERs too",
};

const COMMANDS = [
  ["Watch a folder of recordings in place, and stop it", "quartermaster watch add PATH", "quartermaster watch remove PATH"],
  ["Health of the whole installation, its database read through", "quartermaster doctor"],
  ["What is kept and for how long", "quartermaster retention set --days 90"],
  ["Tell a webhook or a program when something got worse", "quartermaster alert add NAME --on regression --url URL"],
  ["A token for every workspace of its user", "quartermaster token create --user USER --expires 90d"],
  ["A copy of everything", "quartermaster backup FILE"],
];

export async function show(root, { signal }) {
  const manages = session.may("ADMIN");
  const [set, crew, rules, found] = await Promise.all([
    api.get("/api/v1/settings", {}, signal),
    people(signal),
    manages && alerts(signal),
    manages && checkup(signal),
  ]);
  const health = el("section", { class: "card", "aria-live": "polite" });
  let last = "";
  const look = async () => {
    const state = await readiness(signal);
    if (last === JSON.stringify(state)) return;
    last = JSON.stringify(state);
    health.replaceChildren(el("h2", {}, "Health"), ...healthOf(state));
  };
  await look();
  root.append(...[
    el("h1", {}, "Settings"),
    el("div", { class: "columns" }, health, el("div", { class: "stack" }, you(), retention(set.retention)), thresholds(set.thresholds)),
    ...crew, found, rules, commands(),
    el("p", { class: "muted" }, `Quartermaster ${visible(set.version)}. `, el("a", { href: "/schema" }, "The API as OpenAPI"), ". Light, dark or the system's theme: at the top of this page."),
  ].filter(Boolean));
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

function retention({ days, missions, size, kept_types: types }) {
  const limits = [days !== null && `${plural(days, "day")} after their last change`, missions !== null && `the last ${count(missions)}`, size !== null && `as many as ${compact(size)} bytes hold`].filter(Boolean);
  return el("section", { class: "card" }, el("h2", {}, "Retention"),
    el("p", {}, limits.length ? `Missions are kept: ${limits.join("; ")}.` : "Every mission is kept for good."),
    types.length > 0 && el("p", {}, `Missions with entries of these types stay: ${types.map(visible).join(", ")}.`));
}

const thresholds = (profile) => table("Thresholds of a regression", ["Metric", "May get worse by"], Object.entries(profile).map(([metric, value]) => el("tr", {}, rowHead(words(metric)), cell(metric === "hallucinations" ? count(value) : percent(value)))));

const STATES = { ok: ["✓", "good"], warn: ["!", "warn"], fail: ["✕", "bad"] };
const BADLY_FIRST = ["fail", "warn", "ok"];

/** What `quartermaster doctor` finds, what is wrong first. */
async function checkup(signal) {
  const place = el("div", { class: "stack" });
  const draw = async () => {
    const { here, rows } = await api.get("/api/v1/doctor", {}, signal);
    const sorted = rows.toSorted((one, other) => BADLY_FIRST.indexOf(one.state) - BADLY_FIRST.indexOf(other.state));
    const again = action("Look again", draw);
    if (!here) {
      place.replaceChildren(el("section", { class: "card" }, el("h2", {}, "Installation"),
        el("p", {}, sorted.map((one) => [el("span", { class: `badge ${STATES[one.state][1]}` }, `${STATES[one.state][0]} ${words(one.check)}`), " "])),
        el("p", { class: "muted" }, "Details name folders, and are told on the machine of the daemon alone: open this page there, or run quartermaster doctor."), again));
      return;
    }
    const watched = sorted.filter((one) => one.check === "inbox");
    const others = sorted.filter((one) => one.check !== "inbox");
    const installation = table("Installation, as doctor finds it", ["State", "Check", "What was found"], others.map(finding));
    installation.append(again);
    place.replaceChildren(table("Watched folders", ["State", "Folder"], watched.map((one) => el("tr", {}, cell(state(one)), el("td", { class: "wrap" }, visible(one.message)))), "None beside the inbox of the home folder."), installation);
  };
  await draw();
  return place;
}

const state = (one) => el("span", { class: `badge ${STATES[one.state][1]}` }, el("span", { "aria-hidden": "true" }, STATES[one.state][0]), one.state);

const finding = (one) => el("tr", {}, cell(state(one)), rowHead(words(one.check)), el("td", { class: "wrap" }, visible(one.message), one.command && copyButton(one.command, "Copy the command")));

const commands = () => el("section", { class: "card" }, el("h2", {}, "By command"),
  el("p", { class: "muted" }, "These work on the home folder, by whoever may read it, with the daemon running or not."),
  el("ul", { class: "plain commands" }, COMMANDS.map(([text, ...lines]) => el("li", {}, el("p", {}, text), lines.map((line) => el("div", { class: "command" }, el("code", { tabindex: "0" }, line), copyButton(line)))))));
