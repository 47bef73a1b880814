// What one agent did: a timeline over a list of steps, and whatever one wants to know of a step beside it.

import { Problem, api, examined, part } from "../api.js";
import "../components/list.js";
import { failure, notice, waiting } from "../components/notices.js";
import { KINDS, findings as findingCounts, kindSign, outcome } from "../components/parts.js";
import { CURVES } from "../components/timeline.js";
import { el, say, settled, visible } from "../dom.js";
import { UNKNOWN, ago, between, compact, count, duration, plural, timeOfDay, words } from "../format.js";
import { ofThisView } from "../keys.js";
import { showEntry } from "../mission/detail.js";
import { findingsList, keyFigures, metricsTable, provenance } from "../mission/facts.js";
import { Steps } from "../mission/steps.js";
import { address, amend, go } from "../router.js";
import { session } from "../session.js";

const PREVIEW = 400;
const CHUNK = 200_000;
const ALL_SNIPPETS = 5_000;
const SNIPPETS = 200;
const KEPT_SNIPPETS = 20_000;
const ROW = 28;

class Mission {
  steps = null;
  matches = [];
  #asked = new Set();
  #search = 0;

  constructor(root, { parts, query, signal }) {
    this.id = parts[0] ?? "";
    this.path = `/api/v1/missions/${part(this.id)}`;
    this.query = query;
    this.signal = signal;
    this.head = el("header", { class: "mission-head" }, el("h1", {}, visible(this.id)));
    this.timeline = el("qm-timeline");
    this.timeline.addEventListener("pick", (event) => this.jump(event.detail, true));
    this.list = el("qm-list").setup({
      label: "Steps",
      height: ROW,
      make: makeRow,
      show: (row, line) => this.#fill(row, line),
      choose: (line) => this.#chosen(line),
      open: (line) => this.#openLoop(line),
      scrolled: () => this.#scrolled(),
    });
    this.panel = el("div", { class: "panel", id: "panel" });
    this.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Beside the steps" });
    this.said = el("span", { class: "muted", role: "status" });
    this.body = el("div", { class: "mission-body" },
      el("div", { class: "steps-side" }, this.list),
      el("aside", { class: "panel-side", "aria-label": "Details" }, this.tabs, this.panel));
    const legend = el("p", { class: "legend muted" }, Object.entries(KINDS).map(([letter, [, , text]]) => el("span", {}, kindSign(letter), text)), el("span", { class: "bad" }, "▂ failed"), el("span", { class: "warn" }, "▼ finding"));
    root.append(this.head, this.#tools(), el("section", { class: "over" }, this.timeline, legend), this.body);
    this.tab = query.get("tab") ?? "step";
  }

  #tools() {
    const button = (text, run, title) => el("button", { type: "button", title, onclick: run }, text);
    this.search = el("input", { type: "search", class: "grow", placeholder: "Search in this mission, or #12 for step 12  ( / )", "aria-label": "Search in this mission", autocomplete: "off", value: this.query.get("find") });
    this.search.addEventListener("input", settled(() => this.find(), 250, this.signal));
    this.search.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.nextMatch(event.shiftKey ? -1 : 1);
    });
    this.axis = button("by time", () => {
      this.timeline.byTime = !this.timeline.byTime;
      this.axis.textContent = this.timeline.byTime ? "by time" : "by step";
      this.timeline.arrange();
    }, "Whether the timeline goes by time or by step");
    const curve = el("select", { "aria-label": "Curve" }, Object.entries(CURVES).map(([name, text]) => el("option", { value: name }, text)));
    curve.addEventListener("change", () => { this.timeline.curve = curve.value; this.timeline.draw(); });
    this.messages = el("button", { type: "button", "aria-pressed": "true", title: "Show entries that are no steps: messages, notes", onclick: () => this.toggleMessages() }, "messages");
    return el("div", { class: "bar tools" }, this.search, this.said,
      button("‹ failure", () => this.nextFailure(-1), "Failure before (F)"), button("failure ›", () => this.nextFailure(1), "Next failure (f)"),
      button("‹ finding", () => this.nextFinding(-1), "Finding before (D)"), button("finding ›", () => this.nextFinding(1), "Next finding (d)"),
      this.messages, this.axis, curve);
  }

  async start() {
    const known = this.#known();
    const first = await api.get(`${this.path}/outline`, { limit: PREVIEW }, this.signal);
    this.#take(first);
    this.#arrive();
    this.list.focus({ preventScroll: true });
    if (!this.steps.complete) await this.#rest();
    await known;
    await this.#detail(); // after the steps: to examine a long mission takes the server a while
    this.#allSnippets();
  }

  /** The whole outline, in as many pieces as it takes. */
  async #rest() {
    this.said.textContent = "Reading all steps…";
    const outline = await api.get(`${this.path}/outline`, { limit: CHUNK }, this.signal);
    while (outline.count === null || outline.rows.entry_id.length < outline.count) {
      const more = await api.get(`${this.path}/outline`, { from: outline.rows.entry_id.length, limit: CHUNK }, this.signal);
      if (!more.rows.entry_id.length) break;
      append(outline, more);
    }
    outline.count = outline.rows.entry_id.length;
    const current = this.steps.lines[this.list.current];
    this.#take(outline);
    this.said.textContent = "";
    if (this.waitsFor) this.#arrive();
    else if (current !== undefined) this.list.current = this.steps.lineOf[current];
    if (this.search.value) this.find();
  }

  #take(outline) {
    const before = this.steps;
    this.steps = new Steps(outline);
    if (before) this.steps.snippets = before.snippets;
    this.#markFindings();
    this.timeline.steps = this.steps;
    this.list.length = this.steps.lines.length;
    this.axis.disabled = this.steps.clock === "order";
    this.axis.textContent = this.timeline.byTime ? "by time" : "by step";
    if (!this.steps.length) this.panel.replaceChildren(el("p", { class: "muted" }, "This mission has no entries yet."));
  }

  /** Where the address says, or the first row. */
  #arrive() {
    const step = Number(this.query.get("step"));
    const entry = this.query.get("entry");
    const row = step ? this.steps.rowOfStep(step) : entry ? this.steps.rowOf(entry) : 0;
    this.waitsFor = row < 0 && !this.steps.complete;
    if (this.steps.length) this.jump(Math.max(0, row), true);
    if (row < 0 && this.steps.complete) notice(step ? `This mission has no step ${step}.` : "This mission has no such entry.", "bad");
  }

  /** What the list knows of the mission is there at once. */
  async #known() {
    this.#drawTabs();
    try {
      const { rows } = await api.get("/api/v1/missions", { q: this.id, limit: 20 }, this.signal);
      const row = rows.find((one) => one.mission_id === this.id);
      if (row) this.#drawHead(row);
    } catch {
      // the mission itself is asked for next, and tells what is wrong
    }
    if (this.tab !== "step") this.#drawPanel();
  }

  async #detail() {
    try {
      this.mission = await examined(this.id, this.signal);
      this.#drawHead(this.mission);
      this.#markFindings();
      this.timeline.draw();
      this.list.refresh();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.detailError = error;
    }
    this.#drawTabs();
    if (this.tab !== "step") this.#drawPanel();
  }

  #markFindings() {
    if (!this.mission || !this.steps) return;
    const marked = new Map();
    const add = (row, one) => { if (row >= 0) marked.set(row, [...(marked.get(row) ?? []), one]); };
    for (const one of this.mission.failure_modes ?? []) add(this.steps.rowOfStep(one.step + 1), { name: one.failure_mode, severity: "warn", reason: "the step that completed it" });
    for (const one of this.mission.failures ?? []) add((one.entry_ids ?? []).map((id) => this.steps.rowOf(id)).find((row) => row >= 0) ?? -1, one);
    this.steps.findings = marked;
  }

  #drawHead(mission) {
    const about = [mission.variant, mission.task, mission.format].filter(Boolean).map(visible).join(" · ");
    const took = mission.started_at ? `${between(mission.started_at, mission.ended_at)}, ${ago(mission.ended_at)}` : mission.entries === undefined ? "" : "times unknown";
    this.head.replaceChildren(
      el("div", { class: "bar" }, el("h1", {}, visible(mission.title ?? mission.mission_id)), ...this.#actions()),
      el("div", { class: "bar" }, mission.entries !== undefined && outcome(mission.outcome), mission.entries !== undefined && findingCounts(mission.findings), el("span", { class: "muted wrap" }, [about, took].filter(Boolean).join(" · "))),
      mission.entries === undefined ? "" : el("dl", { class: "figures" }, keyFigures(mission).map(([name, text, rests]) => el("div", {}, el("dt", {}, name), el("dd", { class: text === UNKNOWN ? "unknown" : null }, text), rests && el("dd", { class: "rests muted", title: rests }, rests)))));
  }

  #actions() {
    return [
      el("button", { type: "button", onclick: () => go(address("compare", [], { baseline: this.id })) }, "Compare with…"),
      session.may("ADMIN") && el("button", { type: "button", onclick: () => this.#replay() }, "Replay"),
    ].filter(Boolean);
  }

  async #replay() {
    try {
      const { run_id: run } = await api.post("/api/v1/eval/replay", { mission_id: this.id });
      notice(`Replay ${run} is queued.`, "good");
    } catch (error) {
      notice(error.message, "bad");
    }
  }

  #drawTabs() {
    const many = this.mission ? (this.mission.failures?.length ?? 0) + (this.mission.failure_modes?.length ?? 0) : null;
    const held = this.tabs.contains(document.activeElement);
    const tabs = { step: "Step", findings: many === null ? "Findings" : `Findings (${many})`, metrics: "Metrics", origin: "Origin" };
    this.tabs.replaceChildren(...Object.entries(tabs).map(([name, text]) =>
      el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-selected": String(name === this.tab), "aria-controls": "panel", tabindex: name === this.tab ? "0" : "-1", onclick: () => this.show(name) }, text)));
    this.tabs.onkeydown = (event) => {
      const names = Object.keys(tabs);
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      this.show(names[(names.indexOf(this.tab) + by + names.length) % names.length]);
    };
    if (held) document.getElementById(`tab-${this.tab}`).focus();
    this.panel.setAttribute("role", "tabpanel");
    this.panel.setAttribute("aria-labelledby", `tab-${this.tab}`);
  }

  show(tab) {
    this.tab = tab;
    amend({ tab: tab === "step" ? null : tab });
    this.#drawTabs();
    this.#drawPanel();
  }

  #drawPanel() {
    this.panel.scrollTop = 0;
    if (this.tab === "step") return this.#showEntry();
    this.panel.row = -1;
    if (this.detailError) return this.panel.replaceChildren(failure(this.detailError, () => { this.detailError = null; this.#detail(); }));
    if (!this.mission) return this.panel.replaceChildren(waiting("Examining this mission…"));
    const jump = ({ step, entry }) => {
      const row = step ? this.steps.rowOfStep(step) : this.steps.rowOf(entry);
      if (row < 0) notice("This place is not among the steps that were read.", "bad");
      else this.jump(row, true);
    };
    const drawn = { findings: () => findingsList(this.mission, jump), metrics: () => metricsTable(this.mission), origin: () => provenance(this.mission) };
    this.panel.replaceChildren(...drawn[this.tab]());
  }

  #showEntry() {
    const row = this.row;
    if (row === undefined || this.panel.row === row) return;
    this.panel.row = row;
    showEntry(this.panel, this.steps, row, this.signal);
  }

  #later = settled(() => {
    if (this.signal.aborted) return;
    const { row, steps } = this;
    amend(steps.step[row] === null ? { step: null, entry: steps.entry_id[row] } : { step: steps.step[row] + 1, entry: null });
    if (this.tab === "step") this.#showEntry();
  }, 90);

  #chosen(line) {
    this.row = this.steps.lines[line];
    if (this.row === undefined) return;
    this.timeline.mark(this.#seen(), this.row);
    this.#later();
  }

  #seen() {
    const [from, to] = this.list.range;
    const { lines } = this.steps;
    return lines.length ? [lines[Math.min(from, lines.length - 1)], lines[Math.min(to, lines.length) - 1]] : null;
  }

  /** Go to a row; a loop that hides it opens. */
  jump(row, middle = false) {
    if (this.steps.lines[this.steps.lineOf[row]] !== row) {
      const loop = this.steps.loopAt(row);
      if (loop && !this.steps.expanded.has(loop)) this.steps.toggle(row);
      if (this.steps.lines[this.steps.lineOf[row]] !== row && !this.steps.messages) this.toggleMessages();
      this.list.length = this.steps.lines.length;
    }
    const line = this.steps.lineOf[row];
    if (middle && (line < this.list.range[0] || line >= this.list.range[1] - 1)) this.list.reveal(line, true);
    this.list.current = line;
    this.row = row;
    this.#later();
  }

  #openLoop(line) {
    const row = this.steps.lines[line];
    if (!this.steps.loops.has(line) || !this.steps.toggle(row)) return this.show("step");
    this.list.length = this.steps.lines.length;
    this.list.current = this.steps.lineOf[row];
    say(this.steps.expanded.has(this.steps.loopAt(row)) ? "Loop opened" : "Loop closed");
  }

  toggleMessages() {
    const { row } = this;
    this.steps.arrange({ messages: !this.steps.messages });
    this.messages.setAttribute("aria-pressed", String(this.steps.messages));
    this.list.length = this.steps.lines.length;
    if (row !== undefined) this.list.current = this.steps.lineOf[row];
  }

  #go(row, what) {
    if (row < 0) notice(`There is no further ${what} in this direction.`);
    else this.jump(row, true);
  }

  nextFailure(direction) {
    this.#go(this.steps.next(this.row ?? -1, direction, (row) => this.steps.failed(row)), "failure");
  }

  nextFinding(direction) {
    this.#go(this.steps.next(this.row ?? -1, direction, (row) => this.steps.findings.has(row)), "finding");
  }

  nextMatch(direction) {
    if (!this.matches.length) return;
    const from = this.row ?? -1;
    const row = direction > 0 ? this.matches.find((one) => one > from) ?? this.matches[0] : this.matches.findLast((one) => one < from) ?? this.matches.at(-1);
    this.jump(row, true);
    this.said.textContent = `${count(this.matches.indexOf(row) + 1)} of ${plural(this.matches.length, "match", "matches")}`;
  }

  /** Names at once, whole entries as soon as the server has looked. */
  async find() {
    const asked = ++this.#search;
    const text = this.search.value.trim();
    this.matches = [];
    this.matching = new Set();
    this.said.textContent = "";
    amend({ find: text || null });
    const number = /^#(\d+)$/.exec(text);
    if (number) {
      const row = this.steps.rowOfStep(Number(number[1]));
      if (row >= 0) this.jump(row, true);
      else this.said.textContent = "There is no such step";
    }
    if (number || text.length < 2) return this.list.refresh();
    const wanted = text.toLowerCase();
    const names = this.steps.names.map((name) => name.toLowerCase().includes(wanted));
    const types = this.steps.entry_types.map((name) => name.includes(wanted));
    for (let row = 0; row < this.steps.length; row += 1) if (names[this.steps.name[row]] || types[this.steps.entry_type[row]]) this.matching.add(row);
    this.#matched();
    try {
      const found = await api.get("/api/v1/journal", { mission_id: this.id, q: text.slice(0, 200), limit: 500 }, this.signal);
      if (asked !== this.#search) return;
      for (const entry of found.entries) {
        const row = this.steps.rowOf(entry.id);
        if (row >= 0) this.matching.add(row);
      }
      this.#matched(found.next_cursor !== null);
    } catch (error) {
      if (error.name !== "AbortError" && asked === this.#search) this.said.textContent = error instanceof Problem ? error.error : "";
    }
  }

  #matched(more = false) {
    this.matches = [...this.matching].sort((one, other) => one - other);
    this.said.textContent = `${plural(this.matches.length, "match", "matches")}${more ? " and more" : ""}`;
    this.list.refresh();
  }

  #fill(row, line) {
    const { steps } = this;
    const index = steps.lines[line];
    const [sign, number, at, what, marks, tokens, took] = row.children;
    const kind = steps.kind(index);
    if (row.kind !== kind) {
      sign.replaceChildren(kindSign(kind));
      row.kind = kind;
    }
    number.textContent = steps.step[index] === null ? "" : count(steps.step[index] + 1);
    at.textContent = steps.clock === "time" ? timeOfDay(Date.parse(steps.started_at) + steps.at_ms[index]) : "";
    const loop = steps.loops.get(line);
    const told = steps.snippets.get(steps.entry_id[index]);
    const ended = steps.ended_by[index] && steps.snippets.get(steps.ended_by[index]);
    const [times, name, more] = what.children;
    times.textContent = loop ? `${steps.expanded.has(loop) ? "▾" : "▸"} ×${loop.times}` : "";
    const isStep = steps.step[index] !== null;
    const label = steps.label(index);
    name.textContent = loop && loop.period > 1 ? Array.from({ length: loop.period }, (_, by) => visible(steps.label(loop.from + by)).slice(0, 30)).join(" → ") : visible(label);
    const said = isStep ? [told?.arguments, ended?.output ?? told?.output].filter(Boolean).join("  →  ") || (told?.summary !== label && kind !== "t" ? told?.summary : "") : told?.summary;
    more.textContent = said ? visible(said) : "";
    const failed = steps.failed(index);
    const found = steps.findings.get(index);
    marks.textContent = `${failed ? "✕ failed" : ""}${found ? `${failed ? " " : ""}⚑ ${found.map((one) => words(one.name)).join(", ")}` : ""}`;
    row.classList.toggle("failed", failed);
    row.classList.toggle("aside", !isStep);
    row.classList.toggle("match", this.matching?.has(index) ?? false);
    tokens.textContent = kind === "m" && steps.tokens[index] !== null ? compact(steps.tokens[index]) : "";
    took.textContent = steps.duration_ms[index] === null ? "" : duration(steps.duration_ms[index]);
  }

  #scrolled() {
    if (!this.steps) return;
    this.timeline.mark(this.#seen(), this.row ?? -1);
    this.#wantSnippets();
  }

  #wantSnippets = settled(async () => {
    if (this.signal.aborted) return;
    const [from, to] = this.list.range;
    const rows = this.steps.lines.subarray(from, to);
    const pages = new Set();
    for (const row of rows) if (!this.steps.snippets.has(this.steps.entry_id[row])) pages.add(Math.floor(this.steps.place[row] / SNIPPETS));
    for (const page of pages) await this.#snippets(page);
  }, 70);

  async #snippets(page) {
    if (this.#asked.has(page)) return;
    this.#asked.add(page);
    try {
      const { entries } = await api.get(`${this.path}/snippets`, { from: page * SNIPPETS, limit: SNIPPETS }, this.signal);
      const { snippets } = this.steps;
      for (const one of entries) if (one.entry_id) snippets.set(one.entry_id, one);
      if (snippets.size > KEPT_SNIPPETS) {
        for (const id of snippets.keys()) {
          if (snippets.size <= KEPT_SNIPPETS / 2) break;
          snippets.delete(id);
        }
        this.#asked.clear();
      }
      this.list.refresh();
    } catch {
      this.#asked.delete(page);
    }
  }

  /** A mission that is not long is read to its end, for the names of its agents. */
  async #allSnippets() {
    if (this.steps.length > ALL_SNIPPETS || !this.steps.length) return;
    const last = this.steps.place[this.steps.length - 1];
    for (let page = 0; page * SNIPPETS <= last && !this.signal.aborted; page += 1) await this.#snippets(page);
    if (!this.signal.aborted) this.timeline.arrange();
  }
}

function append(outline, more) {
  const number = (texts, added) => added.map((text) => { const at = texts.indexOf(text); return at >= 0 ? at : texts.push(text) - 1; });
  const types = number(outline.entry_types, more.entry_types);
  const names = more.names.map((text) => outline.names.push(text) - 1);
  const actors = number(outline.actors, more.actors);
  const renamed = { entry_type: types, name: names, actor: actors };
  for (const [column, values] of Object.entries(more.rows)) {
    const map = renamed[column];
    for (const value of values) outline.rows[column].push(map && value !== null ? map[value] : value);
  }
  outline.count = more.count;
}

function makeRow() {
  const cell = (kind, ...children) => el("span", { class: kind, role: "gridcell" }, children);
  return el("div", { class: "step-row" }, cell("kind"), cell("number muted"), cell("at muted"), cell("what", el("b", { class: "times" }), el("span", { class: "label" }), el("span", { class: "more muted" })), cell("marks"), cell("tokens number muted"), cell("took number muted"));
}

export async function show(root, place) {
  const view = new Mission(root, place);
  const move = (by) => { view.list.current = Math.max(0, view.list.current + by); view.list.focus({ preventScroll: true }); };
  ofThisView({
    "/": ["Search in this mission", () => view.search.focus()],
    j: ["Next step", () => move(1)],
    k: ["Step before", () => move(-1)],
    o: ["Open or close a loop, show the step", () => view.list.current >= 0 && view.list.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }))],
    n: ["Next match", () => view.nextMatch(1)],
    N: ["Match before", () => view.nextMatch(-1)],
    f: ["Next failure", () => view.nextFailure(1)],
    F: ["Failure before", () => view.nextFailure(-1)],
    d: ["Next finding", () => view.nextFinding(1)],
    D: ["Finding before", () => view.nextFinding(-1)],
    m: ["Messages on or off", () => view.toggleMessages()],
    c: ["Compare with another mission", () => go(address("compare", [], { baseline: view.id }))],
    u: ["Back to the missions", () => go(address("missions", [], { at: view.id }))],
  });
  await view.start();
}
