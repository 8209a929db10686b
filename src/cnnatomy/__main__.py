"""The console script, and `python -m cnnatomy`. It imports nothing, so that Ctrl-C during the imports ends well too."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


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

    def interrupted(number: int, frame: FrameType | None) -> None:
        if _begins_torch(frame):
            _leave()
        interrupts.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)


def _begins_torch(frame: FrameType | None) -> bool:
    """Whether torch is being imported, whose C++ aborts of an exception of Python's. Nothing of ours has begun then."""
    while frame is not None and (frame.f_code.co_name, frame.f_globals.get("__name__")) != ("<module>", "torch"):
        frame = frame.f_back
    return frame is not None


def _leave() -> None:
    """Ends the process without a word to what is running, of which nothing is to be kept."""
    import os

    os.write(2, b"cnnatomy: interrupted\n")
    os._exit(130)


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
