"""The commands: parse, call one function, print, exit code. Importing this loads neither torch nor optuna."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from nas.cli import look, machine, network, space, study
from nas.cli.options import with_options
from nas.cli.plain_output import write_plainly
from nas.errors import NasError

app = typer.Typer(
    name="nas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Neural architecture search under a hard parameter budget.\n\n"
        "Start with: nas search --max-params 8000 --target 99.4\n\n"
        "No network over the budget is ever built, and no number is shown that the test set has chosen."
    ),
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from nas.host import versions

        print(f"nas {versions()['nas']}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command; the text of `--help` is that of `app`."""


study.add_to(app)
look.add_to(app)
app.add_typer(network.arch, name="arch")
app.add_typer(space.app, name="space")
network.add_to(app)
machine.add_to(app)


def main() -> None:
    """The entry point: a NasError becomes its text on standard error and an exit code."""
    write_plainly()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it can be caught, and not while the interpreter ends
            # From here on a second Ctrl-C ends the process at once, in place of a traceback from its last breath.
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
    except NasError as error:
        print(f"error: {with_options(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has seen enough; what is left of the text must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
