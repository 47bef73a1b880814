"""What was found out about an installation, thing by thing."""

import msgspec


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at: `ok`, `warn` or `fail`, and what to do.

    `workspace` is the id or slug of the only one that it concerns; `command` is what the finding offers,
    as it is typed.
    """

    check: str
    state: str
    message: str
    workspace: str | None = None
    command: str | None = None
