// The public HTTP API as this page uses it: one shape of error, one workspace, one word on the connection.

import { session } from "./session.js";

const LOOKS = 8;
const LOOK_AGAIN_MILLISECONDS = 3000;
const RETRY_MILLISECONDS = [500, 1000, 2000, 4000, 8000];

/** What the server refused, in its own words: `error` is short and stable, `detail` says what to do. */
export class Problem extends Error {
  constructor(status, error, detail) {
    super(detail ? `${error}: ${detail}` : error);
    Object.assign(this, { status, error, detail });
  }
}

/** Nothing answered. The connection says so by itself; a view has nothing to add. */
export class Unreachable extends Error {}

class Connection extends EventTarget {
  lost = false;
  #attempt = 0;

  /** Told by every request, and by streams. Fires "lost" and "back". */
  tell(reached) {
    if (reached === !this.lost) return;
    this.lost = !reached;
    this.#attempt = 0;
    this.dispatchEvent(new Event(reached ? "back" : "lost"));
    if (!reached) this.#knock();
  }

  #knock() {
    const wait = RETRY_MILLISECONDS[Math.min(this.#attempt++, RETRY_MILLISECONDS.length - 1)];
    setTimeout(async () => {
      try {
        const answer = await fetch("/healthz", { cache: "no-store" });
        if (answer.ok) this.tell(true);
      } catch {
        // still away
      }
      if (this.lost) this.#knock();
    }, wait);
  }
}

export const connection = new Connection();

function addressOf(path, query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") parameters.append(name, one);
    }
  }
  if (session.workspace) parameters.set("workspace_id", session.workspace.workspace_id);
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

async function call(method, path, { query, body, signal, headers } = {}) {
  let answer;
  try {
    answer = await fetch(addressOf(path, query), {
      method,
      signal,
      cache: "no-store",
      credentials: "same-origin",
      headers: { ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connection.tell(false);
    throw new Unreachable("Quartermaster does not answer", { cause: error });
  }
  connection.tell(true);
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new Problem(answer.status, "unreadable answer", "The server did not answer with JSON; try again.");
  }
  if (answer.ok) return value;
  if (answer.status === 401) session.dispatchEvent(new Event("refused"));
  throw new Problem(answer.status, value?.error ?? `status ${answer.status}`, value?.detail ?? "");
}

/** `await api.get("/api/v1/missions", {q, limit}, signal)`; throws Problem, Unreachable or AbortError. */
export const api = {
  get: (path, query, signal) => call("GET", path, { query, signal }),
  post: (path, body, signal) => call("POST", path, { body: body ?? {}, signal }),
  patch: (path, body, signal) => call("PATCH", path, { body: body ?? {}, signal }),
  delete: (path, signal) => call("DELETE", path, { signal }),
};

/** Everything about a mission. To examine a long one may take longer than an answer may; the server goes on, and
 * is asked again. */
export async function examined(mission, signal) {
  for (let look = 1; ; look += 1) {
    try {
      return await api.get(`/api/v1/missions/${part(mission)}`, {}, signal);
    } catch (error) {
      if (error.error !== "took too long" || look === LOOKS) throw error;
    }
    await new Promise((over) => { setTimeout(over, LOOK_AGAIN_MILLISECONDS); });
    signal.throwIfAborted();
  }
}

/** How two missions differ, and the first lines of it. The server keeps the pairs it was asked for lately. */
export const difference = (baseline, candidate, signal) =>
  api.get(`/api/v1/missions/${part(baseline)}/diff/${part(candidate)}`, { limit: 1000 }, signal);

/** Exchange a token for a session cookie. */
export const signIn = (token) => call("POST", "/api/v1/session", { body: {}, headers: { Authorization: `Bearer ${token}` } });

/** An id as a part of a path. */
export const part = (id) => encodeURIComponent(id);

/** Changes of status of evaluation runs until `signal` fires: `run({id, status, at})`. Reconnects by itself. */
export function watchRuns(run, signal) {
  const source = new EventSource(addressOf("/api/v1/eval/runs/stream"));
  source.addEventListener("run", (event) => run(JSON.parse(event.data)));
  source.addEventListener("open", () => connection.tell(true));
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => { if (!signal.aborted) watchRuns(run, signal); }, 3000);
  });
  signal.addEventListener("abort", () => source.close());
}

/** Call `look` now and every `milliseconds` while the page is seen and connected, until `signal` fires. What is
 * refused once may work the next time. */
export function poll(look, milliseconds, signal) {
  let timer;
  const turn = async () => {
    if (!document.hidden && !connection.lost) {
      try {
        await look();
      } catch (error) {
        if (!(error instanceof Problem || error instanceof Unreachable || error.name === "AbortError")) throw error;
      }
    }
    if (!signal.aborted) timer = setTimeout(turn, milliseconds);
  };
  const again = () => { clearTimeout(timer); turn(); };
  turn();
  connection.addEventListener("back", again, { signal });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); }, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
}
