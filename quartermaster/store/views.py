"""Views for people: what the tables hold, in words that read without this program.

Every other name of the database may change with any version; these four and their columns stay.
"""

from typing import Final


def _time(column: str) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1000000000.0, 'unixepoch')"


def _entry_id(column: str) -> str:
    """The text of an id that is stored as its number minus 2^63, which turns the highest bit."""
    first, others = f"((({column} >> 60) & 15) + 8) & 15", f"{column} & 1152921504606846975"
    return (
        f"case typeof({column}) when 'integer' then printf('j_%x%015x', {first}, {others}) else {column} end"
    )


_RECORDED: Final = "case when mission.ordinal then null else {} end"

VIEWS: Final = f"""
create view missions as select
    workspace.slug as workspace, mission_id, format, title, task, variant, trial, agent, model, version,
    commit_id, parent_mission_id, cast(labels as text) as labels, outcome, outcome_origin, reward,
    {_RECORDED.format(_time("started_at"))} as started_at,
    {_RECORDED.format(_time("ended_at"))} as ended_at,
    {_RECORDED.format("(ended_at - started_at) / 1000000000.0")} as duration_seconds,
    entries, model_calls, calls_with_tokens, calls_with_cost,
    case when calls_with_tokens = model_calls then total_tokens end as total_tokens,
    case when calls_with_cost = model_calls then cost / 1000000000000.0 end as total_cost_usd,
    cost / 1000000000000.0 as known_cost_usd,
    {_time("mission.created_at")} as created_at, {_time("changed_at")} as changed_at
    from mission join workspace on workspace.id = mission.workspace
    where mission_id is not null;

create view steps as select
    workspace.slug as workspace, mission.mission_id, {_time("entry.instant")} as ts,
    {_entry_id("entry.entry_id")} as entry_id, kind_name.text as entry_type,
    case entry.kind when 6 then 'start' when 7 then 'end' end as phase,
    tool_name.text as tool, entry.success,
    case entry.severity when 0 then 'info' when 1 then 'notice' when 2 then 'warn' else 'error' end
    as severity,
    entry.tokens, entry.input_tokens, entry.output_tokens, entry.cache_read_tokens, entry.cache_write_tokens,
    entry.cost / 1000000000000.0 as cost_usd, entry.duration_ms
    from mission join workspace on workspace.id = mission.workspace
    join entry on entry.mission = mission.id
    join name as kind_name on kind_name.id = entry.type
    left join name as tool_name on tool_name.id = entry.tool
    where mission.mission_id is not null and entry.kind is not null and entry.kind <> 17;

create view runs as select
    run_id, workspace.slug as workspace, kind, status, seed, mission_id, baseline_mission_id,
    candidate_mission_id, total_tokens, total_cost_usd, regressed, result, reason, signature, created_by,
    {_time("eval_run.created_at")} as created_at, {_time("started_at")} as started_at,
    {_time("completed_at")} as completed_at
    from eval_run join workspace on workspace.id = eval_run.workspace;

create view findings as select
    workspace.slug as workspace, mission.mission_id, mission.task, mission.variant,
    failure_mode.name as failure_mode,
    examination.high as high_in_mission, examination.warn as warn_in_mission,
    examination.info as info_in_mission, examination.revision = mission.revision as is_current
    from failure_mode join examination on examination.mission = failure_mode.mission
    join mission on mission.id = examination.mission
    join workspace on workspace.id = mission.workspace;
"""  # noqa: S608 - made of texts of this file alone
"""`success`, `regressed` and `is_current` are 1, 0 or null; kinds 6, 7 and 17 are of core.trajectory."""
