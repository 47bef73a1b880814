// <qm-difference>: two missions line by line. Equal stretches fold; lines are fetched as they come into sight.

import { api, part } from "../api.js";
import { el, say, visible } from "../dom.js";
import { compact, count, dollars, plural } from "../format.js";
import { address } from "../router.js";
import "./list.js";

const PAGE = 1000;
const MOST_PAGES = 40;
const KEPT = 2;
const LEAST_FOLD = 3;
const HEIGHT = 30;
const SIGNS = { equal: "=", changed: "~", inserted: "+", deleted: "−", replaced: "±" };

const linesOf = ({ change, baseline, candidate }) => {
  const before = baseline[1] - baseline[0];
  return change === "equal" || change === "changed" ? before : before + candidate[1] - candidate[0];
};

export class DifferenceLines extends HTMLElement {
  #lines = new Map();
  #asked = new Set();
  #rows = [];
  #starts = [];
  #open = new Set();
  #flips = new Set();

  /** `answer` is the answer of the API from line 0; `signal` ends what is under way. */
  setup(answer, signal) {
    this.first = answer;
    this.signal = signal;
    let at = 0;
    for (const block of answer.blocks) {
      this.#starts.push(at);
      at += linesOf(block);
    }
    this.known = at;
    this.#keep(0, answer.lines);
    this.list = el("qm-list").setup({
      label: "Steps side by side",
      height: HEIGHT,
      header: el("div", { class: "diff-row" }, ["", "Baseline", "Candidate", "Cost"].map((text, index) => el("div", { role: "columnheader", class: index === 3 ? "number" : null }, text || el("span", { class: "unseen" }, "Change")))),
      make: () => el("div", { class: "diff-row" }, [0, 1, 2, 3].map((index) => el("div", { role: "gridcell", class: index === 3 ? "number" : null }))),
      show: (row, index) => this.#show(row, index),
      open: (index) => this.#unfold(index),
      choose: (index) => this.#detail(index),
      scrolled: () => this.#reach(),
    });
    this.panel = el("section", { class: "diff-detail card", "aria-label": "The line in full", "aria-live": "polite" });
    this.replaceChildren(this.list, this.panel);
    this.#arrange();
    const first = this.#rows.findIndex((row) => this.#different(row));
    this.list.current = first;
    if (first >= 0) this.list.reveal(first, true);
    else this.panel.textContent = "Every step is the same on both sides.";
    this.#findFlips();
    return this;
  }

  #arrange() {
    this.#rows = [];
    this.first.blocks.forEach((block, index) => {
      const start = this.#starts[index];
      const many = linesOf(block);
      const push = (from, to) => { for (let line = from; line < to; line += 1) this.#rows.push({ line, block: index, kind: block.change }); };
      if (block.change !== "equal" || this.#open.has(index)) return push(start, start + many);
      const end = start + many;
      const seen = [[start, start + (index === 0 ? 0 : KEPT)], ...this.#flipsIn(start, end).map((line) => [line - 1, line + 2]), [end - (index === this.first.blocks.length - 1 ? 0 : KEPT), end]];
      let at = start;
      for (const [from, to] of seen) {
        const gap = from - at;
        if (gap >= LEAST_FOLD) this.#rows.push({ line: at, block: index, kind: "equal", fold: gap });
        else push(at, from);
        push(Math.max(at, from), Math.min(to, end));
        at = Math.max(at, Math.min(to, end));
      }
    });
    for (let line = this.known; line < this.first.of_lines; line += 1) this.#rows.push({ line, block: -1, kind: "unknown" });
    this.list.length = this.#rows.length;
  }

  #keep(from, lines) {
    lines.forEach((line, index) => {
      this.#lines.set(from + index, line);
      if (line.flipped) this.#flips.add(from + index);
    });
  }

  #flipsIn(start, end) {
    return [...this.#flips].filter((line) => line >= start && line < end).sort((one, other) => one - other);
  }

  /** Outcomes that differ inside of equal stretches are only told line by line: look for them where there are any. */
  async #findFlips() {
    if (!this.first.changes.some((change) => change.kind.startsWith("results "))) return;
    const pages = Math.min(MOST_PAGES, Math.ceil(this.first.of_lines / PAGE));
    for (let page = 1; page < pages && !this.signal.aborted; page += 1) {
      const before = this.#flips.size;
      await this.#fetch(page);
      if (this.#flips.size === before) continue;
      const line = this.#rows[this.list.current]?.line;
      this.#arrange();
      this.list.current = this.#rows.findIndex((row) => row.line === line);
    }
  }

  #different(row) {
    return row.fold === undefined && (row.kind !== "equal" || this.#flips.has(row.line));
  }

  /** What counts as one difference: a block, or a single outcome that moved. */
  #group(row) {
    return row.kind === "equal" ? `line ${row.line}` : row.block;
  }

  #reach() {
    const [from, to] = this.list.range;
    const pages = new Set();
    for (let index = from; index < to; index += 1) {
      const row = this.#rows[index];
      if (row && row.fold === undefined && !this.#lines.has(row.line)) pages.add(Math.floor(row.line / PAGE));
    }
    for (const page of pages) this.#fetch(page);
  }

  async #fetch(page) {
    if (this.#asked.has(page)) return;
    this.#asked.add(page);
    try {
      const { baseline, candidate } = this.first;
      const more = await api.get(`/api/v1/missions/${part(baseline)}/diff/${part(candidate)}`, { from: page * PAGE, limit: PAGE }, this.signal);
      this.#keep(page * PAGE, more.lines);
      this.list.refresh();
      this.#detail(this.list.current);
    } catch (error) {
      this.#asked.delete(page);
      if (error.name !== "AbortError") say(error.message);
    }
  }

  #show(row, index) {
    const { line, fold, kind } = this.#rows[index] ?? {};
    const [sign, before, after, money] = row.children;
    const told = this.#lines.get(line);
    const change = told?.change ?? kind;
    row.className = `diff-row row ${fold === undefined ? change : "fold"}${told?.flipped ? " flipped" : ""}${index === this.list.current ? " current" : ""}`;
    if (fold !== undefined) {
      sign.textContent = "⋯";
      before.textContent = `${plural(fold, "equal step")}: Enter shows them`;
      after.textContent = money.textContent = "";
      return;
    }
    sign.textContent = told?.flipped ? "↕" : SIGNS[change] ?? "";
    sign.setAttribute("aria-label", told?.flipped ? "another outcome" : change);
    before.replaceChildren(...side(told, "baseline"));
    after.replaceChildren(...side(told, "candidate"));
    money.textContent = told?.cost_usd ? `${told.cost_usd > 0 ? "+" : ""}${dollars(told.cost_usd)}` : "";
  }

  #unfold(index) {
    const row = this.#rows[index];
    if (row?.fold === undefined) return;
    this.#open.add(row.block);
    this.#arrange();
    this.list.current = this.#rows.findIndex((one) => one.line === row.line);
  }

  #detail(index) {
    const row = this.#rows[index];
    const told = row && this.#lines.get(row.line);
    if (!row || (row.fold === undefined && !told)) return;
    if (row.fold !== undefined) {
      return this.panel.replaceChildren(el("button", { type: "button", onclick: () => this.#unfold(index) }, `Show ${plural(row.fold, "equal step")}`));
    }
    const block = this.first.blocks[told.block];
    const titles = { equal: "Equal", changed: "Changed", inserted: "Only in the candidate", deleted: "Only in the baseline", replaced: "Replaced" };
    this.panel.replaceChildren(
      el("h3", {}, told.flipped ? "Another outcome" : titles[told.change], block?.words ? el("span", { class: "muted" }, `: ${block.words}`) : null),
      ...(told.arguments?.length ? [argumentTable(told.arguments)] : []),
      el("div", { class: "sides" }, ["baseline", "candidate"].map((name) => whole(name, told[name], this.first[name]))));
  }

  /** Go to the next (1) or previous (-1) difference; a block counts once. */
  move(by) {
    const rows = this.#rows;
    const { current } = this.list;
    const here = rows[current] && this.#different(rows[current]) ? this.#group(rows[current]) : null;
    let at = current + by;
    while (rows[at] && (!this.#different(rows[at]) || this.#group(rows[at]) === here)) at += by;
    while (by < 0 && rows[at - 1] && this.#different(rows[at - 1]) && this.#group(rows[at - 1]) === this.#group(rows[at])) at -= 1;
    if (at < 0 || at >= this.#rows.length) return say(by > 0 ? "No difference after this one" : "No difference before this one");
    this.list.current = at;
    this.list.reveal(at, true);
    this.list.focus({ preventScroll: true });
  }

  /** Go to the line in which these positions of the sides stand. */
  show({ baseline, candidate }) {
    const index = this.first.blocks.findIndex((block) => (baseline >= block.baseline[0] && baseline < block.baseline[1]) || (candidate >= block.candidate[0] && candidate < block.candidate[1]));
    if (index < 0) return;
    const block = this.first.blocks[index];
    const paired = block.change === "equal" || block.change === "changed";
    const offset = baseline >= block.baseline[0] && baseline < block.baseline[1] ? baseline - block.baseline[0] : (paired ? 0 : block.baseline[1] - block.baseline[0]) + candidate - block.candidate[0];
    const line = this.#starts[index] + offset;
    let at = this.#rows.findIndex((row) => row.line === line && row.fold === undefined);
    if (at < 0) {
      this.#open.add(index);
      this.#arrange();
      at = this.#rows.findIndex((row) => row.line === line);
    }
    this.list.current = at;
    this.list.reveal(at, true);
    this.list.focus({ preventScroll: true });
  }
}

const nameOf = (step) => step.words || step.name || step.kind;

function side(told, name) {
  if (!told) return ["…"];
  const step = told[name];
  if (!step) return [""];
  const failed = step.succeeded === false;
  return [el("span", { class: "muted position" }, count(step.position + 1)), failed ? el("span", { class: "bad", title: "failed" }, "✕ ") : "", el("span", { class: "muted" }, `${step.kind === "tool call" ? step.name : step.kind} `), step.words ? visible(step.words) : ""];
}

function whole(name, step, mission) {
  const title = name === "baseline" ? "Baseline" : "Candidate";
  if (!step) return el("div", {}, el("h4", {}, title), el("p", { class: "muted" }, "has no such step"));
  const facts = [step.kind, step.succeeded === true ? "succeeded" : step.succeeded === false ? "failed" : null, step.tokens !== undefined && `${compact(step.tokens)} tokens`, step.cost_usd !== undefined && dollars(step.cost_usd)].filter(Boolean);
  return el("div", {}, el("h4", {}, `${title}, step ${count(step.position + 1)}`),
    el("p", { class: "muted" }, facts.join(" · "), " · ", el("a", { href: address("mission", [mission], { entry: step.entry_id }) }, "open")),
    el("pre", {}, visible(nameOf(step))));
}

const argumentTable = (changes) => el("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Changed arguments" }, el("table", { class: "arguments" },
  el("thead", {}, el("tr", {}, ["Argument", "Baseline", "Candidate"].map((text) => el("th", { scope: "col" }, text)))),
  el("tbody", {}, changes.map(({ key, baseline, candidate }) => el("tr", {}, el("th", { scope: "row", class: "mono" }, visible(key)), value(baseline, "old"), value(candidate, "new"))))));

const value = (text, kind) => el("td", {}, text === null || text === undefined ? el("span", { class: "muted" }, "not given") : el("code", { class: kind }, visible(text)));

customElements.define("qm-difference", DifferenceLines);
