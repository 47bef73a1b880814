"""The file system and operations: cases 153 to 165 and 190 to 202."""

from cases import Case, Reason

_INGEST = "tests/test_ingest.py::test_"
_INBOX = "tests/test_inbox.py::test_"
_RECORDING = "tests/test_recording.py::test_"
_CONFIG = "tests/test_config.py::test_"
_DAEMON = "tests/test_daemon.py::test_"
_MANAGER = "tests/test_service_manager.py::test_"
_SERVICE = "tests/cli/test_service.py::test_"
_MACHINE = "tests/cli/test_machine.py::test_"
_SPACE = "tests/store/test_space.py::test_"
_SURROUNDINGS = "tests/test_surroundings.py::test_"

CASES: dict[int, Case] = {
    153: (
        _INGEST + "links_pipes_and_sockets_are_refused_and_the_rest_is_read",
        _MACHINE + "symbolic_links_in_the_inbox_are_counted",
    ),
    154: (_RECORDING + "a_link_in_the_middle_of_a_path_is_not_followed",),
    155: Reason(
        "not checked: where hard links to files of others can be made at all (the kernel's"
        " fs.protected_hardlinks is on by default), the link gives no right to read"
    ),
    156: (
        _RECORDING + "a_fifo_is_refused_without_opening_it",
        _INGEST + "links_pipes_and_sockets_are_refused_and_the_rest_is_read",
    ),
    157: (_INGEST + "links_pipes_and_sockets_are_refused_and_the_rest_is_read",),
    158: (
        _INGEST + "a_file_that_may_not_be_opened_is_filed_with_the_reason",
        _INGEST + "a_file_that_cannot_be_opened_now_is_read_when_it_can",
    ),
    159: (_RECORDING + "a_file_that_was_replaced_between_two_readings_is_read_from_its_start",),
    160: (
        _CONFIG + "an_inbox_that_would_take_in_everything_is_refused",
        _CONFIG + "a_link_to_the_data_folder_is_refused_as_inbox",
        "tests/cli/test_watch.py::test_a_folder_that_should_not_be_watched_is_refused_with_what_to_do",
    ),
    161: ("tests/cli/test_watch.py::test_two_folders_that_overlap_are_refused",),
    162: (
        _INGEST + "a_file_may_have_any_name",
        _INGEST + "what_was_delivered_is_not_delivered_again",
    ),
    163: (_INGEST + "10_000_files_at_once_are_read_each_once",),
    164: (
        _INBOX + "what_events_do_not_tell_the_scan_finds",
        _MACHINE + "a_home_on_a_network_file_system_fails",
    ),
    165: (
        _INBOX + "what_events_do_not_tell_the_scan_finds",
        _INGEST + "a_file_that_was_rewritten_in_its_middle_alone_is_read_again",
    ),
    190: (
        _DAEMON + "an_idle_daemon_stops_within_two_seconds_and_leaves_no_address",
        _DAEMON + "an_open_event_stream_is_ended_and_does_not_hold_up_the_stop",
        _DAEMON + "a_second_signal_stops_at_once_although_a_stream_is_open",
        _INBOX + "a_stop_in_the_middle_of_a_large_file_loses_nothing",
    ),
    191: (
        _MANAGER + "a_daemon_that_hangs_no_longer_says_that_it_lives",
        _MANAGER + "a_hung_writer_ends_the_signs_of_life_until_it_moves_again",
        _MANAGER + "a_watchdog_that_ends_the_daemon_leaves_what_every_thread_was_at",
    ),
    192: (
        _DAEMON + "a_part_that_fails_is_started_again_and_readiness_tells",
        _DAEMON + "a_part_that_fails_five_times_in_a_minute_stops_the_daemon",
    ),
    193: (
        _SERVICE + "the_unit_waits_for_readiness_and_is_watched",
        _MACHINE + "what_a_killed_daemon_leaves_is_told",
    ),
    194: (
        _DAEMON + "a_port_in_use_is_told_with_what_to_do",
        _DAEMON + "a_second_daemon_on_the_same_home_is_refused_in_words",
        _DAEMON + "settings_come_from_the_home_and_are_checked_before_anything_starts",
    ),
    195: (
        _SURROUNDINGS + "a_name_with_control_characters_forges_no_line_of_the_log",
        "tests/cli/test_output.py::test_control_characters_of_a_recording_do_not_reach_the_terminal",
    ),
    196: (_SURROUNDINGS + "a_file_of_bad_lines_does_not_flood_the_log",),
    197: (_SURROUNDINGS + "a_log_that_cannot_be_written_costs_the_log_alone",),
    198: (_SURROUNDINGS + "libraries_do_not_log_addresses_of_requests",),
    199: (
        _SPACE + "a_schema_of_an_earlier_version_is_kept_as_a_copy_before_it_is_upgraded",
        _SPACE + "a_database_of_a_newer_version_or_another_program_is_refused",
    ),
    200: (
        _SURROUNDINGS
        + "a_daemon_starts_without_home_locale_or_stdin_under_any_mask_and_keeps_its_files_private",
    ),
    201: (
        _SURROUNDINGS + "a_daemon_that_may_open_64_files_starts_and_answers",
        _SURROUNDINGS + "a_daemon_without_a_folder_for_temporary_files_works",
        _SPACE + "a_database_on_a_disk_that_can_only_be_read_is_refused",
    ),
    202: (_SERVICE + "an_enabled_unit_is_not_taken_away_under_its_manager",),
}
