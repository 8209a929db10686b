"""The console script, and `python -m cnnatomy`. It imports nothing, so that Ctrl-C during the imports ends well too."""

from __future__ import annotations

import sys


def run() -> None:
    """The command line."""
    try:
        from cnnatomy.cli import main

        main()
    except KeyboardInterrupt:  # during the imports: from then on the commands see to it
        sys.stderr.write("cnnatomy: interrupted\n")
        sys.exit(130)
    finally:
        _end()


def _end() -> None:
    """No looking for garbage among what ends with the process anyway, and no traceback of a late Ctrl-C."""
    import gc
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


if __name__ == "__main__":
    run()
