"""The console script, and `python -m cnnatomy`. It imports nothing, so that Ctrl-C during the imports ends well too."""

from __future__ import annotations

import sys


def run() -> None:
    """The command line."""
    interrupts: list[int] = []
    try:
        _note(interrupts)
        from cnnatomy.cli import main

        main()
    except KeyboardInterrupt:  # during the imports: from then on the commands see to it
        _say_so()
    except Exception:
        if not interrupts:
            raise
        _say_so()  # a library that was being imported has caught it, and failed of what it had not yet done
    finally:
        _end()


def _note(interrupts: list[int]) -> None:
    """From now on every Ctrl-C is noted there, before it does what it always does."""
    import signal

    def interrupted(number: int, frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)


def _say_so() -> None:
    sys.stderr.write("cnnatomy: interrupted\n")
    sys.exit(130)


def _end() -> None:
    """No looking for garbage among what ends with the process anyway, and no traceback of a late Ctrl-C."""
    import gc
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


if __name__ == "__main__":
    run()
