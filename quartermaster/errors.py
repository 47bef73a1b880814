"""Every error that a person or a client may meet, in one tree.

    QuartermasterError
    ├── UsageError                 what was asked cannot be done that way          exit 2
    │   ├── ConfigurationError     a setting is unknown, malformed or contradictory
    │   ├── NotFound               no such mission, run, workspace, user, token or file
    │   ├── Conflict               what is there already stands in the way
    │   └── NotInstalled           a package that this needs is not there
    ├── NotAllowed                 credentials or role do not suffice              exit 4
    ├── DaemonUnreachable          nothing answers at the given address            exit 5
    ├── HomeLocked                 another daemon owns this home                   exit 2
    ├── StorageError               the database refused or failed                  exit 10
    │   ├── StorageBusy            it is busy or full for the moment; try again
    │   │   ├── StorageFull        the disk has too little room to take anything in
    │   │   └── TookTooLong        it took longer than an answer may
    │   └── OutcomeUnknown         the disk failed at the commit: the change may be kept or not
    ├── Rejected                   one record of a recording cannot be accepted
    └── RunFailed                  an evaluation ended without a result            exit 10

The message says what happened and what to do. It never holds SQL, a traceback or a path that a
client of the API has not named.
"""

from typing import ClassVar


class QuartermasterError(Exception):
    """Base of all errors that are told to people in one sentence."""

    exit_code: ClassVar[int] = 10


class UsageError(QuartermasterError):
    """What was asked cannot be done that way."""

    exit_code = 2


class ConfigurationError(UsageError):
    """A setting is unknown, malformed or contradicts another."""


class NotFound(UsageError):
    """Something was named that does not exist (or not in this workspace)."""


class Conflict(UsageError):
    """What is there already stands in the way."""


class NotInstalled(UsageError, ImportError):
    """A package that this needs is not there."""


class NotAllowed(QuartermasterError):
    """Credentials or role do not suffice."""

    exit_code = 4


class DaemonUnreachable(QuartermasterError):
    """Nothing answers at the given address."""

    exit_code = 5


class HomeLocked(QuartermasterError):
    """Another daemon owns this home."""

    exit_code = 2


class StorageError(QuartermasterError):
    """The database refused or failed."""


class StorageBusy(StorageError):
    """The database is busy or the disk is full for the moment; trying again is right."""


class StorageFull(StorageBusy):
    """The disk has too little room; nothing was changed, and it works again once some is freed."""


class TookTooLong(StorageBusy):
    """What was asked for took longer than an answer may; the message says what to do."""


class OutcomeUnknown(StorageError):
    """The disk failed at the commit; whether the change was kept is not known."""


class Rejected(QuartermasterError):
    """One record of a recording cannot be accepted; the message is the reason, the rest goes on."""


class RunFailed(QuartermasterError):
    """An evaluation ended without a result; the message may be shown to every member."""
