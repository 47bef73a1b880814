// Addresses: #/<view>/<part>/…?<query>. Each one can be shared with a member of the same workspace.

import { session } from "./session.js";

/** The address of a view: `address("mission", [id], {step: 12})`. */
export function address(view, parts = [], query = {}) {
  const parameters = new URLSearchParams();
  if (session.workspaces.length > 1 && session.workspace) parameters.set("workspace", session.workspace.slug);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") parameters.append(name, one);
    }
  }
  const text = parameters.toString();
  return `#/${[view, ...parts.map(encodeURIComponent)].join("/")}${text ? `?${text}` : ""}`;
}

/** Where the browser is: `view`, decoded `parts`, `query`. */
export function whereabouts() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view, ...parts] = path.split("/").map(decoded);
  return { view: view || "missions", parts, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Go to an address. */
export const go = (to) => { location.hash = to; };

/** Change the query of the address without leaving the view; null takes a parameter away. */
export function amend(changes) {
  const { view, parts, query } = whereabouts();
  const amended = Object.fromEntries([...new Set(query.keys())].map((name) => [name, query.getAll(name)]));
  delete amended.workspace;
  history.replaceState(null, "", address(view, parts, { ...amended, ...changes }));
}
