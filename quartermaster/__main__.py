"""The way in. What must start fast (the version, a worker) is answered before the command line loads."""

import sys

from quartermaster import __version__


def main() -> None:
    """Run one command and end the process with its exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        sys.stdout.write(f"quartermaster {__version__}\n")
        return
    from quartermaster.cli import run  # noqa: PLC0415 - the version must not wait for it

    sys.exit(run(arguments))


if __name__ == "__main__":
    main()
