"""A report as SARIF 2.1.0: a rule for every metric, a result for everything that did not pass."""

import hashlib
from typing import Any, Final

import msgspec

from quartermaster.core.report import Report
from quartermaster.core.reports.cases import Case, Context, cases_of

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def render(report: Report, context: Context) -> str:
    cases = cases_of(report, context.fail_on)
    rules = sorted({case.name for case in cases})
    driver = {
        "name": "Quartermaster",
        "version": context.version,
        "rules": [{"id": rule, "shortDescription": {"text": _rule_in_words(rule)}} for rule in rules],
    }
    results = [_result(case, rules, context) for case in cases if case.level != "passed"]
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True}],
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _rule_in_words(rule: str) -> str:
    return f"{rule.replace('_', ' ').capitalize()} of the agent's missions"


def _result(case: Case, rules: list[str], context: Context) -> dict[str, Any]:
    about = f"{case.subject}: " if case.subject in context.files else ""
    result: dict[str, Any] = {
        "ruleId": case.name,
        "ruleIndex": rules.index(case.name),
        "message": {"text": "\n".join((about + case.sentence, *case.evidence))},
        "partialFingerprints": {"metricOfMission/v1": _fingerprint(case)},
        "properties": {"mission": case.subject},
    }
    if case.level == "unknown":
        result |= {"kind": "notApplicable", "level": "none"}
    else:
        result |= {"kind": "fail", "level": case.level}
    file = context.file_of(case.subject)
    if file is not None:
        place = {"artifactLocation": {"uri": uri_of(file)}, "region": {"startLine": 1}}
        result["locations"] = [{"physicalLocation": place}]
    return result


def _fingerprint(case: Case) -> str:
    told = f"{case.subject}\0{case.name}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(told).hexdigest()[:32]


def uri_of(path: str) -> str:
    """A path as a relative reference: what is not plain in an address is written in hex."""
    escaped = (
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in path.encode("utf-8", "replace")
    )
    return "".join(escaped)
