// <qm-timeline>: all rows of a mission over time or over steps, with lanes, failures, findings and one curve.

import { color, el } from "../dom.js";
import { compact, count, dollars, duration, plural } from "../format.js";
import { KINDS } from "./parts.js";

const LANE = 14;
const MOST_LANES = 16;
const PARALLEL = 4;
const TOP = 12;
const CURVE = 54;
const LEFT = 92;
const FEW = 1500;

export const CURVES = {
  context: "context size",
  tokens: "tokens in all",
  cost: "recorded cost in all",
};

export class Timeline extends HTMLElement {
  #steps = null;
  #canvas = el("canvas", { role: "img", "aria-label": "Steps over time; the list below says the same in words" });
  #over = el("canvas", { class: "over-canvas", "aria-hidden": "true" });
  #note = el("p", { class: "note muted" });
  #scale = null;
  #range = [0, 1];
  #seen = null;
  #current = -1;
  #colors = null;
  #pending = 0;
  #pendingOver = 0;
  byTime = true;
  curve = "context";

  connectedCallback() {
    this.replaceChildren(el("div", { class: "layers" }, this.#canvas, this.#over), this.#note);
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(this);
    this.recolor = () => { this.#colors = null; this.draw(); };
    window.addEventListener("theme", this.recolor);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.recolor);
    this.#canvas.addEventListener("pointermove", (event) => this.#tell(event));
    this.#canvas.addEventListener("pointerleave", () => { this.#note.textContent = this.#summary(); });
    this.#canvas.addEventListener("click", (event) => {
      const row = this.#rowAt(event);
      if (row >= 0) this.dispatchEvent(new CustomEvent("pick", { detail: row }));
    });
    this.#canvas.addEventListener("dblclick", () => { this.#range = [0, 1]; this.draw(); });
    this.#canvas.addEventListener("wheel", (event) => this.#zoom(event), { passive: false });
  }

  disconnectedCallback() {
    this.resize.disconnect();
    window.removeEventListener("theme", this.recolor);
    this.scheme.removeEventListener("change", this.recolor);
  }

  set steps(steps) {
    this.#steps = steps;
    if (steps.clock === "order" || (this.byTime && mostlyPause(steps))) this.byTime = false;
    this.arrange();
  }

  /** Rows that the list shows, and the one it is on. */
  mark(seen, current) {
    this.#seen = seen;
    this.#current = current;
    this.#drawOver();
  }

  /** Lanes anew, because agents or the axis have changed. */
  arrange() {
    if (!this.#steps) return;
    this.#scale = this.#lanes();
    this.#note.textContent = this.#summary();
    this.draw();
  }

  draw() {
    if (this.#pending || !this.#steps) return;
    this.#pending = requestAnimationFrame(() => { this.#pending = 0; this.#paint(); this.#paintOver(); });
  }

  /** Only what moves while one scrolls: the steps below it stay as they are. */
  #drawOver() {
    if (this.#pendingOver || this.#pending || !this.#steps) return;
    this.#pendingOver = requestAnimationFrame(() => { this.#pendingOver = 0; this.#paintOver(); });
  }

  #summary() {
    const steps = this.#steps;
    if (!steps) return "";
    const axis = this.byTime ? "over time" : "step by step";
    return `${plural(steps.length, "entry", "entries")} ${axis}${steps.clock === "order" ? "; this recording has no times, only an order" : ""}. Click to jump, scroll to zoom, double click for all.`;
  }

  /** Which lane each row is in: agents apart, and calls at the same time beside each other. */
  #lanes() {
    const steps = this.#steps;
    const agents = new Map();
    const lane = new Uint8Array(steps.length);
    const labels = [];
    let end = 0;
    for (let row = 0; row < steps.length; row += 1) {
      const name = steps.agent(row) ?? "";
      if (!agents.has(name)) agents.set(name, { busy: [], lanes: [] });
      const agent = agents.get(name);
      const from = steps.at_ms[row];
      const to = from + (steps.duration_ms[row] ?? 0);
      end = Math.max(end, to);
      let at = agent.busy.findIndex((until) => until <= from);
      if (at < 0) at = agent.busy.length < PARALLEL ? agent.busy.length : 0;
      agent.busy[at] = steps.ended_by[row] ? to : from;
      if (agent.lanes[at] === undefined) {
        agent.lanes[at] = labels.length < MOST_LANES ? labels.length : MOST_LANES - 1;
        if (labels.length < MOST_LANES) labels.push(at === 0 ? name || (agents.size > 1 ? "other" : "steps") : "");
      }
      lane[row] = agent.lanes[at];
    }
    const height = TOP + labels.length * LANE + 10 + CURVE + 6;
    return { lane, labels, end: Math.max(1, end), height };
  }

  #x(row) {
    const whole = this.byTime ? this.#steps.at_ms[row] / this.#scale.end : row / Math.max(1, this.#steps.length - 1);
    const [from, to] = this.#range;
    return (whole - from) / (to - from);
  }

  #rowAt(event) {
    const box = this.#canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - 8);
    if (share < -0.02 || !this.#steps?.length) return -1;
    const [from, to] = this.#range;
    const wanted = from + Math.min(1, Math.max(0, share)) * (to - from);
    if (!this.byTime) return Math.round(wanted * (this.#steps.length - 1));
    const at = wanted * this.#scale.end;
    let low = 0;
    let high = this.#steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#steps.at_ms[middle] < at) low = middle + 1;
      else high = middle;
    }
    return low > 0 && at - this.#steps.at_ms[low - 1] < this.#steps.at_ms[low] - at ? low - 1 : low;
  }

  #tell(event) {
    const row = this.#rowAt(event);
    if (row < 0) return;
    const steps = this.#steps;
    const number = steps.step[row] === null ? "" : `step ${count(steps.step[row] + 1)}, `;
    this.#note.textContent = `${number}${KINDS[steps.kind(row)][2]}: ${steps.label(row).slice(0, 100)}${steps.failed(row) ? ", failed" : ""}, ${duration(steps.at_ms[row])} after the start`;
  }

  #zoom(event) {
    if (!event.ctrlKey && Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    event.preventDefault();
    const box = this.#canvas.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / (box.width - LEFT - 8)));
    const [from, to] = this.#range;
    const span = Math.min(1, Math.max(20 / Math.max(20, this.#steps.length), (to - from) * (event.deltaY > 0 ? 1.25 : 0.8)));
    const start = Math.min(1 - span, Math.max(0, from + share * (to - from) - share * span));
    this.#range = [start, start + span];
    this.draw();
  }

  #palette() {
    return {
      text: color("muted"), line: color("line"), bad: color("bad"), warn: color("warn"), accent: color("accent"),
      ...Object.fromEntries(Object.entries(KINDS).map(([letter, [token]]) => [letter, color(token)])),
    };
  }

  #paint() {
    const steps = this.#steps;
    const { lane, labels, height } = this.#scale;
    const width = this.clientWidth;
    if (!width) return;
    const pen = this.#prepared(this.#canvas, width, height);
    this.#colors ??= this.#palette();
    const colors = this.#colors;
    const room = width - LEFT - 8;
    const bottom = TOP + labels.length * LANE;
    pen.font = `11px ${getComputedStyle(this).fontFamily}`;
    pen.textBaseline = "middle";
    labels.forEach((label, index) => {
      pen.fillStyle = colors.line;
      pen.fillRect(LEFT, TOP + index * LANE + LANE - 1, room, 1);
      pen.fillStyle = colors.text;
      pen.fillText(label.length > 14 ? `${label.slice(0, 13)}…` : label, 4, TOP + index * LANE + LANE / 2);
    });
    if (steps.length <= FEW) this.#shapes(pen, lane, room, colors);
    else this.#columns(pen, lane, labels.length, room, colors);
    this.#marks(pen, room, bottom, colors);
    this.#drawCurve(pen, room, bottom + 10, colors);
  }

  #paintOver() {
    if (!this.#scale || !this.clientWidth) return;
    const { height } = this.#scale;
    const width = this.clientWidth;
    const room = width - LEFT - 8;
    const pen = this.#prepared(this.#over, width, height);
    this.#colors ??= this.#palette();
    pen.fillStyle = this.#colors.accent;
    if (this.#seen) {
      const from = LEFT + Math.max(0, this.#x(this.#seen[0])) * room;
      const to = LEFT + Math.min(1, this.#x(this.#seen[1])) * room;
      pen.globalAlpha = 0.14;
      if (to >= LEFT && from <= width) pen.fillRect(from, 0, Math.max(2, to - from), height);
      pen.globalAlpha = 1;
    }
    if (this.#current >= 0) {
      const x = LEFT + this.#x(this.#current) * room;
      if (x >= LEFT) pen.fillRect(x - 0.75, 0, 1.5, height);
    }
  }

  #prepared(canvas, width, height) {
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }

  #shapes(pen, lane, room, colors) {
    const steps = this.#steps;
    const [from, to] = this.#range;
    const scale = room / this.#scale.end / (to - from);
    for (let row = 0; row < steps.length; row += 1) {
      const share = this.#x(row);
      if (share < -0.001 || share > 1.001) continue;
      const x = LEFT + share * room;
      const y = TOP + lane[row] * LANE + LANE / 2;
      const kind = steps.kind(row);
      const shape = KINDS[kind][1];
      pen.fillStyle = steps.failed(row) ? colors.bad : colors[kind];
      if (this.byTime && steps.duration_ms[row]) {
        const long = Math.min(steps.duration_ms[row] * scale, LEFT + room - x);
        pen.globalAlpha = 0.35;
        pen.fillRect(x, y - 3, Math.max(1, long), 6);
        pen.globalAlpha = 1;
      }
      pen.beginPath();
      if (shape === "circle") pen.arc(x, y, 3.2, 0, 7);
      else if (shape === "square") pen.rect(x - 2.8, y - 2.8, 5.6, 5.6);
      else if (shape === "bar") pen.rect(x - 1, y - 5, 2, 10);
      else if (shape === "dot") pen.arc(x, y, 1.6, 0, 7);
      else {
        pen.moveTo(x, y - 4);
        pen.lineTo(x + 4, shape === "diamond" ? y : y + 4);
        if (shape === "diamond") pen.lineTo(x, y + 4);
        pen.lineTo(x - 4, shape === "diamond" ? y : y + 4);
      }
      pen.fill();
    }
  }

  /** So many rows that several share a pixel: each pixel of a lane shows its most telling row. */
  #columns(pen, lane, lanes, room, colors) {
    const steps = this.#steps;
    const wide = Math.ceil(room);
    const rank = { o: 1, m: 2, t: 3, s: 4, p: 5, g: 6 };
    const letters = ["", "o", "m", "t", "s", "p", "g"];
    const ranks = new Uint8Array(wide * lanes);
    const many = new Uint16Array(wide * lanes);
    for (let row = 0; row < steps.length; row += 1) {
      const x = Math.floor(this.#x(row) * (wide - 1));
      if (x < 0 || x >= wide) continue;
      const cell = lane[row] * wide + x;
      const one = rank[steps.kind(row)];
      if (one > ranks[cell]) ranks[cell] = one;
      many[cell] += 1;
    }
    for (let index = 0; index < lanes; index += 1) {
      for (let x = 0; x < wide; x += 1) {
        const cell = index * wide + x;
        if (!ranks[cell]) continue;
        const tall = Math.min(LANE - 3, 4 + 2 * Math.log2(1 + many[cell]));
        pen.fillStyle = colors[letters[ranks[cell]]];
        pen.fillRect(LEFT + x, TOP + index * LANE + (LANE - tall) / 2 - 0.5, 1, tall);
      }
    }
  }

  #marks(pen, room, bottom, colors) {
    const steps = this.#steps;
    const marked = new Set();
    pen.fillStyle = colors.bad;
    for (let row = 0; row < steps.length; row += 1) {
      if (!steps.failed(row)) continue;
      const x = Math.round(this.#x(row) * room);
      if (x < 0 || x > room || marked.has(x)) continue;
      marked.add(x);
      pen.fillRect(LEFT + x - 0.5, bottom + 1, 1.5, 6);
    }
    for (const [row, found] of steps.findings) {
      const x = LEFT + this.#x(row) * room;
      if (x < LEFT - 1 || x > LEFT + room + 1) continue;
      pen.fillStyle = found.some((one) => one.severity === "high") ? colors.bad : colors.warn;
      pen.beginPath();
      pen.moveTo(x - 4, 1);
      pen.lineTo(x + 4, 1);
      pen.lineTo(x, 9);
      pen.fill();
    }
  }

  #drawCurve(pen, room, top, colors) {
    const steps = this.#steps;
    const values = { context: steps.context_tokens, tokens: steps.tokens, cost: steps.cost_usd }[this.curve];
    const points = [];
    let sum = 0;
    let most = 0;
    for (let row = 0; row < steps.length; row += 1) {
      if (values[row] === null) continue;
      sum = this.curve === "context" ? values[row] : sum + values[row];
      most = Math.max(most, sum);
      points.push(row, sum);
    }
    pen.fillStyle = colors.text;
    pen.fillText(CURVES[this.curve].slice(0, 16), 4, top + 10);
    if (!points.length) {
      pen.fillText("unknown: no entry says it", LEFT + 4, top + CURVE / 2);
      return;
    }
    pen.fillText(this.curve === "cost" ? dollars(most) : compact(most), 4, top + 24);
    pen.fillStyle = colors.line;
    pen.fillRect(LEFT, top + CURVE - 1, room, 1);
    pen.strokeStyle = colors.m;
    pen.lineWidth = 1.25;
    pen.beginPath();
    let column = -1;
    let low = 0;
    let high = 0;
    for (let at = 0; at < points.length; at += 2) {
      const share = this.#x(points[at]);
      if (share < 0 || share > 1) continue;
      const x = Math.round(share * room * 2) / 2;
      const y = top + CURVE - 2 - (points[at + 1] / (most || 1)) * (CURVE - 6);
      if (x === column) {
        low = Math.min(low, y);
        high = Math.max(high, y);
        continue;
      }
      if (column >= 0 && high > low) { pen.lineTo(LEFT + column, low); pen.lineTo(LEFT + column, high); }
      if (column < 0) pen.moveTo(LEFT + x, y);
      else pen.lineTo(LEFT + x, y);
      column = x;
      low = high = y;
    }
    pen.stroke();
  }
}

/** Whether one pause is more than half of all time, so that over time little could be told apart. */
function mostlyPause({ at_ms: at }) {
  let longest = 0;
  for (let row = 1; row < at.length; row += 1) longest = Math.max(longest, at[row] - at[row - 1]);
  return at.length > 2 && longest > at[at.length - 1] / 2;
}

customElements.define("qm-timeline", Timeline);
