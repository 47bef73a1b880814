// Who is signed in, in which workspace, and what they may do there.

export const RANKS = ["VIEWER", "MEMBER", "MANAGER", "ADMIN", "OWNER"];

class Session extends EventTarget {
  user = null;
  workspaces = [];
  workspace = null;

  /** From GET /api/v1/session. `named` is the id or slug that the address asks for. */
  open(who, named) {
    this.user = who.user_id;
    this.workspaces = who.workspaces;
    this.choose(named);
  }

  /** The named workspace; the first one where none is named; null where the user is no member of it. */
  choose(named) {
    this.workspace = named
      ? this.workspaces.find((one) => one.slug === named || one.workspace_id === named) ?? null
      : this.workspace ?? this.workspaces[0] ?? null;
  }

  close() {
    Object.assign(this, { user: null, workspaces: [], workspace: null });
  }

  /** Whether the role in this workspace is at least this one: what would be refused is not offered. */
  may(role) {
    return RANKS.indexOf(this.workspace?.role) >= RANKS.indexOf(role);
  }
}

export const session = new Session();
