"""Quartermaster tells people whether their AI agent got worse.

As a library: `read` recordings, `compare` two sides of them, `record` missions of your own, ask a daemon
through `Client` or `AsyncClient`.
"""

TYPE_CHECKING = False  # type checkers know the name; importing it would take as long as all the rest

if TYPE_CHECKING:
    from quartermaster.client import AsyncClient as AsyncClient
    from quartermaster.client import Client as Client
    from quartermaster.errors import ConfigurationError as ConfigurationError
    from quartermaster.errors import DaemonUnreachable as DaemonUnreachable
    from quartermaster.errors import NotAllowed as NotAllowed
    from quartermaster.errors import NotFound as NotFound
    from quartermaster.errors import NotInstalled as NotInstalled
    from quartermaster.errors import QuartermasterError as QuartermasterError
    from quartermaster.errors import UsageError as UsageError
    from quartermaster.library import Mission as Mission
    from quartermaster.library import Missions as Missions
    from quartermaster.library import Report as Report
    from quartermaster.library import Step as Step
    from quartermaster.library import compare as compare
    from quartermaster.library import read as read
    from quartermaster.recorder import Recorder as Recorder
    from quartermaster.recorder import record as record

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "client",
    "Client": "client",
    "ConfigurationError": "errors",
    "DaemonUnreachable": "errors",
    "Mission": "library",
    "Missions": "library",
    "NotAllowed": "errors",
    "NotFound": "errors",
    "NotInstalled": "errors",
    "QuartermasterError": "errors",
    "Recorder": "recorder",
    "Report": "library",
    "Step": "library",
    "UsageError": "errors",
    "compare": "library",
    "read": "library",
    "record": "recorder",
}
"""In which module a name lies that is loaded when it is first asked for: the version must not wait for it."""

__all__ = [  # noqa: PLE0604 - names alone, in the order of the table
    "__version__",
    *_HOMES,
]


if not TYPE_CHECKING:  # a name that is not there is an error for type checkers too

    def __getattr__(name: str) -> object:
        """A public name, from its module."""
        from importlib import import_module  # noqa: PLC0415 - the version must not wait for it

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
