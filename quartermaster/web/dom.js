// Elements are made here, and texts only ever become text: nothing in these files parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.setAttribute("class", value);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else node.setAttribute(name, String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element: `el("a", {href, class, onclick, data: {…}}, "text", child, …)`. Nothing comes of null and false. */
export const el = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** The same for SVG. */
export const svg = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** What cannot be seen in a text, or turns its direction, as a visible escape. */
export function visible(text) {
  return String(text).replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Say something to people who listen instead of looking. */
export function say(text) {
  const spoken = document.getElementById("spoken");
  spoken.textContent = "";
  requestAnimationFrame(() => { spoken.textContent = text; });
}

/** What a design token is on the screen right now, for canvases. */
export function color(token) {
  const probe = el("i", { class: "unseen" });
  probe.style.color = `var(--${token})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

/** Call `run` once `milliseconds` have passed without another call; not any more once `signal` has fired. */
export function settled(run, milliseconds, signal) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => signal?.aborted || run(...given), milliseconds);
  };
}

/** A button that puts a text onto the clipboard, and says so. `name` is for texts that nobody wants to hear. */
export function copyButton(text, label = "Copy", name = `${label}: ${text.slice(0, 80)}`) {
  const button = el("button", { type: "button", class: "quiet", "aria-label": name }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it";
    }
    say(button.textContent);
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}
