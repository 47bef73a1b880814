"""The page and what leaves the program for other programs: cases 181 to 189."""

from cases import Case

_PAGE = "tests/api/test_page.py::test_"
_MISSIONS = "tests/web/test_missions_page.py::test_"
_HOSTILE = "tests/web/test_hostile_texts.py::test_"
_BUDGET = "tests/web/test_page_budget.py::test_"
_EDGE = "tests/api/test_edge.py::test_"

CASES: dict[int, Case] = {
    181: (
        _HOSTILE + "a_recording_that_is_hostile_everywhere_is_only_text",
        _PAGE + "traces_never_become_markup",
    ),
    182: (
        _MISSIONS + "what_the_browser_is_told_forbids_everything_else",
        _PAGE + "the_page_is_small_and_asks_no_other_host",
    ),
    183: (
        _HOSTILE + "a_recording_that_is_hostile_everywhere_is_only_text",
        "tests/cli/test_output.py::test_control_characters_of_a_recording_do_not_reach_the_terminal",
    ),
    184: (_BUDGET + "a_mission_of_a_hundred_thousand_steps_opens_and_scrolls",),
    185: (_EDGE + "every_answer_is_protected_and_has_a_number",),
    186: ("tests/cli/test_export.py::test_a_text_that_a_spreadsheet_would_compute_stays_a_text",),
    187: (
        _MISSIONS + "what_the_browser_is_told_forbids_everything_else",
        _EDGE + "every_answer_is_protected_and_has_a_number",
    ),
    188: (
        _MISSIONS + "a_token_signs_in_and_a_wrong_one_says_what_is_wrong",
        "tests/api/test_credentials.py::test_a_token_is_exchanged_for_a_session_that_ends_when_asked",
    ),
    189: (
        "tests/api/test_health.py::test_nobody_learns_the_version_without_a_token",
        _EDGE + "every_answer_is_protected_and_has_a_number",
        _PAGE + "files_of_another_version_and_what_lies_outside_are_not_found",
    ),
}
