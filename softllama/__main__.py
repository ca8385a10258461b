"""python -m softllama, and the command softllama"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` takes milliseconds, in which Ctrl-C is a traceback


def main() -> None:
    """The command line. Ctrl-C ends it silently until that is loaded, which then says what to do with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from softllama.cli import main as run

    run()


if __name__ == "__main__":
    main()
