// One mission.

import { api, part } from "../api.js";
import { el } from "../dom.js";

export async function show(root, { parts, signal }) {
  const mission = await api.get(`/api/v1/missions/${part(parts[0])}`, {}, signal);
  root.append(el("h1", {}, mission.title ?? mission.mission_id));
}
