// Alert rules and what became of their messages: for an ADMIN.

import { api, part } from "../api.js";
import { action } from "../components/actions.js";
import { cell, number, rowHead, table } from "../components/report.js";
import { el, visible } from "../dom.js";
import { ago, count, time, words } from "../format.js";

const MOST = 20;
const STATES = { delivered: "good", dead: "bad", "held back": "warn" };

export async function alerts(signal) {
  const place = el("div", { class: "stack" });
  const draw = async () => {
    const [rules, sent] = await Promise.all([api.get("/api/v1/alerts/rules", {}, signal), api.get("/api/v1/alerts/deliveries", { limit: MOST }, signal)]);
    place.replaceChildren(...[
      table("Alerts", ["Rule", "Tells of", "To", "Made", ""], rules.rows.map((one) => ruleRow(one, draw)), "No rule yet: quartermaster alert add makes one."),
      sent.rows.length > 0 && table(`Messages${sent.next_cursor ? `: the last ${MOST}` : ""}`, ["When", "Rule", "State", ["Attempts"], "Said"], sent.rows.map(messageRow)),
    ].filter(Boolean));
  };
  await draw();
  return place;
}

function ruleRow(one, draw) {
  const { on, ...options } = one.trigger;
  const narrowed = Object.entries(options).filter(([, value]) => value !== null && value !== "" && value?.length !== 0).map(([name, value]) => `${words(name)} ${Array.isArray(value) ? value.map(words).join(" and ") : value}`).join(", ");
  const remove = one.destination.kind === "command" ? el("span", { class: "muted" }, "removed by command") : action("Remove", async () => { await api.delete(`/api/v1/alerts/rules/${part(one.id)}`); await draw(); }, { asks: `Remove ${visible(one.name)}?`, name: `Remove the rule ${visible(one.name)}` });
  return el("tr", {}, rowHead(visible(one.name)), cell(words(on), narrowed && el("span", { class: "muted" }, `: ${visible(narrowed)}`)), cell(`${one.destination.kind} `, el("code", {}, visible(one.destination.shown))), el("td", { title: time(one.created_at) }, `${ago(one.created_at)} by ${visible(one.created_by)}`), cell(remove));
}

const messageRow = (one) => el("tr", {}, el("td", { title: time(one.created_at) }, ago(one.created_at)), rowHead(visible(one.name)), cell(el("span", { class: `badge ${STATES[one.state] ?? ""}` }, one.state)), number(count(one.attempts)), cell(visible(one.message.wording ?? ""), one.said && el("div", { class: "muted" }, visible(one.said))));
