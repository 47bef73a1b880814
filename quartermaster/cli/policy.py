"""The policy of a comparison, from a file of the user's repository."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quartermaster.config import POLICY_TABLE, PROJECT_FILE, Settings, profile_of
from quartermaster.core.gate import Gate, gate_of
from quartermaster.errors import ConfigurationError, NotFound, UsageError


def read_gate(path: Path | None, settings: Settings) -> Gate:
    """The gate of a policy file, else of the table `policy` in the project's settings, else the usual one.

    Raises ConfigurationError, with the key and the file, for what is not understood.
    """
    document: dict[str, Any] = {}
    found = Path(PROJECT_FILE) if path is None else path
    if path is not None or found.is_file():
        document = _document(found)
    if path is None or POLICY_TABLE in document:
        document = document.get(POLICY_TABLE, {})
    if not isinstance(document, dict):
        raise ConfigurationError(f"{found}: {POLICY_TABLE!r} must be a table")
    return gate_from(document, str(found), settings)


def gate_from(document: Mapping[str, Any], place: str, settings: Settings) -> Gate:
    """The gate of a document; `place` is what an error names it by."""
    try:
        return gate_of(document, profile_of(settings))
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no policy file {str(path)!r}") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def require_plain(gate: Gate, settings: Settings) -> None:
    """Raises UsageError for rules that count only where recordings are compared."""
    plain = Gate(thresholds=profile_of(settings), fail_on=gate.fail_on, strict=gate.strict)
    if gate != plain:
        raise UsageError(
            "only `fail_on` and `strict` of a policy count for missions of a home and for baselines;"
            " their thresholds are settings (`eval.thresholds`)"
        )
