"""The forms in which a report is read: by people, by pull requests, by test and scanning tools.

One file a form; each follows from the report and its context alone. `FORMS` is the registry.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from quartermaster.core.report import Report, to_json
from quartermaster.core.reports import github, html, junit, pull_request, sarif
from quartermaster.core.reports.cases import Context


class Form(msgspec.Struct, frozen=True):
    """One form of a report; its text ends with a line break."""

    name: str
    about: str
    render: Callable[[Report, Context], str]


def _json(report: Report, _: Context) -> str:
    return to_json(report).decode() + "\n"


FORMS: Final = {
    form.name: form
    for form in (
        Form("json", "everything, for programs; `quartermaster schema report` is its schema", _json),
        Form("markdown", "for a pull request, led by the verdict", pull_request.render),
        Form("junit", "JUnit XML: a test case for every judged metric", junit.render),
        Form("sarif", "SARIF 2.1.0, for code scanning", sarif.render),
        Form("github", "annotations of GitHub Actions", github.render),
        Form("html", "one page with the aligned steps, that needs no network", html.render),
    )
}
