// <qm-list>: any number of rows of one height in a few dozen elements that go around.

import { el } from "../dom.js";

const OVERSCAN = 6;

/**
 * `list.setup({label, height, header, make, show, open, select})`, then `list.length = n`.
 *
 * `make()` makes an empty row, `show(row, index)` fills it; `open(index)` comes of Enter, `o` and a double
 * click, `choose(index)` of every change of the current row. `header` is a row that stays on top.
 */
export class List extends HTMLElement {
  #given = { height: 32, label: "", header: null };
  #rows = [];
  #length = 0;
  #current = -1;
  #first = -1;
  #range = [0, 0];
  #body = null;
  #resize = null;

  setup(given) {
    this.#given = { ...this.#given, ...given };
    const { label, header } = this.#given;
    this.tabIndex = 0;
    this.setAttribute("role", "grid");
    this.setAttribute("aria-label", label);
    this.#body = el("div", { class: "body", role: "rowgroup" });
    this.replaceChildren(...(header ? [el("div", { role: "rowgroup", class: "head" }, header)] : []), this.#body);
    header?.setAttribute("role", "row");
    this.id ||= `list-${label.toLowerCase().replace(/\W+/g, "-")}`;
    this.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.addEventListener("keydown", (event) => this.#key(event));
    this.#body.addEventListener("click", (event) => {
      const row = event.target.closest("[data-index]");
      if (row) this.current = Number(row.dataset.index);
    });
    this.#body.addEventListener("dblclick", (event) => {
      const row = event.target.closest("[data-index]");
      if (row) this.#given.open?.(Number(row.dataset.index));
    });
    return this;
  }

  connectedCallback() {
    this.#resize = new ResizeObserver(() => this.#draw(true));
    this.#resize.observe(this);
  }

  disconnectedCallback() {
    this.#resize.disconnect();
  }

  get length() {
    return this.#length;
  }

  /** How many rows there are. What is shown is drawn again. */
  set length(length) {
    this.#length = length;
    this.#body.style.height = `${length * this.#given.height}px`;
    this.setAttribute("aria-rowcount", String(length + (this.#given.header ? 1 : 0)));
    if (this.#current >= length) this.#current = length - 1;
    this.#draw(true);
  }

  get current() {
    return this.#current;
  }

  /** The row that the keyboard is on; brought into sight. -1: none. */
  set current(index) {
    const current = Math.max(-1, Math.min(index, this.#length - 1));
    const changed = current !== this.#current;
    this.#current = current;
    if (current >= 0) this.reveal(current);
    this.#draw(true);
    if (changed) this.#given.choose?.(current);
  }

  /** Index of the first row in sight, and of the one after the last, when rows were last drawn. */
  get range() {
    return this.#range;
  }

  /** Scroll no further than is needed to see a row; `middle` puts it there. */
  reveal(index, middle = false) {
    const { height } = this.#given;
    const top = index * height;
    const room = this.#room;
    if (middle) this.scrollTop = top - (room - height) / 2;
    else if (top < this.scrollTop) this.scrollTop = top;
    else if (top + height > this.scrollTop + room) this.scrollTop = top + height - room;
  }

  /** Fill the rows in sight again, because what they show has changed. */
  refresh() {
    this.#draw(true);
  }

  get #room() {
    return Math.max(this.#given.height, this.clientHeight - (this.#given.header?.offsetHeight ?? 0));
  }

  #draw(all = false) {
    if (!this.#body) return;
    const { height, make, show, header, scrolled } = this.#given;
    // Measured before anything is changed: after that, a question would have the browser lay it all out at once.
    const room = this.#room;
    const top = Math.max(0, this.scrollTop);
    this.#range = [Math.floor(top / height), Math.min(this.#length, Math.ceil((top + room) / height))];
    const wanted = Math.min(this.#length, Math.ceil(room / height) + 2 * OVERSCAN);
    while (this.#rows.length < wanted) {
      const row = make();
      row.setAttribute("role", "row");
      row.classList.add("row");
      this.#rows.push(row);
      this.#body.append(row);
    }
    while (this.#rows.length > wanted) this.#rows.pop().remove();
    const first = Math.max(0, Math.min(this.#range[0] - OVERSCAN, this.#length - wanted));
    if (!all && first === this.#first) return;
    const was = this.#first;
    this.#first = first;
    for (let offset = 0; offset < wanted; offset += 1) {
      const index = first + offset;
      const row = this.#rows[index % wanted];
      if (!all && was >= 0 && index >= was && index < was + wanted) continue;
      row.dataset.index = index;
      row.id = `${this.id}-${index}`;
      row.style.transform = `translateY(${index * height}px)`;
      row.setAttribute("aria-rowindex", String(index + (header ? 2 : 1)));
      row.classList.toggle("current", index === this.#current);
      show(row, index);
    }
    if (this.#current >= first && this.#current < first + wanted) {
      this.setAttribute("aria-activedescendant", `${this.id}-${this.#current}`);
    } else this.removeAttribute("aria-activedescendant");
    scrolled?.(this);
  }

  #key(event) {
    if (event.target !== this || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.#room / this.#given.height) - 1);
    const moves = {
      ArrowDown: this.#current + 1,
      ArrowUp: Math.max(0, this.#current - 1),
      PageDown: this.#current + page,
      PageUp: Math.max(0, this.#current - page),
      Home: 0,
      End: this.#length - 1,
    };
    if (event.key in moves) {
      event.preventDefault();
      this.current = moves[event.key];
    } else if (event.key === "Enter" && this.#current >= 0) {
      event.preventDefault();
      this.#given.open?.(this.#current);
    }
  }
}

customElements.define("qm-list", List);
