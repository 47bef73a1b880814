// Members and tokens of the workspace. Nobody is offered what is above their own role.

import { api, part } from "../api.js";
import { action, lineForm, told } from "../components/actions.js";
import { cell, rowHead, table } from "../components/report.js";
import { copyButton, el, say, visible } from "../dom.js";
import { ago, plural, time } from "../format.js";
import { RANKS, session } from "../session.js";

const STATES = { valid: "good", expired: "warn", revoked: "" };

const input = (name, label, more) => el("input", { name, "aria-label": label, placeholder: label, autocomplete: "off", spellcheck: "false", ...more });
const roles = (label, chosen) => el("select", { name: "role", "aria-label": label }, RANKS.filter((role) => session.may(role)).map((role) => el("option", { value: role, selected: role === chosen }, role)));
const isMe = (one) => one.user_id === session.user;

/** Who belongs to the workspace and by which tokens they act; for an ADMIN also how to change that. */
export async function people(signal) {
  const given = session.may("ADMIN") ? tokens(signal) : null;
  const [crew] = await Promise.all([members(() => given?.draw(), signal), given?.draw()]);
  return [crew, given?.place];
}

async function members(changed, signal) {
  const place = el("div", { class: "stack" });
  const known = el("datalist", { id: "known-members" });
  const draw = async () => {
    const { rows } = await api.get("/api/v1/members", {}, signal);
    known.replaceChildren(...rows.map((one) => el("option", { value: one.user_id })));
    const section = table("Members", ["User", "Role", ...(session.may("ADMIN") ? [""] : [])], rows.map((one) => memberRow(one, again, changed)));
    if (session.may("ADMIN")) {
      section.append(lineForm("Add a member", [input("user_id", "User", { required: true, maxlength: 200 }), roles("Role", "VIEWER")], async (typed) => {
        await api.post("/api/v1/members", typed, signal);
        say(`${typed.user_id} is a member`);
        await again();
      }));
    }
    place.replaceChildren(section, known);
  };
  const again = async () => { await draw(); await changed(); };
  await draw();
  return place;
}

function memberRow(one, again, changed) {
  const who = visible(one.user_id);
  const name = rowHead(who, isMe(one) && el("span", { class: "muted" }, " (you)"));
  if (!session.may("ADMIN")) return el("tr", {}, name, cell(one.role));
  if (isMe(one) || !session.may(one.role)) return el("tr", {}, name, cell(one.role), cell());
  const path = `/api/v1/members/${part(one.user_id)}`;
  const role = roles(`Role of ${who}`, one.role);
  role.addEventListener("change", async () => {
    if (!await told(() => api.patch(path, { role: role.value }))) return again();
    say(`${who} is ${role.value}`);
    await changed(); // the row stands as it is, with the focus on it
  });
  const remove = action("Remove", async () => { await api.delete(path); await again(); }, { asks: `Remove ${who}?`, name: `Remove ${who}` });
  return el("tr", {}, name, cell(role), cell(remove));
}

function tokens(signal) {
  const secret = el("div", { "aria-live": "polite" });
  const place = el("div", { class: "stack" });
  const show = async (token) => {
    const text = el("code", { tabindex: "0" }, token.token);
    const copy = copyButton(token.token, "Copy", "Copy the token");
    secret.replaceChildren(el("section", { class: "card secret" },
      el("h3", {}, `A token of ${visible(token.user_id)}, told this once`),
      el("div", { class: "command" }, text, copy),
      el("p", { class: "muted" }, "Keep it where only its user can read it. Nobody can look it up here again."),
      el("button", { type: "button", onclick: () => secret.replaceChildren() }, "I have kept it")));
    await draw();
    copy.focus();
  };
  const draw = async () => {
    const { rows } = await api.get("/api/v1/tokens", {}, signal);
    const ended = rows.filter((one) => one.state !== "valid");
    const head = ["Token", "User", "State", "Last used", "Expires", ""];
    const section = table("Tokens", head, rows.filter((one) => one.state === "valid").map((one) => tokenRow(one, show, draw)), "None is valid.");
    section.append(secret, lineForm("Make a token", [
      input("user_id", "User", { required: true, value: session.user, list: "known-members" }),
      input("expires", "Expires: 90d, 12h, a time, or empty for never", { value: "90d", class: "grow" }),
    ], async (typed) => show(await api.post("/api/v1/tokens", typed, signal))));
    if (ended.length) {
      section.append(el("details", {}, el("summary", {}, `${plural(ended.length, "token")} that ended`),
        table("Ended", head.slice(0, 5), ended.map((one) => el("tr", {}, tokenCells(one))))));
    }
    place.replaceChildren(section);
  };
  return { place, draw };
}

const tokenCells = (one) => [
  el("th", { scope: "row", class: "mono" }, one.token_id),
  cell(visible(one.user_id), el("span", { class: "muted" }, one.role ? ` ${one.role}` : " no member")),
  cell(el("span", { class: `badge ${STATES[one.state]}` }, one.state)),
  cell(one.last_used_on ?? el("span", { class: "muted" }, one.workspace_id ? "never" : "not told")),
  cell(one.expires_at ? el("span", { title: ago(one.created_at) }, time(one.expires_at)) : el("span", { class: "muted" }, "never")),
];

function tokenRow(one, show, draw) {
  if (!one.workspace_id) return el("tr", {}, tokenCells(one), cell(el("span", { class: "muted" }, "for every workspace of its user: managed by command")));
  if (one.role && !session.may(one.role)) return el("tr", {}, tokenCells(one), cell());
  const path = `/api/v1/tokens/${part(one.token_id)}`;
  return el("tr", {}, tokenCells(one), el("td", { class: "actions" },
    action("Rotate", async () => show(await api.post(`${path}/rotate`)), { asks: "Rotate? This one ends in 24 h", name: `Rotate ${one.token_id}` }),
    action("Revoke", async () => { await api.delete(path); await draw(); }, { asks: `Revoke ${one.token_id}?`, name: `Revoke ${one.token_id}` })));
}
