// Which missions make one side: by what is known of them, by their ids, or a frozen baseline.

import { el } from "../dom.js";

const FIELDS = { task: "Task", variant: "Variant", model: "Model", agent: "Agent", commit: "Commit", q: "Search", since: "Since", until: "Until" };

/** A fieldset; `read()` gives what the API takes, null while nothing is named. `given` fills it. */
export function selection(title, given = {}, baselines = []) {
  const field = (name, text) => {
    const time = name === "since" || name === "until";
    return el("label", {}, el("span", {}, text), el("input", { name, type: time ? "date" : "text", value: (time ? given[name]?.slice(0, 10) : given[name]) || null, autocomplete: "off", spellcheck: "false" }));
  };
  const frozen = baselines.length > 0 && el("label", {}, el("span", {}, "Frozen baseline"), el("select", { name: "baseline" },
    el("option", { value: "" }, "none"), baselines.map((name) => el("option", { value: name, selected: name === given.baseline }, name))));
  const ids = el("textarea", { name: "mission_ids", rows: 2, spellcheck: "false" }, (given.mission_ids ?? []).join("\n"));
  const box = el("fieldset", { class: "selection" }, el("legend", {}, title),
    frozen, Object.entries(FIELDS).map(([name, text]) => field(name, text)),
    el("label", { class: "wide" }, el("span", {}, "… or ids of missions"), ids));
  const read = () => {
    const chosen = frozen && frozen.querySelector("select").value;
    if (chosen) return { baseline: chosen };
    const named = ids.value.split(/[\s,]+/).filter(Boolean);
    if (named.length) return { mission_ids: named };
    const known = [...box.querySelectorAll("input")].filter((input) => input.value.trim()).map((input) => [input.name, value(input)]);
    return known.length ? Object.fromEntries(known) : null;
  };
  return { box, read };
}

const value = (input) => (input.type !== "date" ? input.value.trim() : input.name === "since" ? `${input.value}T00:00:00Z` : `${input.value}T23:59:59Z`);

/** A selection in a few words. */
export function inWords(side) {
  if (!side) return "nothing";
  if (side.baseline) return `frozen baseline ${side.baseline}`;
  if (side.mission_ids?.length) return side.mission_ids.length === 1 ? side.mission_ids[0] : `${side.mission_ids.length} missions by id`;
  return Object.entries(side).map(([name, one]) => `${name} ${one}`).join(", ");
}
