// Which missions came in: search, filters in the address, live arrival, choice of some to compare.

import { api, difference, poll } from "../api.js";
import { OUTCOME_NAMES, cost, findings, outcome, strip } from "../components/parts.js";
import "../components/list.js";
import { copyButton, el, say, settled, visible } from "../dom.js";
import { ago, between, compact, plural, time, words } from "../format.js";
import { ofThisView } from "../keys.js";
import { address, amend, go, whereabouts } from "../router.js";
import { session } from "../session.js";

const PAGE = 200;
const POLL_MILLISECONDS = 3000;
const SINCE = { "": "any time", day: "last 24 h", week: "last 7 days", month: "last 30 days" };
const DAYS = { day: 1, week: 7, month: 30 };
const SORTS = { "": "last changed", started: "started", cost: "cost", tokens: "tokens", entries: "length", title: "title" };
const NAMES = ["q", "task", "variant", "outcome", "format", "failure_mode", "since", "sort"];

class Missions {
  rows = [];
  cursor = null;
  strips = new Map();
  chosen = new Set();
  #loading = null;
  #asked = 0;
  offered = null;

  constructor(root, { query, signal }) {
    this.signal = signal;
    this.filters = Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
    this.list = el("qm-list").setup({
      label: "Missions",
      height: 44,
      header: header(),
      make: makeRow,
      show: (row, index) => this.#fill(row, this.rows[index]),
      open: (index) => this.open(index),
      scrolled: () => this.#reach(),
    });
    this.list.addEventListener("click", (event) => this.#click(event));
    this.total = el("p", { class: "muted", role: "status" });
    this.compare = el("button", { type: "button", class: "primary", hidden: true, onclick: () => this.comparison() });
    this.place = el("div", { class: "place" });
    this.form = this.#makeForm();
    root.append(el("div", { class: "bar heading" }, el("h1", {}, "Missions"), this.total, el("span", { class: "grow" }), this.compare), this.form, this.place);
  }

  async start() {
    await this.load();
    poll(() => this.#news(), POLL_MILLISECONDS, this.signal);
    this.list.focus({ preventScroll: true });
  }

  #makeForm() {
    const changed = settled(() => this.#filter(), 150, this.signal);
    const field = (name, text, properties = {}) =>
      el("input", { name, "aria-label": text, placeholder: text, value: this.filters[name] || null, type: "search", autocomplete: "off", ...properties });
    const choice = (name, text, options) =>
      el("select", { name, "aria-label": text }, Object.entries(options).map(([value, shown]) => el("option", { value, selected: value === this.filters[name] }, shown)));
    this.search = field("q", "Search id, title, task, variant  ( / )", { class: "grow" });
    this.tasks = el("datalist", { id: "known-tasks" });
    this.variants = el("datalist", { id: "known-variants" });
    this.formats = el("datalist", { id: "known-formats" });
    const form = el("form", { class: "bar filters", role: "search" },
      this.search,
      choice("outcome", "Outcome", { "": "any outcome", ...Object.fromEntries(OUTCOME_NAMES.map((name) => [name, words(name)])) }),
      choice("since", "Since", SINCE),
      field("task", "Task", { list: "known-tasks" }),
      field("variant", "Variant", { list: "known-variants" }),
      field("format", "Format", { list: "known-formats" }),
      field("failure_mode", "Failure mode"),
      el("label", { class: "sort" }, el("span", { class: "muted" }, "Sort by"), choice("sort", "Sort by", SORTS)),
      this.tasks, this.variants, this.formats);
    form.addEventListener("input", changed);
    form.addEventListener("submit", (event) => { event.preventDefault(); this.#filter(); this.list.focus(); });
    return form;
  }

  async #filter() {
    const given = Object.fromEntries(new FormData(this.form));
    this.filters = Object.fromEntries(NAMES.map((name) => [name, (given[name] ?? "").trim()]));
    amend({ ...this.filters, at: null });
    await this.load();
  }

  #query(more) {
    const { since, sort, ...filters } = this.filters;
    const days = DAYS[since];
    return { ...filters, sort: sort || null, since: days ? new Date(Date.now() - days * 86_400_000).toISOString() : null, ...more };
  }

  async load() {
    const asked = ++this.#asked;
    const page = await api.get("/api/v1/missions", this.#query({ limit: PAGE }), this.signal);
    if (asked !== this.#asked) return;
    this.rows = page.rows;
    this.cursor = page.next_cursor ?? null;
    if (!this.rows.length) this.offered ??= await foundFolders(this.signal);
    this.list.scrollTop = 0;
    this.#show();
    this.list.current = this.rows.length ? 0 : -1;
    say(`${plural(this.rows.length, "mission")}${this.cursor ? " and more" : ""}`);
  }

  #show() {
    const filtered = NAMES.some((name) => name !== "sort" && this.filters[name]);
    this.total.textContent = this.rows.length ? `${plural(this.rows.length, "mission")}${this.cursor ? " so far; scroll for more" : ""}` : "";
    if (this.rows.length) {
      if (this.list.parentNode !== this.place) this.place.replaceChildren(this.list);
      this.list.length = this.rows.length;
    } else this.place.replaceChildren(filtered ? this.#nothing() : emptyState(this.offered));
    this.form.hidden = !this.rows.length && !filtered;
    for (const [name, place] of [["task", this.tasks], ["variant", this.variants], ["format", this.formats]]) {
      const known = [...new Set(this.rows.map((row) => row[name]).filter(Boolean))].slice(0, 200);
      place.replaceChildren(...known.map((value) => el("option", { value })));
    }
    this.#chosenChanged();
  }

  #nothing() {
    const clear = () => {
      for (const control of this.form.elements) if (control.name !== "sort") control.value = "";
      this.#filter();
    };
    return el("section", { class: "card empty" }, el("h2", {}, "No mission passes these filters"), el("button", { type: "button", onclick: clear }, "Clear the filters"));
  }

  async #reach() {
    this.#draw();
    if (!this.cursor || this.#loading || this.list.range[1] < this.rows.length - 40) return;
    const asked = this.#asked;
    this.#loading = api.get("/api/v1/missions", this.#query({ limit: PAGE, cursor: this.cursor }), this.signal);
    try {
      const page = await this.#loading;
      if (asked !== this.#asked) return;
      this.rows.push(...page.rows);
      this.cursor = page.next_cursor ?? null;
      this.#show();
    } catch (error) {
      if (error.name !== "AbortError") this.total.textContent = error.message;
    } finally {
      this.#loading = null;
    }
  }

  /** What has changed comes in on top, and the row that one is on stays under one's eyes. */
  async #news() {
    if (this.filters.sort || this.#loading) return;
    const asked = this.#asked;
    const page = await api.get("/api/v1/missions", this.#query({ limit: 50 }), this.signal);
    if (asked !== this.#asked) return;
    const known = new Map(this.rows.map((row) => [row.mission_id, row]));
    const fresh = page.rows.filter((row) => known.get(row.mission_id)?.changed_at !== row.changed_at);
    if (!fresh.length) return;
    const current = this.rows[this.list.current]?.mission_id;
    const arrived = fresh.filter((row) => !known.has(row.mission_id)).length;
    const ids = new Set(page.rows.map((row) => row.mission_id));
    for (const row of fresh) this.strips.delete(row.mission_id);
    const offset = this.list.scrollTop;
    this.rows = [...page.rows, ...this.rows.filter((row) => !ids.has(row.mission_id))];
    this.#show();
    if (offset > 0) this.list.scrollTop = offset + arrived * 44;
    const at = this.rows.findIndex((row) => row.mission_id === current);
    if (at >= 0 && offset === 0) this.list.current = at;
    if (arrived) say(`${plural(arrived, "new mission")} came in`);
  }

  #draw = settled(async () => {
    const [from, to] = this.list.range;
    const wanted = this.rows.slice(from, to).map((row) => row.mission_id).filter((id) => !this.strips.has(id)).slice(0, 60);
    if (!wanted.length) return;
    for (const id of wanted) this.strips.set(id, null);
    try {
      const { strips } = await api.get("/api/v1/missions/strips", { mission_id: wanted }, this.signal);
      for (const [id, told] of Object.entries(strips)) this.strips.set(id, told);
      this.list.refresh();
    } catch (error) {
      for (const id of wanted) this.strips.delete(id);
      if (error.name !== "AbortError") this.total.textContent = error.message;
    }
  }, 60);

  #fill(row, mission) {
    if (!mission) return;
    const [box, name, ended, steps, found, money, tokens, took, when] = row.children;
    const chosen = this.chosen.has(mission.mission_id);
    row.setAttribute("aria-selected", String(chosen));
    box.firstChild.checked = chosen;
    box.firstChild.setAttribute("aria-label", `Select ${visible(mission.title ?? mission.mission_id)}`);
    const [link, more] = name.children;
    link.href = address("mission", [mission.mission_id]);
    link.textContent = visible(mission.title ?? mission.mission_id);
    more.textContent = [mission.task, mission.variant, mission.format].filter(Boolean).map(visible).join(" · ") || mission.mission_id;
    ended.replaceChildren(outcome(mission.outcome));
    const told = this.strips.get(mission.mission_id);
    if (row.strip !== told || !told) steps.replaceChildren(told ? strip(told) : "");
    row.strip = told;
    found.replaceChildren(findings(mission.findings));
    money.replaceChildren(mission.model_calls ? cost(mission.total_cost_usd, coverage(mission)) : el("span", { class: "muted" }, "no call"));
    tokens.textContent = mission.model_calls ? compact(mission.total_tokens) : "";
    tokens.classList.toggle("unknown", mission.total_tokens === null);
    took.textContent = between(mission.started_at, mission.ended_at);
    took.classList.toggle("unknown", !mission.started_at);
    when.textContent = ago(mission.changed_at);
    when.title = time(mission.changed_at);
  }

  #click(event) {
    const row = event.target.closest(".row");
    if (row && event.target.closest(".box")) this.select(Number(row.dataset.index));
    if (row && event.target.closest("a")) amend({ at: this.rows[row.dataset.index].mission_id });
  }

  open(index) {
    const mission = this.rows[index];
    if (!mission) return;
    amend({ at: mission.mission_id }); // where the way back leads
    go(address("mission", [mission.mission_id]));
  }

  select(index) {
    const id = this.rows[index]?.mission_id;
    if (!id) return;
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.list.refresh();
    this.#chosenChanged();
    if (this.chosen.size === 2) difference(...this.chosen, this.signal).catch(() => {}); // in advance: whoever compares them is told why not
    say(`${plural(this.chosen.size, "mission")} selected`);
  }

  #chosenChanged() {
    const many = this.chosen.size;
    this.compare.hidden = many === 0;
    this.compare.disabled = many < 2;
    this.compare.textContent = many < 2 ? "Select another to compare" : `Compare ${many} (c)`;
  }

  /** Two are laid side by side, first chosen first; of more, the first is the baseline of all others. */
  comparison() {
    if (this.chosen.size < 2) return say("Select two missions with x first");
    const [baseline, ...candidates] = this.chosen;
    go(address("compare", [], { baseline, candidate: candidates }));
  }
}

function coverage(mission) {
  const { calls_with_cost: known, model_calls: calls, known_cost_usd: partial } = mission;
  if (known === undefined || calls === 0 || known === calls) return null;
  return `${known} of ${calls} model calls say what they cost${known ? `, $${partial} together` : ""}`;
}

function header() {
  const titles = [["", "box"], ["Mission", "name"], ["Outcome", "ended"], ["Steps", "steps"], ["Findings", "found"], ["Cost", "money number"], ["Tokens", "tokens number"], ["Time", "took number"], ["Changed", "when number"]];
  return el("div", { class: "mission-row" }, titles.map(([text, kind]) => el("div", { class: kind, role: "columnheader" }, text || el("span", { class: "unseen" }, "Selected"))));
}

function makeRow() {
  const cell = (kind, ...children) => el("div", { class: kind, role: "gridcell" }, children);
  return el("div", { class: "mission-row" },
    cell("box", el("input", { type: "checkbox", tabindex: "-1" })),
    cell("name", el("a", { tabindex: "-1" }), el("span", { class: "muted" })),
    cell("ended"), cell("steps"), cell("found"), cell("money number"), cell("tokens number"), cell("took number"), cell("when number muted"));
}

const command = (text, said) => el("li", {}, el("p", {}, said), el("div", { class: "command" }, el("code", { tabindex: "0" }, text), copyButton(text)));

/** Folders of recordings on the machine of the daemon that nobody watches yet, as commands; null where none is told. */
async function foundFolders(signal) {
  if (!session.may("ADMIN")) return null;
  const { rows } = await api.get("/api/v1/doctor", {}, signal);
  const found = rows.filter((one) => one.command);
  return found.length ? found.map((one) => command(one.command, "Recordings were found on this machine. Watch them in place, read-only, from now on:")) : null;
}

function emptyState(offered) {
  return el("section", { class: "card empty" },
    el("h2", {}, "No mission has come in yet"),
    el("p", {}, session.may("MEMBER") ? "A mission is one piece of work of an agent, read from the recording that it leaves behind. Any of these brings the first one:" : "Ask a member of this workspace to bring in recordings."),
    session.may("MEMBER") && el("ul", {},
      offered ?? command("quartermaster watch add PATH", "Watch the folder in which an agent leaves its recordings, in place and read-only, from now on:"),
      command("quartermaster ingest PATH", "Read recordings that lie in a file or a folder, in any format that is known:"),
      command(`curl -H "Authorization: Bearer $QUARTERMASTER_TOKEN" --data-binary @entries.ndjson ${location.origin}/api/v1/journal`, "Send entries over HTTP:"),
      command(`OTEL_EXPORTER_OTLP_ENDPOINT=${location.origin} OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20$QUARTERMASTER_TOKEN"`, "Let an instrumented program send its spans here:"),
      command("quartermaster demo", "See the whole way on recorded samples first:")),
    el("p", { class: "muted" }, "This page shows a mission as soon as it comes in."));
}

export async function show(root, place) {
  const view = new Missions(root, place);
  const { list } = view;
  const move = (by) => { list.current = Math.max(0, list.current + by); list.focus({ preventScroll: true }); };
  ofThisView({
    "/": ["Search", () => view.search.focus()],
    j: ["Next mission", () => move(1)],
    k: ["Mission before", () => move(-1)],
    o: ["Open the mission", () => view.open(list.current)],
    Enter: ["", () => view.open(list.current)],
    x: ["Select the mission", () => view.select(list.current)],
    c: ["Compare what is selected", () => view.comparison()],
    Escape: ["Select nothing", () => { view.chosen.clear(); list.refresh(); view.compare.hidden = true; }],
  });
  await view.start();
  const at = whereabouts().query.get("at");
  const row = at ? view.rows.findIndex((one) => one.mission_id === at) : -1;
  if (row >= 0) list.current = row;
}
