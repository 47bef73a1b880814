"""Runs and the processes that evaluate them: cases 110 to 132."""

from cases import Case, Reason

_JOBS = "tests/test_jobs.py::test_"
_RUNS = "tests/store/test_runs.py::test_"
_DAEMON = "tests/test_daemon.py::test_"
_KILLS = "tests/faults/test_kill.py::test_kills_lose_nothing_and_double_nothing"
_NO_PROVIDER = Reason("nothing here calls a model or any other service: metrics are computed from recordings")

CASES: dict[int, Case] = {
    110: (_JOBS + "what_an_earlier_process_left_running_is_run_again", _KILLS),
    111: (_RUNS + "a_result_is_row_report_event_and_entries_at_once", _KILLS),
    112: (
        _JOBS + "a_run_whose_process_is_killed_is_tried_again",
        _JOBS + "a_process_that_fails_every_time_fails_the_run_with_a_sentence",
    ),
    113: (
        _JOBS + "a_run_that_took_its_process_down_twice_is_given_up",
        _JOBS + "a_process_that_fails_every_time_fails_the_run_with_a_sentence",
        _RUNS + "what_another_process_left_running_is_queued_once_and_then_given_up",
    ),
    114: (
        _JOBS + "the_deadline_ends_a_run_that_hangs_and_the_process_it_hangs_in",
        _JOBS + "cancelling_ends_a_running_run_and_its_process",
    ),
    115: (
        _JOBS + "a_kill_of_the_whole_process_leaves_no_worker_and_the_run_is_made_once_more",
        _JOBS + "a_worker_that_cannot_listen_ends_with_its_daemon",
        _DAEMON + "no_child_process_outlives_a_stopped_daemon",
    ),
    116: (_JOBS + "a_process_that_fails_every_time_fails_the_run_with_a_sentence",),
    117: (_JOBS + "a_run_that_may_not_have_the_memory_it_needs_fails_with_a_sentence",),
    118: (
        _RUNS + "a_late_result_of_an_earlier_claim_is_refused",
        _RUNS + "a_second_result_of_the_same_claim_changes_nothing",
    ),
    119: (
        _RUNS + "cancelling_a_queued_run_ends_it_at_once",
        _RUNS + "cancelling_a_running_run_marks_it_and_whatever_it_brings_it_ends_cancelled",
        _RUNS + "cancelling_what_ended_changes_nothing_however_often",
    ),
    120: (_JOBS + "the_deadline_ends_a_run_that_hangs_and_the_process_it_hangs_in",),
    121: (_JOBS + "the_deadline_counts_the_time_that_the_machine_slept",),
    122: (_JOBS + "a_wall_clock_that_jumps_ends_no_run_and_keeps_none_from_ending",),
    123: (_DAEMON + "a_second_daemon_on_the_same_home_is_refused_in_words",),
    124: (
        _JOBS + "a_long_queue_of_one_workspace_keeps_no_other_waiting",
        _RUNS + "a_long_queue_of_one_workspace_keeps_no_other_waiting",
        "tests/api/test_queue_limit.py::test_one_run_too_many_is_refused_until_one_has_left_the_queue",
    ),
    125: _NO_PROVIDER,
    126: _NO_PROVIDER,
    127: _NO_PROVIDER,
    128: Reason("no grader of others is run: a score is computed here or it is an entry like any other"),
    129: Reason("nothing is scheduled: a run is queued by somebody who asks for it"),
    130: (
        _JOBS + "an_orderly_stop_puts_what_runs_back_and_leaves_no_process",
        _JOBS + "a_run_that_needs_less_than_the_grace_is_finished_by_an_orderly_stop",
        _RUNS + "an_orderly_return_to_the_queue_uses_up_no_attempt",
    ),
    131: (
        _DAEMON + "an_idle_daemon_stops_within_two_seconds_and_leaves_no_address",
        _DAEMON + "a_second_signal_stops_at_once_although_a_stream_is_open",
    ),
    132: (
        _JOBS + "a_database_that_is_busy_for_a_while_loses_no_terminal_row",
        "tests/store/test_space.py::test_a_write_on_a_full_disk_is_refused_and_works_again_once_there_is_room",
    ),
}
