"""Files and what they hold: cases 1 to 50."""

from cases import Case

_FILE = "tests/test_recording.py::test_"
_INGEST = "tests/test_ingest.py::test_"
_INBOX = "tests/test_inbox.py::test_"
_JOURNAL = "tests/store/test_journal.py::test_"
_ENTRY = "tests/core/test_journal.py::test_"
_SPACE = "tests/store/test_space.py::test_"
_ZIP = "tests/adapters/test_inspect_ai.py::test_"
_TAIL = "tests/faults/test_tail.py::test_no_entry_is_lost_or_doubled_whatever_happens_to_the_files"

CASES: dict[int, Case] = {
    1: (_INBOX + "an_append_is_queryable_at_once", _TAIL),
    2: (_INGEST + "the_rest_of_half_a_line_completes_it_even_inside_of_a_character", _TAIL),
    3: (
        _INGEST + "a_last_line_without_newline_is_read_when_it_is_whole",
        _INGEST + "the_last_line_of_a_text_needs_no_newline_once_nobody_writes_to_it",
    ),
    4: (_INGEST + "1_000_appends_cost_as_much_at_the_end_as_at_the_beginning", _TAIL),
    5: (_INGEST + "the_rest_of_half_a_line_completes_it_even_inside_of_a_character",),
    6: (_INBOX + "whatever_happens_to_files_each_record_is_kept_once", _TAIL),
    7: (_INBOX + "whatever_happens_to_files_each_record_is_kept_once", _TAIL),
    8: (_INGEST + "however_a_file_goes_on_each_entry_is_kept_once", _TAIL),
    9: (_INGEST + "a_file_may_be_cut_and_grow_again",),
    10: (_FILE + "a_file_that_was_replaced_between_two_readings_is_read_from_its_start", _TAIL),
    11: (_FILE + "a_file_that_was_replaced_between_two_readings_is_read_from_its_start",),
    12: (_INGEST + "what_was_delivered_is_not_delivered_again", _TAIL),
    13: (
        _INGEST + "a_file_belongs_to_each_workspace_that_it_is_given_to",
        _INBOX + "a_folder_that_is_the_inbox_of_two_workspaces_goes_to_both_at_once",
    ),
    14: (
        _INGEST + "a_file_that_was_rewritten_in_its_middle_alone_is_read_again",
        _JOURNAL + "a_revisable_fact_told_again_replaces_the_earlier_telling",
        _TAIL,
    ),
    15: (_INBOX + "files_that_are_still_being_written_elsewhere_are_left_alone",),
    16: (_JOURNAL + "the_same_entry_twice_is_one_entry",),
    17: (
        _INGEST + "the_same_id_with_another_body_is_a_conflict_and_the_first_stays",
        _JOURNAL + "another_body_under_a_known_id_is_a_conflict_and_the_first_stays",
    ),
    18: (_INGEST + "a_bad_line_costs_that_line",),
    19: (_ENTRY + "half_a_surrogate_pair_is_called_what_it_is", _INGEST + "a_bad_line_costs_that_line"),
    20: (_ENTRY + "bytes_that_are_no_utf_8_are_found_in_fields_that_nobody_reads",),
    21: (_ENTRY + "other_nonsense_is_rejected_too", _INGEST + "a_bad_line_costs_that_line"),
    22: (_ENTRY + "other_nonsense_is_rejected_too",),
    23: (
        _INGEST + "numbers_beyond_64_bits_are_kept_and_count_for_nothing",
        _INGEST + "a_number_beyond_any_type_in_an_unread_field_stops_neither_fact_nor_comparison",
    ),
    24: (_INGEST + "of_duplicate_keys_the_last_one_counts",),
    25: (_ENTRY + "any_text_is_a_time_or_rejected", _JOURNAL + "an_id_of_any_form_is_kept_as_it_is"),
    26: (_INGEST + "a_sparse_file_larger_than_the_disk_is_passed_over_quickly", _TAIL),
    27: (
        _INGEST + "lines_with_carriage_returns_blank_lines_and_a_byte_order_mark_are_read",
        _INGEST + "utf_16_is_named_as_such",
    ),
    28: (_INGEST + "lines_with_carriage_returns_blank_lines_and_a_byte_order_mark_are_read",),
    29: (
        _INGEST + "a_line_of_50_mb_costs_that_line_and_no_memory",
        _INGEST + "a_line_over_the_limit_may_still_grow",
    ),
    30: (_INGEST + "a_sparse_file_larger_than_the_disk_is_passed_over_quickly",),
    31: (
        _INBOX + "a_large_file_keeps_no_small_one_waiting",
        _INBOX + "a_stop_in_the_middle_of_a_large_file_loses_nothing",
    ),
    32: (_INGEST + "a_line_of_50_mb_costs_that_line_and_no_memory",),
    33: (
        _INGEST + "a_binary_file_is_left_as_it_is",
        "tests/api/test_traces.py::test_gzip_is_read_up_to_its_limit",
    ),
    34: (
        _ZIP + "a_member_that_unpacks_to_far_more_than_it_is_costs_itself",
        _ZIP + "an_archive_that_claims_far_more_than_it_is_is_refused",
        _ZIP + "a_changed_byte_of_an_archive_raises_nothing_and_loses_nothing_silently",
    ),
    35: ("tests/api/test_traces.py::test_spans_in_shuffled_requests_that_are_sent_twice_are_there_once",),
    36: (_ENTRY + "times_are_read_in_every_form", _ENTRY + "nonsense_times_are_rejected"),
    37: (
        _INGEST + "an_entry_may_name_its_workspace_by_id_or_slug",
        _INGEST + "an_entry_that_cannot_be_right_is_rejected_with_its_reason",
    ),
    38: ("tests/test_jobs.py::test_evaluating_a_mission_does_not_change_its_signature",),
    39: (_INGEST + "10_000_files_at_once_are_read_each_once",),
    40: (_INBOX + "what_events_do_not_tell_the_scan_finds",),
    41: (_INBOX + "trees_that_appear_at_once_are_found_whole", _TAIL),
    42: (
        _INBOX + "names_that_are_no_text_do_not_end_the_watching",
        _INBOX + "what_events_do_not_tell_the_scan_finds",
    ),
    43: (_INBOX + "names_that_are_no_text_do_not_end_the_watching",),
    44: (
        _INBOX + "an_inbox_that_is_removed_and_made_again_works_on",
        _INBOX + "an_inbox_whose_place_is_taken_does_not_stop_the_others",
    ),
    45: (_INBOX + "names_that_are_no_text_do_not_end_the_watching", _TAIL),
    46: (
        _INGEST + "a_file_may_have_any_name",
        "tests/store/test_sources.py::test_a_ledger_names_any_path_in_valid_text",
    ),
    47: (
        _INGEST + "two_processes_that_read_the_same_files_keep_each_entry_once",
        "tests/store/test_sources.py::test_whoever_comes_second_to_a_new_file_keeps_nothing",
    ),
    48: (_SPACE + "a_daemon_without_room_says_so_refuses_and_goes_on_by_itself",),
    49: (
        _INBOX + "a_database_that_another_process_keeps_busy_is_waited_for",
        _FILE + "what_was_read_and_not_kept_is_read_again",
    ),
    50: ("tests/test_masking.py::test_a_secret_in_any_format_is_masked",),
}
