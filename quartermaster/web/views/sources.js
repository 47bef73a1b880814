// What became of every file that was offered: read, double, or not understood and why.

import { api, part, poll } from "../api.js";
import { cell, number, rowHead, table } from "../components/report.js";
import { copyButton, el, settled, visible } from "../dom.js";
import { UNKNOWN, ago, compact, count, plural, time, words } from "../format.js";
import { address, amend } from "../router.js";

const PAGE = 100;
const POLL_MILLISECONDS = 5000;
const STATES = { reading: "", complete: "good", waiting: "", unrecognised: "warn", refused: "bad", failed: "bad", vanished: "warn" };
const COUNTS = ["accepted", "duplicate", "conflicting", "rejected"];

export async function show(root, place) {
  if (place.parts[0]) return showSource(root, place.parts[0], place.signal);
  const { query, signal } = place;
  const filters = Object.fromEntries(["q", "state", "format"].map((name) => [name, query.get(name) ?? ""]));
  let rows = [];
  let cursor = null;
  let asked = 0;
  const list = el("div", {});
  const total = el("p", { class: "muted", role: "status" });
  const more = el("button", { type: "button", hidden: true, onclick: () => load(cursor) }, "Show more");
  const load = async (from = null) => {
    const mine = ++asked;
    const page = await api.get("/api/v1/sources", { ...filters, limit: PAGE, cursor: from }, signal);
    if (mine !== asked) return;
    rows = from ? [...rows, ...page.rows] : page.rows;
    cursor = page.next_cursor ?? null;
    more.hidden = !cursor;
    total.textContent = `${plural(rows.length, "file")}${cursor ? " and more" : ""}`;
    const held = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.replaceChildren(table("Files", ["File", "Format", "State", ["Missions"], ["Accepted"], ["Double"], ["Conflicting"], ["Rejected"], "Changed"], rows.map(row), "No file has come in. Put recordings into the inbox, or run quartermaster ingest PATH."));
    if (held) list.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  };
  const field = (name, text, kind) => el("input", { name, type: "search", class: kind, "aria-label": text, placeholder: text, value: filters[name] || null });
  const form = el("form", { class: "bar filters", role: "search" }, field("q", "Name of the file", "grow"), field("format", "Format"),
    el("select", { name: "state", "aria-label": "State" }, el("option", { value: "" }, "any state"), Object.keys(STATES).map((one) => el("option", { value: one, selected: one === filters.state }, words(one)))));
  form.addEventListener("input", settled(() => { Object.assign(filters, Object.fromEntries(new FormData(form))); amend(filters); load(); }, 150, signal));
  form.addEventListener("submit", (event) => event.preventDefault());
  root.append(el("div", { class: "bar heading" }, el("h1", {}, "Sources"), total), form, list, more);
  await load();
  poll(async () => { if (rows.length <= PAGE) await load(); }, POLL_MILLISECONDS, signal);
}

function row(one) {
  return el("tr", {},
    rowHead(el("a", { href: address("sources", [one.source_id]) }, visible(one.name))),
    cell(one.format ? visible(one.format) : el("span", { class: "unknown" }, UNKNOWN)),
    cell(state(one), one.reason && el("div", { class: "muted" }, visible(one.reason))),
    number(count(one.missions)), COUNTS.map((name) => number(el("span", { class: name === "rejected" && one[name] ? "bad" : one[name] ? null : "muted" }, count(one[name])))),
    el("td", { class: "muted when", title: time(one.changed_at) }, ago(one.changed_at)));
}

const state = (one) => el("span", { class: `badge ${one.rejected && one.state === "complete" ? "warn" : STATES[one.state] ?? ""}` }, words(one.state));

async function showSource(root, id, signal) {
  const one = await api.get(`/api/v1/sources/${part(id)}`, {}, signal);
  const counts = (told) => Object.entries(told).map(([name, many]) => `${name} ${count(many)}`).join(", ") || "none";
  const facts = [["State", one.reason ? `${words(one.state)}: ${one.reason}` : words(one.state)], ["Format", one.format ?? UNKNOWN], ["Missions", count(one.missions)], ["Records", COUNTS.map((name) => `${count(one[name])} ${name}`).join(", ")], ["Size", `${compact(one.size)} bytes${one.unread ? `, ${compact(one.unread)} not read yet` : ""}`], ["Secrets masked", counts(one.masked)], ["Types without a number", counts(one.unknown_types)], ["Changed", time(one.changed_at)]];
  const lines = one.rejected_lines.map((range) => el("tr", {}, number(range.line === null ? `byte ${count(range.position)}` : count(range.line)), cell(visible(range.reason)), cell(el("code", { class: "wrap" }, visible(range.text)))));
  const title = one.rejected > lines.length ? `Not understood: the first ${lines.length} of ${count(one.rejected)}` : "Not understood";
  root.append(
    el("div", { class: "bar heading" }, el("h1", {}, visible(one.name)), el("span", { class: "grow" }), copyButton(one.source_id, "Copy id"), el("a", { href: address("sources") }, "All sources")),
    el("dl", { class: "facts card" }, facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, visible(text))))),
    table(title, [["Line"], "Reason", "Text"], lines, "Every record of it was understood."));
}
