"""The way in. What must start fast (the version, a worker) is answered before the command line loads."""

import sys

from quartermaster import __version__


def main() -> None:
    """Run one command and end the process with its exit code, also where Ctrl-C comes before it begins."""
    try:
        _start(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)


def _start(words: list[str]) -> None:
    match words:
        case ["--version" | "-V"]:
            sys.stdout.write(f"quartermaster {__version__}\n")
        case ["worker", "--database", database, "--memory", memory, "--nice", niceness]:
            from pathlib import Path  # noqa: PLC0415 - the version must not wait for it

            from quartermaster import worker  # noqa: PLC0415

            sys.exit(worker.main(Path(database), int(memory), int(niceness)))
        case ["batch-worker"]:
            from quartermaster.batch.processes import serve  # noqa: PLC0415

            sys.exit(serve())
        case ["child", *arguments]:
            from quartermaster import lifeline  # noqa: PLC0415
            from quartermaster.cli import execute  # noqa: PLC0415

            lifeline.end_with_parent()
            lifeline.end_with_input()
            sys.exit(execute(arguments))
        case arguments:
            from quartermaster.cli import execute  # noqa: PLC0415

            sys.exit(execute(arguments))


if __name__ == "__main__":
    main()
