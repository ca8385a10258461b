"""python -m softllama, and the command softllama"""

import _signal as signal  # type: ignore[import-not-found]  # importing `signal` takes milliseconds, in which Ctrl-C would be a traceback


def main() -> None:
    """Run the command line. Until it is loaded, Ctrl-C ends the process silently."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from softllama.cli import main as run

    run()


if __name__ == "__main__":
    main()
