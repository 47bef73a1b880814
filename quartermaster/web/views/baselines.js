// Frozen baselines: what counts as good, since when, and why.

import { api, part } from "../api.js";
import { notice } from "../components/notices.js";
import { cell, number, rowHead, table } from "../components/report.js";
import { mayEvaluate } from "../components/runs.js";
import { selection } from "../components/selection.js";
import { copyButton, el, visible } from "../dom.js";
import { ago, count, dollars, percent, plural, time, words } from "../format.js";
import { address, go } from "../router.js";

const MOST_ROWS = 200;

export async function show(root, { parts, query, signal }) {
  if (parts[0]) return showBaseline(root, parts[0], query, signal);
  const { rows } = await api.get("/api/v1/baselines", {}, signal);
  root.append(el("h1", {}, "Baselines"),
    table("What later missions are compared with", ["Name", ["Version"], ["Missions"], "Accepted", "Reason"], rows.map((one) =>
      el("tr", {}, rowHead(el("a", { href: address("baselines", [one.name]) }, visible(one.name))), number(count(one.version)), number(count(one.missions)), el("td", { title: time(one.created_at) }, `${ago(one.created_at)} by ${visible(one.created_by)}`), cell(visible(one.reason ?? ""))),
    ), mayEvaluate() ? "None yet. Freeze the missions that are good as they are." : "None yet. An owner or admin of this workspace can freeze one."),
    ...(mayEvaluate() ? [freezing({ ids: query.getAll("mission") }, signal)] : []));
}

/** A form that freezes a new baseline, or with a `name` accepts other missions for that one. */
function freezing({ name, ids = [] }, signal) {
  const side = selection("Missions", { mission_ids: ids });
  const said = el("p", { class: "bad", role: "alert" });
  const title = el("input", { name: "name", required: true, placeholder: "Name", "aria-label": "Name", autocomplete: "off" });
  const reason = el("input", { name: "reason", required: Boolean(name), placeholder: name ? "Why these are the baseline from now on" : "Reason", "aria-label": "Reason", class: "grow", autocomplete: "off" });
  const button = el("button", { class: "primary" }, name ? "Accept" : "Freeze");
  const form = el("form", { class: "card" }, el("h2", {}, name ? "Accept other missions" : "Freeze a new baseline"), side.box, said, el("div", { class: "bar" }, !name && title, reason, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const missions = side.read();
    said.textContent = missions ? "" : "Say which missions.";
    if (!missions) return;
    button.disabled = true;
    try {
      const kept = name
        ? await api.post(`/api/v1/baselines/${part(name)}/accept`, { missions, reason: reason.value.trim() }, signal)
        : await api.post("/api/v1/baselines", { name: title.value.trim(), missions, reason: reason.value.trim() || null }, signal);
      notice(`${kept.name}, version ${kept.version}: ${plural(kept.missions, "mission")} frozen.`, "good");
      const to = address("baselines", [kept.name]);
      if (location.hash === to) dispatchEvent(new HashChangeEvent("hashchange"));
      else go(to);
    } catch (error) {
      said.textContent = error.message;
      button.disabled = false;
    }
  });
  return form;
}

async function showBaseline(root, name, query, signal) {
  const found = await api.get(`/api/v1/baselines/${part(name)}`, {}, signal);
  const limits = Object.entries(found.profile).map(([metric, limit]) => `${words(metric)} ${metric === "hallucinations" ? count(limit) : percent(limit)}`).join(", ");
  const facts = [["Version", count(found.version)], ["Missions", count(found.missions)], ["Accepted", `${time(found.created_at)} by ${found.created_by}`], ["Reason", found.reason ?? "none was given"], ["Thresholds", limits], ["Prices", found.prices], ["Made by", `Quartermaster ${found.made_by}`]];
  const rows = found.rows.slice(0, MOST_ROWS).map((one) => el("tr", {}, rowHead(el("a", { href: address("mission", [one.mission_id]) }, visible(one.mission_id))), cell(visible(one.task ?? "")), cell(one.outcome ? words(one.outcome) : el("span", { class: "unknown" }, "unknown")), number(count(one.steps)), number(percent(one.metrics.tool_success_rate)), number(dollars(one.metrics.total_cost_usd))));
  const more = found.rows.length > MOST_ROWS ? `: the first ${MOST_ROWS} of ${count(found.rows.length)}` : "";
  root.append(
    el("div", { class: "bar heading" }, el("h1", {}, visible(name)), el("p", { class: "muted" }, "baseline"), el("span", { class: "grow" }), el("a", { href: address("baselines") }, "All baselines")),
    el("dl", { class: "facts card" }, facts.map(([title, text]) => el("div", {}, el("dt", {}, title), el("dd", {}, visible(text)))),
      el("div", {}, el("dt", {}, "Digest"), el("dd", { class: "mono wrap" }, found.digest, copyButton(found.digest)))),
    ...(mayEvaluate() ? [freezing({ name, ids: query.getAll("mission") }, signal)] : []),
    table("History", [["Version"], "When", "By", ["Missions"], "Reason"], found.history.map((one) => el("tr", {}, number(count(one.version)), cell(time(one.created_at)), cell(visible(one.created_by)), number(count(one.missions)), cell(visible(one.reason ?? ""))))),
    table(`Missions${more}`, ["Mission", "Task", "Outcome", ["Steps"], ["Tool success"], ["Cost"]], rows));
}
