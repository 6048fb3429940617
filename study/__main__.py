"""The command line: python -m study [-m] KEY=VALUE ..."""

import os
import sys
import warnings

if __name__ == "__main__" and any(option.startswith("error") for option in sys.warnoptions):
    # A warning is no error here, nor in the workers, which inherit the options.
    sys.warnoptions.clear()
    os.environ.pop("PYTHONWARNINGS", None)
    warnings.resetwarnings()
    warnings.simplefilter("default")

if __name__ == "__main__":  # Ctrl-C while libraries load: one line instead of a traceback

    def _hook(kind, error, trace):
        if kind is not KeyboardInterrupt:
            return sys.__excepthook__(kind, error, trace)
        print("interrupted; nothing has begun", file=sys.stderr, flush=True)
        os._exit(130)

    sys.excepthook = _hook

# ruff: noqa: E402
import multiprocessing.util

from study.launch.command import main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        if end.code in (130, 143):  # at once: torch takes seconds to shut down
            multiprocessing.util._exit_function()  # semaphores, which outlive a process
            sys.stdout.flush()
            os._exit(end.code)
        raise
