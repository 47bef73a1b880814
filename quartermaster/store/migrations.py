"""The shape of the database and the steps that lead to it. A step that has shipped is never edited."""

from typing import TYPE_CHECKING, Final

from quartermaster.store.views import VIEWS

if TYPE_CHECKING:
    from sqlite_utils import Database

SCHEMA_VERSION: Final = 1
"""Kept in `user_version`, so that a start on a current database needs no look at the migrations."""

APPLICATION_ID: Final = 0x514D5452  # "QMTR"

_FIRST: Final = """
create table workspace (
    id integer primary key,
    workspace_id text not null unique,
    slug text not null unique,
    name text not null,
    created_at integer not null
) strict;

create table user (
    id integer primary key,
    user_id text not null unique,
    created_at integer not null
) strict;

create table membership (
    workspace integer not null references workspace,
    user integer not null references user,
    role integer not null,
    primary key (workspace, user)
) strict, without rowid;

create table token (
    token_id text primary key,
    user integer not null references user,
    workspace integer references workspace,
    digest blob not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer,
    last_used_day integer
) strict, without rowid;

create table session (
    digest blob primary key,
    token_id text not null references token,
    created_at integer not null,
    expires_at integer not null
) strict, without rowid;

create table login_code (
    digest blob primary key,
    token_id text not null references token,
    expires_at integer not null
) strict, without rowid;

-- Texts that repeat (entry types, tool names, actors, traces), by a 64-bit digest of the text.
create table name (
    id integer primary key,
    digest integer not null unique,
    text text not null
) strict;

create table mission (
    id integer primary key autoincrement, -- never given twice: rows of a removed one go by and by
    workspace integer not null references workspace,
    mission_id text,                    -- null: the workspace's entries that belong to no mission yet
    format text,
    title text,
    task text,
    variant text,
    trial integer,
    agent text,
    model text,
    version text,
    commit_id text,
    parent_mission_id text,
    labels blob,                        -- JSON object
    ordinal integer not null default 0, -- 1: the recording has no times, only an order
    mixed_ids integer not null default 0, -- 1: some entry ids are not of the form j_ + 16 hex
    started_at integer,                 -- instants of the recording itself, without what this program adds
    ended_at integer,
    outcome text,
    outcome_origin text,
    reward real,
    first_instant integer,
    last_instant integer,
    entries integer not null default 0,
    model_calls integer not null default 0,
    calls_with_tokens integer not null default 0,
    calls_with_cost integer not null default 0,
    total_tokens integer not null default 0,
    cost integer not null default 0,    -- picodollars, recorded ones only
    next_sequence integer not null default 0,
    tail_entries integer not null default 0,
    revision integer not null default 0, -- rises with every change
    created_at integer not null,
    changed_at integer not null,
    unique (workspace, mission_id)
) strict;
create index mission_by_change on mission (workspace, changed_at, id);
create index mission_by_last_instant on mission (workspace, last_instant);
create index mission_by_task on mission (workspace, task, variant) where task is not null;
create index mission_with_tail on mission (tail_entries) where tail_entries > 0;

-- One slim row an entry, clustered in the order in which a replay walks it.
-- `entry_id` is the signed integer of `j_` + 16 hex digits (minus 2^63, so that order stays), else the text.
create table entry (
    mission integer not null,
    instant integer not null,
    entry_id any not null,
    sequence integer not null,          -- where the raw entry lies: order of arrival within the mission
    type integer not null,
    severity integer not null,
    actor_type integer,
    actor integer,
    trace integer,
    run integer,
    kind integer,                       -- of core.trajectory; null: no part of the trajectory
    tool integer,
    success integer,
    tokens integer,
    input_tokens integer,
    output_tokens integer,
    cache_read_tokens integer,
    cache_write_tokens integer,
    cost integer,
    duration_ms integer,
    pairing integer,
    ledger integer,
    arguments integer,
    cache_write_1h_tokens integer,
    terms integer,
    primary key (mission, instant, entry_id)
) strict, without rowid;

-- Where each id of a workspace is. `current` names the newest revision where a fact was told again.
create table entry_key (
    workspace integer not null,
    entry_id any not null,
    mission integer not null,
    instant integer not null,
    checksum integer not null,          -- CRC-32 of the raw entry
    current any,                        -- entry_id of the revision that replaces this one
    primary key (workspace, entry_id)
) strict, without rowid;

create table tail (
    mission integer not null,
    sequence integer not null,
    raw blob not null,
    primary key (mission, sequence)
) strict, without rowid;

create table block (
    mission integer not null,
    first_sequence integer not null,
    entries integer not null,
    data blob not null,                 -- zstd of the raw entries, one a line
    primary key (mission, first_sequence)
) strict, without rowid;

-- What shows that raw entries are those that came: see store.chain. A link of kind 1 is a checkpoint.
create table chain_link (
    workspace integer not null,
    number integer not null,
    kind integer not null,
    mission integer not null,
    first_sequence integer not null,
    entries integer not null,
    checksums blob,                     -- CRC-32 of each raw entry; null: retention took them away
    digest blob not null,
    link blob not null,
    primary key (workspace, number)
) strict, without rowid;
create index chain_link_by_mission on chain_link (mission, first_sequence);

create table chain_head (
    workspace integer primary key,
    number integer not null,
    link blob not null
) strict;

-- Which mission an assignment or trace belongs to, and the entries that wait to learn theirs.
create table link (
    workspace integer not null,
    link integer not null,
    mission integer not null,
    primary key (workspace, link)
) strict, without rowid;

create table waiting (
    workspace integer not null,
    link integer not null,
    instant integer not null,
    entry_id any not null,
    primary key (workspace, link, instant, entry_id)
) strict, without rowid;

create table mission_outcome (
    mission integer not null references mission,
    origin text not null,
    instant integer not null,
    outcome text,
    reward real,
    primary key (mission, origin)
) strict, without rowid;

-- Shapes of missions as they were at a revision; those of missions that are gone are forgotten by and by.
create table shape (
    mission integer primary key,
    revision integer not null,
    steps integer not null,
    kinds blob not null,                -- four signatures, each finer than the one before
    tools blob not null,
    arguments blob not null,
    outcomes blob not null,
    edges blob not null                 -- which tool follows which: of core.shape
) strict;
create index shape_by_kinds on shape (kinds);
create index shape_by_tools on shape (tools);
create index shape_by_arguments on shape (arguments);
create index shape_by_outcomes on shape (outcomes);

-- What was found out about missions alone, as they were at a revision, by the rules of then.
create table examination (
    mission integer primary key references mission on delete cascade,
    revision integer not null,
    rules integer not null,             -- digest of the versions of all rules and of the price lists
    high integer,                       -- findings by severity; null: too large to be examined
    warn integer,
    info integer,
    data blob not null                  -- zstd of JSON: of core.examination
) strict;

create table failure_mode (
    name text not null,
    mission integer not null references examination on delete cascade,
    primary key (name, mission)
) strict, without rowid;
create index failure_mode_by_mission on failure_mode (mission);

-- Missions in the order in which they were last examined as they had become, for who waits for findings.
create table examined (
    id integer primary key autoincrement,
    mission integer not null unique references examination on delete cascade
) strict;

-- How long a workspace keeps its missions; null: as the settings say, 0: without limit.
create table retention (
    workspace integer primary key references workspace,
    days integer,
    missions integer,
    bytes integer,
    kept_types text not null            -- JSON list: a mission with an entry of such a type stays
) strict;

-- Missions that no retention removes, and why.
create table kept_mission (
    mission integer not null references mission,
    reason text not null,
    primary key (mission, reason)
) strict, without rowid;

-- What was removed, by digests of mission ids, assignments and traces: nothing of it comes in again.
create table removed (
    workspace integer not null,
    link integer not null,
    removed_at integer not null,
    primary key (workspace, link)
) strict, without rowid;

-- Missions that are gone for every reader, and whose rows go by and by.
create table remains (
    mission integer primary key,
    workspace integer not null
) strict;

create table source (
    id integer primary key,
    source_id text not null unique default ('src_' || lower(hex(randomblob(8)))),
    workspace integer not null references workspace,
    path blob not null,
    name text not null default '',      -- relative to the folder that it was found in
    generation integer not null default 0,
    format text,
    state text not null,                -- of store.sources.STATES
    reason text,
    device integer,
    inode integer,
    size integer not null default 0,
    modified integer not null default 0,
    position integer not null default 0,  -- first byte that is not read yet
    lines integer not null default 0,
    head_length integer not null default 0,
    head_digest blob,
    tail_digest blob,
    skipped integer not null default 0,   -- bytes passed over so far of a line over the limit
    anonymous integer not null default 0, -- entries that came without an id
    accepted integer not null default 0,
    duplicate integer not null default 0,
    conflicting integer not null default 0,
    rejected integer not null default 0,
    masked blob,                        -- JSON object: how many secrets each rule has masked
    unknown_types blob,                 -- JSON object: entry type -> entries
    created_at integer not null,
    changed_at integer not null,
    unique (workspace, path)
) strict;
create index source_by_change on source (workspace, changed_at, id);

-- Folders that are watched in place beside those of the settings.
create table watched (
    path blob primary key,
    workspace integer not null references workspace,
    created_at integer not null
) strict, without rowid;

create table source_mission (        -- columns in the order of the key: older quick_checks insist on it
    mission integer not null references mission,
    source integer not null references source,
    primary key (mission, source)
) strict, without rowid;
create index source_mission_by_source on source_mission (source);

create table rejected_line (
    source integer not null references source,
    generation integer not null,
    position integer not null,
    length integer not null,
    line integer,
    reason text not null,
    raw blob not null,                  -- zstd of its first bytes
    primary key (source, generation, position)
) strict, without rowid;

-- Bytes of recordings whose entries are derived, so that a better adapter can read them again.
create table source_bytes (
    source integer not null references source,
    generation integer not null,
    position integer not null,
    length integer not null,
    data blob not null,                 -- zstd
    primary key (source, generation, position)
) strict, without rowid;

create table eval_run (
    id integer primary key,             -- order of queueing
    run_id text not null unique,
    workspace integer not null references workspace,
    kind text not null,
    status text not null,
    seed integer not null,
    mission_id text,
    baseline_mission_id text,
    candidate_mission_id text,
    total_tokens integer not null default 0,
    total_cost_usd real not null default 0,
    regressed integer not null default 0,
    result text,
    reason text,
    signature text,
    created_by text,
    created_at integer not null,
    started_at integer,
    completed_at integer,
    attempt integer not null default 0,
    boot_id text,
    cancelled integer not null default 0,
    request text                        -- JSON: what was asked for beside single missions
) strict;
create index eval_run_by_time on eval_run (workspace, created_at desc, run_id desc);
create index eval_run_queue on eval_run (status, workspace, id) where status in ('queued', 'running');

create table eval_report (
    run integer primary key references eval_run,
    report blob not null
) strict;

-- Missions as they were when something was judged by them, by the SHA-256 of their content.
create table capsule (
    workspace integer not null references workspace,
    digest text not null,
    data blob not null,                 -- of core.capsule
    primary key (workspace, digest)
) strict;

-- Every version of every baseline, never changed: the last one of a name holds.
create table baseline (
    id integer primary key,
    workspace integer not null references workspace,
    name text not null,
    version integer not null,
    digest text not null,
    missions integer not null,
    created_at integer not null,
    created_by text not null,
    reason text,
    unique (workspace, name, version)
) strict;

create table eval_event (
    id integer primary key autoincrement,
    workspace integer not null,
    run integer not null references eval_run,
    status text not null,
    at integer not null
) strict;
create index eval_event_by_workspace on eval_event (workspace, id);

-- Who wants to be told of what: of core.alerts. `cursor` is what was looked at last: an eval_event, a row
-- of examined, or the latest change of a mission.
create table alert_rule (
    id integer primary key autoincrement,
    rule_id text not null unique,
    workspace integer not null references workspace,
    name text not null,
    trigger text not null,              -- JSON
    destination text not null,          -- JSON
    secret text,                        -- what signs its messages; null: a command, or a rule that is removed
    cursor integer not null,
    created_at integer not null,
    created_by text not null,
    removed_at integer
) strict;
create index alert_rule_by_workspace on alert_rule (workspace);

-- The last change of each series that a rule has told of, or that stood before it was made.
create table alert_series (
    rule integer not null references alert_rule,
    series text not null,
    at text not null,
    primary key (rule, series)
) strict, without rowid;

create table alert_delivery (
    id integer primary key autoincrement,
    delivery_id text not null unique,   -- the same over all attempts
    rule integer not null references alert_rule,
    event text not null,                -- what happened, for the rule: told once
    payload blob not null,              -- JSON, as it is sent
    state text not null,                -- of store.alerts.STATES
    attempts integer not null default 0,
    due_at integer not null,
    created_at integer not null,
    ended_at integer,
    said text,                          -- how the last attempt ended
    unique (rule, event)
) strict;
create index alert_delivery_due on alert_delivery (due_at) where state = 'waiting';
create index alert_delivery_by_time on alert_delivery (rule, created_at);

create table idempotency (
    workspace integer not null,
    user integer not null,
    key text not null,
    request blob not null,              -- SHA-256 of method, path and body
    status integer not null,
    response blob not null,
    location text,
    created_at integer not null,
    primary key (workspace, user, key)
) strict, without rowid;

-- Where spans of live traces hang, so that of several that describe one model call one is counted.
create table span (
    workspace integer not null,
    span integer not null,              -- entry_id of its entry
    parent integer,
    known integer not null,             -- 0: only its children have come so far
    calls integer not null,             -- 1: it describes a model call
    called_below integer not null,      -- 1: a span inside of it does
    says integer not null,              -- 1: it calls a model that answers in words
    said_below integer not null,        -- 1: a span inside of it does
    primary key (workspace, span)
) strict, without rowid;

-- What live spans have told of each mission, with what the best claim to each fact rests on.
create table span_facts (
    workspace integer not null,
    mission_id text not null,
    facts blob not null,                -- JSON object
    primary key (workspace, mission_id)
) strict, without rowid;
"""


def migrate(database: "Database") -> None:
    """Bring a database to SCHEMA_VERSION; every step is one transaction and is recorded."""
    from sqlite_utils.migrations import Migrations  # noqa: PLC0415 - only a first start or an upgrade needs it

    migrations = Migrations("quartermaster")

    @migrations()
    def m001_first(db: "Database") -> None:
        for statement in (_FIRST + VIEWS).split(";\n"):
            if statement.strip():
                db.execute(statement)

    migrations.apply(database)
    database.execute(f"pragma user_version = {SCHEMA_VERSION}")
