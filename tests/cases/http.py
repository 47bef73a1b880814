"""The API, authentication and tenancy, the network: cases 51 to 109 and 166 to 180."""

from cases import Case, Reason

_BAD = "tests/api/test_bad_input.py::test_"
_EDGE = "tests/api/test_edge.py::test_"
_LIMITS = "tests/api/test_limits.py::test_"
_CREDENTIALS = "tests/api/test_credentials.py::test_"
_TENANCY = "tests/api/test_tenancy.py::test_"
_STREAM = "tests/api/test_stream.py::test_"
_MEMBERS = "tests/api/test_members_and_tokens.py::test_"
_TOKENS = "tests/store/test_access.py::test_"
_JOURNAL = "tests/store/test_journal.py::test_"
_DAEMON = "tests/test_daemon.py::test_"
_ONCE = "tests/api/test_idempotency.py::test_"
_LISTENERS = "tests/test_listeners.py::test_"
_HOSTILE = "tests/faults/test_hostile_http.py::test_"

CASES: dict[int, Case] = {
    51: (_BAD + "a_replay_with_such_a_body_is_refused", _BAD + "no_body_makes_any_route_fail"),
    52: (_BAD + "a_replay_with_such_a_body_is_refused", _BAD + "no_body_makes_any_route_fail"),
    53: (
        _BAD + "json_is_taken_by_its_names_and_without_one",
        _BAD + "what_a_web_page_may_send_unasked_is_no_json",
    ),
    54: (
        "tests/api/test_traces.py::test_gzip_is_read_up_to_its_limit",
        _BAD + "what_a_web_page_may_send_unasked_is_no_json",
    ),
    55: (
        _BAD + "a_body_over_the_limit_is_refused_however_it_comes",
        _LIMITS + "a_refused_body_is_not_read_for_long",
    ),
    56: (_BAD + "what_a_web_page_may_send_unasked_is_no_json",),
    57: (
        _BAD + "a_seed_that_is_no_integer_of_64_bits_is_refused",
        _BAD + "a_limit_that_is_none_means_fifty",
    ),
    58: (_BAD + "a_limit_that_is_none_means_fifty", _BAD + "a_bad_filter_of_the_journal_is_refused"),
    59: (_BAD + "a_bad_filter_of_the_journal_is_refused", _BAD + "a_bad_filter_of_the_runs_is_refused"),
    60: (_BAD + "a_strange_filter_is_answered", _BAD + "a_strange_path_leads_nowhere"),
    61: (_BAD + "a_strange_path_leads_nowhere",),
    62: (
        _DAEMON + "a_head_over_the_limit_is_refused_in_the_one_error_shape",
        _LIMITS + "what_is_no_request_is_answered_with_400_and_closed",
    ),
    63: (_LIMITS + "what_is_no_request_is_answered_with_400_and_closed",),
    64: (
        _LIMITS + "trace_is_no_method_of_any_route",
        _LIMITS + "what_is_no_request_is_answered_with_400_and_closed",
        _BAD + "another_method_is_answered_with_those_there_are",
    ),
    65: (_LIMITS + "what_is_no_request_is_answered_with_400_and_closed",),
    66: (_LIMITS + "ranges_and_conditions_of_the_api_are_ignored",),
    67: (
        _TENANCY + "a_cursor_of_another_workspace_is_a_damaged_one",
        _JOURNAL + "a_cursor_of_another_workspace_or_a_damaged_one_is_refused",
        "tests/api/test_eval.py::test_a_cursor_serves_the_question_that_made_it",
    ),
    68: (
        "tests/api/test_eval.py::test_pages_hold_every_run_once_newest_first_while_others_are_queued",
        _JOURNAL + "pages_newest_first_give_every_entry_once_over_all_missions",
    ),
    69: (_BAD + "a_strange_filter_is_answered", _BAD + "a_bad_filter_of_the_journal_is_refused"),
    70: Reason("There is no full-text index: a search reads the entries of one workspace, found by its key."),
    71: (_BAD + "a_bad_filter_of_the_journal_is_refused", _BAD + "a_bad_filter_of_the_runs_is_refused"),
    72: (_BAD + "a_strange_filter_is_answered",),
    73: Reason(
        "Nobody who uses the API can hand in a regular expression; those of the settings are the owner's."
    ),
    74: (_BAD + "unknown_fields_are_ignored_whatever_they_hold",),
    75: (
        _ONCE + "the_same_request_under_one_key_gets_the_first_answer_again",
        _ONCE + "another_request_under_a_used_key_is_a_conflict",
        _ONCE + "a_key_belongs_to_one_user",
        _ONCE + "a_key_is_free_again_after_a_day",
        _ONCE + "forty_requests_at_once_under_one_key_make_one_run",
    ),
    76: (_LIMITS + "work_of_a_client_that_has_gone_is_done_and_told_again",),
    77: Reason("The API changes no object in place: what is accepted anew is a further version of it."),
    78: (_TOKENS + "an_id_or_slug_that_another_workspace_answers_to_is_taken",),
    79: Reason("A workspace cannot be deleted, so that its ids are never used again either."),
    80: ("tests/api/test_missions.py::test_an_entry_of_another_workspace_is_rejected_with_its_reason",),
    81: (_LIMITS + "head_is_get_without_a_body", _LIMITS + "a_stream_has_no_head"),
    82: (_BAD + "a_failure_of_ours_tells_a_number_and_nothing_else",),
    83: ("tests/api/test_traces.py::test_exporters_are_asked_to_come_back_when_the_writer_is_behind",),
    84: (
        "tests/store/test_space.py::test_a_daemon_without_room_says_so_refuses_and_goes_on_by_itself",
        "tests/store/test_space.py::test_a_daemon_whose_disk_fails_answers_unknown_and_ends_with_a_clear_line",
    ),
    85: (
        _LISTENERS + "a_request_that_came_before_the_daemon_was_ready_is_answered_by_it",
        _DAEMON + "requests_while_the_daemon_stops_are_answered_or_refused_and_none_hangs",
    ),
    86: (
        _CREDENTIALS + "what_is_no_valid_token_gets_one_and_the_same_answer",
        _EDGE + "a_header_that_decides_may_be_sent_once",
    ),
    87: (_CREDENTIALS + "a_token_in_the_query_is_ignored",),
    88: (
        _TOKENS + "a_wrong_character_anywhere_makes_another_token",
        _LIMITS + "what_is_no_token_and_the_same_wrong_token_are_no_guesses",
        "tests/cli/test_audit.py::test_a_typing_mistake_in_a_token_is_told_before_anything_is_sent",
    ),
    89: (
        _TOKENS + "an_expired_or_revoked_token_and_one_of_a_removed_member_end_at_once",
        _CREDENTIALS + "a_revoked_token_is_refused_within_a_second",
        _STREAM + "a_stream_ends_when_its_reader_loses_access",
    ),
    90: (_LIMITS + "an_address_that_guesses_is_told_to_wait_and_its_neighbours_go_on",),
    91: (_TOKENS + "a_right_checksum_with_another_secret_is_refused",),
    92: (_TOKENS + "a_token_has_the_promised_form_and_its_secret_is_nowhere_in_the_database",),
    93: (
        _HOSTILE + "hostile_requests_change_nothing_about_the_answers",
        "tests/cli/test_access.py::test_a_token_is_printed_once_and_alone",
    ),
    94: (
        _TENANCY + "every_kind_of_caller_gets_the_answer_of_the_matrix",
        _TENANCY + "the_matrix_has_every_route_and_no_other",
        _TENANCY + "a_route_that_declares_no_role_stops_the_start",
    ),
    95: (
        _TENANCY + "a_foreign_id_is_answered_like_one_that_does_not_exist",
        _TENANCY + "every_route_with_an_id_in_its_path_is_among_those",
    ),
    96: (_TENANCY + "what_is_wrong_is_told_in_one_order",),
    97: ("tests/api/test_timing.py::test_a_foreign_id_is_not_the_slower_one_nearly_always_or_nearly_never",),
    98: (_TENANCY + "a_foreign_id_is_answered_like_one_that_does_not_exist",),
    99: (_TENANCY + "a_foreign_id_is_answered_like_one_that_does_not_exist",),
    100: (_JOURNAL + "two_workspaces_may_hold_the_same_id",),
    101: (_TENANCY + "every_kind_of_caller_gets_the_answer_of_the_matrix",),
    102: (
        _TOKENS + "the_last_owner_can_neither_go_nor_be_demoted",
        _MEMBERS + "an_admin_acts_on_nobody_above_an_admin",
        _MEMBERS + "lower_roles_change_nobody_and_see_no_tokens",
        _MEMBERS + "the_last_owner_stays",
        _MEMBERS + "the_last_token_of_an_owner_stays",
    ),
    103: (_CREDENTIALS + "a_lower_role_and_a_lost_membership_count_within_a_second",),
    104: Reason("Nobody is invited by a link: owners and admins add members by their name."),
    105: Reason("A workspace cannot be deleted, so that no other one can take its name."),
    106: (
        _MEMBERS + "an_admin_acts_on_nobody_above_an_admin",
        _MEMBERS + "a_token_acts_in_its_workspace_alone",
    ),
    107: (
        _LISTENERS + "a_host_that_others_reach_is_refused_with_the_reason_and_the_ways_out",
        _DAEMON + "the_first_start_makes_a_private_home_and_prints_one_login_link",
    ),
    108: (
        _CREDENTIALS + "the_cookie_of_another_instance_means_nothing_here",
        _CREDENTIALS + "a_token_is_exchanged_for_a_session_that_ends_when_asked",
        _EDGE + "what_has_effects_is_refused_for_pages_of_other_sites",
    ),
    109: (
        "tests/cli/test_audit.py::test_every_act_on_members_and_tokens_says_who_did_what_to_whom",
        "tests/cli/test_audit.py::test_what_is_kept_and_what_leaves_is_told_too",
        _MEMBERS + "every_act_is_in_the_journal_with_who_did_it_by_which_token",
        "tests/cli/test_audit.py::test_an_audit_entry_of_somebody_else_is_rejected",
    ),
    166: (_EDGE + "every_other_host_is_refused_on_every_path",),
    167: (
        _EDGE + "every_other_host_is_refused_on_every_path",
        _EDGE + "no_host_and_two_hosts_are_refused",
        _EDGE + "an_absolute_address_in_the_request_line_is_fine",
        _LIMITS + "what_is_no_request_is_answered_with_400_and_closed",
    ),
    168: (
        _BAD + "what_a_web_page_may_send_unasked_is_no_json",
        _EDGE + "what_has_effects_is_refused_for_pages_of_other_sites",
    ),
    169: (_EDGE + "what_has_effects_is_refused_for_pages_of_other_sites",),
    170: (_TENANCY + "asking_for_the_methods_of_a_route_gives_no_permission_to_other_sites",),
    171: (_EDGE + "streams_are_refused_for_pages_of_other_sites_and_reads_are_not",),
    172: (_EDGE + "every_other_host_is_refused_on_every_path",),
    173: (
        _DAEMON + "a_head_that_drips_in_is_cut_off_at_its_deadline",
        _DAEMON + "a_connection_that_says_nothing_is_closed",
        _DAEMON + "a_body_that_drips_in_is_cut_off_at_its_deadline",
        _LIMITS + "a_refused_body_is_not_read_for_long",
    ),
    174: (
        _LIMITS + "an_address_holds_a_number_of_connections_and_whoever_waits_longest_makes_room",
        _DAEMON + "more_connections_than_the_limit_are_turned_away",
    ),
    175: (_DAEMON + "a_client_that_leaves_unread_what_it_is_sent_is_let_go",),
    176: (_STREAM + "a_principal_may_have_a_few_streams_and_a_closed_one_makes_room",),
    177: (
        _STREAM + "a_silent_stream_shows_that_it_lives",
        _DAEMON + "an_open_event_stream_is_ended_and_does_not_hold_up_the_stop",
    ),
    178: (_LISTENERS + "a_certificate_makes_a_daemon_speak_tls_and_nothing_else",),
    179: (_LISTENERS + "a_host_that_others_reach_is_refused_with_the_reason_and_the_ways_out",),
    180: Reason(
        "The daemon makes no request of its own: there is no webhook, no provider and no address to fetch."
    ),
}
