"""The database and its disk: cases 133 to 152."""

from cases import Case, Reason

_SPACE = "tests/store/test_space.py::test_"
_DATABASE = "tests/store/test_database.py::test_"
_BACKUP = "tests/store/test_backup.py::test_"
_RETENTION = "tests/store/test_retention.py::test_"
_POWER = "tests/faults/test_power.py::test_"

CASES: dict[int, Case] = {
    133: ("tests/faults/test_kill.py::test_kills_lose_nothing_and_double_nothing",),
    134: (
        _POWER + "nothing_that_was_acknowledged_is_lost_by_a_power_cut",
        _POWER + "a_writer_that_does_not_wait_for_the_disk_is_seen_to_lose_something",
    ),
    135: (
        _SPACE + "a_commit_that_the_disk_fails_is_told_as_unknown_and_ends_all_writing",
        _SPACE + "a_daemon_whose_disk_fails_answers_unknown_and_ends_with_a_clear_line",
    ),
    136: (
        _SPACE + "a_write_on_a_full_disk_is_refused_and_works_again_once_there_is_room",
        _SPACE + "the_ballast_makes_room_to_delete_on_a_full_disk",
        _SPACE + "a_database_on_a_disk_without_room_opens_at_the_cost_of_the_ballast_or_says_that_it_is_full",
    ),
    137: (_SPACE + "a_database_on_a_disk_that_can_only_be_read_is_refused",),
    138: (
        _SPACE + "a_file_that_is_no_database_is_refused_in_one_line_and_left_as_it_is",
        _SPACE + "a_truncated_database_is_refused",
        _SPACE + "a_database_of_a_newer_version_or_another_program_is_refused",
        _SPACE + "a_home_whose_database_is_gone_is_not_started_afresh",
    ),
    139: (
        _SPACE + "a_log_without_its_database_is_not_taken_for_a_new_one",
        _BACKUP + "a_restore_waits_for_no_daemon_and_keeps_the_database_before_it",
    ),
    140: (
        _DATABASE + "a_long_reader_does_not_hold_up_those_who_write_after_a_rest",
        _DATABASE + "the_log_is_emptied_once_nothing_is_written_for_a_while",
    ),
    141: (_DATABASE + "a_change_that_reads_first_never_meets_a_database_that_moved_on",),
    142: (_BACKUP + "a_backup_under_load_is_one_moment_and_works_elsewhere",),
    143: (_BACKUP + "a_backup_that_is_killed_leaves_no_file_of_that_name",),
    144: (_BACKUP + "a_restore_waits_for_no_daemon_and_keeps_the_database_before_it",),
    145: (
        _BACKUP + "damage_to_a_backup_is_found_and_it_is_not_put_back",
        _BACKUP + "what_is_no_backup_is_refused",
        "tests/store/test_verification.py::test_a_damaged_backup_is_not_put_back",
    ),
    146: (
        _SPACE + "a_schema_of_an_earlier_version_is_kept_as_a_copy_before_it_is_upgraded",
        "tests/faults/test_kill.py::test_a_first_start_that_was_killed_is_made_up_for",
    ),
    147: (
        _RETENTION + "over_the_size_the_oldest_go_and_the_file_shrinks",
        _RETENTION + "a_mission_is_gone_for_every_reader_before_its_rows_are",
    ),
    148: Reason(
        "secrets are masked before anything is kept; there is no command that takes one out afterwards"
    ),
    149: (
        "tests/cli/test_machine.py::test_no_database_is_opened_on_a_network_file_system",
        "tests/cli/test_machine.py::test_a_home_on_a_network_file_system_fails",
    ),
    150: (
        _SPACE + "a_database_of_a_newer_version_or_another_program_is_refused",
        _DATABASE + "a_process_beside_the_daemon_leaves_the_log_to_it",
        "tests/store/test_verification.py::test_changed_bytes_are_named_by_their_place",
    ),
    151: ("tests/test_architecture.py::test_one_module_alone_imports_sqlite",),
    152: (
        _SPACE + "a_database_that_everybody_may_read_is_refused_with_the_command_that_helps",
        _SPACE + "a_database_of_another_user_is_refused",
        "tests/test_daemon.py::test_the_first_start_makes_a_private_home_and_prints_one_login_link",
    ),
}
