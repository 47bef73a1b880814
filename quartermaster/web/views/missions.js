// The missions that came in.

import { api } from "../api.js";
import { el } from "../dom.js";
import { address } from "../router.js";

export async function show(root, { signal }) {
  const { rows } = await api.get("/api/v1/missions", { limit: 100 }, signal);
  root.append(el("h1", {}, "Missions"), el("ul", {}, rows.map((row) => el("li", {}, el("a", { href: address("mission", [row.mission_id]) }, row.title ?? row.mission_id)))));
}
