"""The command line: python -m study [-m] KEY=VALUE ..., installed as penalty-study."""

import multiprocessing.util
import os
import sys
import warnings


def script() -> None:
    if any(option.startswith("error") for option in sys.warnoptions):
        # A warning is no error here, nor in the workers, which inherit the options.
        sys.warnoptions.clear()
        os.environ.pop("PYTHONWARNINGS", None)
        warnings.resetwarnings()
        warnings.simplefilter("default")
    sys.excepthook = _interrupted
    if not sys.flags.safe_path and os.getcwd() not in sys.path:  # of an installed command; python -m has it there
        sys.path.insert(0, os.getcwd())  # modules of the user's own
    try:
        from study.launch.command import main  # takes seconds

        main()
    except SystemExit as end:
        if end.code in (130, 143):  # at once: torch takes seconds to shut down
            multiprocessing.util._exit_function()  # semaphores, which outlive a process
            sys.stdout.flush()
            os._exit(end.code)
        raise


def _interrupted(kind, error, trace):
    """Ctrl-C while libraries load: one line instead of a traceback."""
    if kind is not KeyboardInterrupt:
        return sys.__excepthook__(kind, error, trace)
    print("interrupted; nothing has begun", file=sys.stderr, flush=True)
    os._exit(130)


if __name__ == "__main__":
    script()
