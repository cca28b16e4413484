"""`nas` and `python -m nas`: the command line, which takes a moment to import."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. A Ctrl-C while it is imported ends the process without a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # of a shell that runs it in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nas.cli import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
