// The rows of one mission as columns, and the lines that a list shows of them: loops stand once, as ×N.

import { kindOf } from "../components/parts.js";

const PERIODS = [1, 2, 3, 4];
const LEAST_TIMES = 3;

export class Steps {
  constructor(outline) {
    const { rows } = outline;
    Object.assign(this, outline, rows);
    this.length = rows.entry_id.length;
    this.complete = outline.count === this.length;
    this.kinds = outline.entry_types.map(kindOf);
    this.indexOfEntry = null;
    this.findings = new Map();
    this.expanded = new Set();
    this.snippets = new Map();
    this.groups = this.#loops();
    this.arrange({ messages: true });
  }

  kind(row) {
    return this.kinds[this.entry_type[row]];
  }

  type(row) {
    return this.entry_types[this.entry_type[row]];
  }

  /** The command, the model, or what kind of entry it is. */
  label(row) {
    const name = this.name[row];
    return name === null ? this.type(row) : this.names[name];
  }

  failed(row) {
    return this.success[row] === false || this.severity[row] === 3;
  }

  agent(row) {
    const actor = this.actor[row];
    return actor === null ? this.snippets.get(this.entry_id[row])?.agent ?? null : this.actors[actor];
  }

  /** The row of an entry, also of the entry that ended a command; -1 where there is none. */
  rowOf(entryId) {
    if (!this.indexOfEntry) {
      this.indexOfEntry = new Map(this.entry_id.map((id, row) => [id, row]));
      this.ended_by.forEach((id, row) => { if (id) this.indexOfEntry.set(id, row); });
    }
    return this.indexOfEntry.get(entryId) ?? -1;
  }

  /** The row of step N, counted from 1 as people count; -1 where there is none. */
  rowOfStep(number) {
    let low = 0;
    let high = this.length - 1;
    const wanted = number - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      let at = middle;
      while (at >= low && this.step[at] === null) at -= 1;
      if (at < low) low = middle + 1;
      else if (this.step[at] === wanted) return at;
      else if (this.step[at] < wanted) low = middle + 1;
      else high = at - 1;
    }
    return -1;
  }

  /** Next row after `row` in a direction for which `test` holds; -1 where there is none. */
  next(row, direction, test) {
    for (let at = row + direction; at >= 0 && at < this.length; at += direction) if (test(at)) return at;
    return -1;
  }

  /** Rows that repeat: {from, to, period, times}, of the same commands with the same outcomes. */
  #loops() {
    const keys = new Float64Array(this.length);
    for (let row = 0; row < this.length; row += 1) {
      keys[row] = this.step[row] === null ? -1 - row : ((this.name[row] ?? -1) + 2) * 64 + this.entry_type[row] * 3 + (this.success[row] === null ? 2 : Number(this.success[row]));
    }
    const groups = [];
    for (let row = 0; row < this.length;) {
      let best = null;
      for (const period of PERIODS) {
        let to = row + period;
        while (to < this.length && keys[to] === keys[to - period]) to += 1;
        const times = Math.floor((to - row) / period);
        if (times >= LEAST_TIMES && (!best || times * period > best.times * best.period)) best = { from: row, to: row + times * period, period, times };
      }
      if (best && this.#hasTool(best)) {
        groups.push(best);
        row = best.to;
      } else row += 1;
    }
    return groups;
  }

  #hasTool({ from, period }) {
    for (let row = from; row < from + period; row += 1) if (this.kind(row) === "t") return true;
    return false;
  }

  /** Which lines there are: rows, and loops that nobody has opened. `messages`: with entries that are no steps. */
  arrange({ messages = this.messages } = {}) {
    this.messages = messages;
    const lines = new Int32Array(this.length);
    const lineOf = new Int32Array(this.length);
    const loops = new Map();
    let many = 0;
    let group = 0;
    for (let row = 0; row < this.length; row += 1) {
      while (group < this.groups.length && this.groups[group].to <= row) group += 1;
      const here = this.groups[group];
      if (here && row === here.from) loops.set(many, here);
      const hidden = (here && row > here.from + here.period - 1 && row >= here.from && !this.expanded.has(here)) || (!messages && this.step[row] === null);
      if (!hidden) lines[many++] = row;
      lineOf[row] = Math.max(0, many - 1);
    }
    this.lines = lines.subarray(0, many);
    this.lineOf = lineOf;
    this.loops = loops;
  }

  /** Open or close the loop that a row is in; whether there is one. */
  toggle(row) {
    const group = this.loopAt(row);
    if (!group) return false;
    if (!this.expanded.delete(group)) this.expanded.add(group);
    this.arrange();
    return true;
  }

  loopAt(row) {
    return this.groups.find((group) => row >= group.from && row < group.to);
  }
}
