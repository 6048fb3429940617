"""What an environment changes in its process, kept apart: it finds its changes again, the study never sees them.

The module, the constructor, or any method of an environment may change the working folder, environment variables,
torch's modes and more. All environments of a process share one such state, as they would in a program of their own.
Where they write to without Python's knowledge (a library's own signal handler, file descriptors) is beyond this.
"""

import gc
import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch


class Setting(NamedTuple):
    read: Callable[[], Any]
    put: Callable[[Any], None]
    given_back: bool = True  # to the environment, when it is called again


class Guard:
    """Inside, the process as environments left it; outside, as the study has it."""

    def __init__(self, *settings: Setting):
        self.theirs: dict[Setting, Any] = {}  # where it differs from the study's
        self._settings, self._depth = settings, 0

    def __enter__(self):
        self._depth += 1
        if self._depth == 1:
            self._ours = [setting.read() for setting in self._settings]
            for setting, value in self.theirs.items():
                setting.put(value)

    def __exit__(self, *_):
        self._depth -= 1
        if self._depth == 0:
            self._leave(self._ours)

    @contextmanager
    def outlasted(self):
        """The study's own work, within which environments may be called: what they changed is put back at its end."""
        ours = [setting.read() for setting in self._settings]
        try:
            yield
        finally:
            self._leave(ours, forget=False)

    @contextmanager
    def exchanged(self):
        """As inside, for what is known to differ alone: cheap."""
        ours = [(setting, setting.read()) for setting in self.theirs]
        for setting, value in self.theirs.items():
            setting.put(value)
        try:
            yield
        finally:
            for setting, value in ours:
                self.theirs[setting] = setting.read()
                setting.put(value)

    def _leave(self, ours: list, forget: bool = True) -> None:
        for setting, value in zip(self._settings, ours):
            if (now := setting.read()) != value:
                setting.put(value)
                if setting.given_back:
                    self.theirs[setting] = now
            elif forget:
                self.theirs.pop(setting, None)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted
        return None


def _put_folder(folder: str | None) -> None:
    if folder is not None and os.path.isdir(folder):
        os.chdir(folder)


def _put_variables(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


PLACE = Guard(
    Setting(_folder, _put_folder),
    Setting(lambda: dict(os.environ), _put_variables),
    Setting(lambda: list(sys.path), lambda path: sys.path.__setitem__(slice(None), path)),
    Setting(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    Setting(_umask, os.umask),
    Setting(gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
)


def _errors() -> list:
    """The filters that make warnings raise; any other is the environment's own affair."""
    return [each for each in warnings.filters if each[0] == "error"]


def _put_errors(errors: list) -> None:
    warnings.filters[:] = [each for each in warnings.filters if each[0] != "error" or each in errors]
    with warnings.catch_warnings():  # makes Python look at them anew
        pass


SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


def _handlers() -> list:
    return [signal.getsignal(number) for number in SIGNALS]


def _put_handlers(handlers: list) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in zip(SIGNALS, handlers):
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _put_raising(raising: bool) -> None:
    """Of NumPy's errors; any other way with them is the environment's own affair."""
    np.seterr(**dict.fromkeys(("divide", "over", "invalid"), "raise" if raising else "warn"), under="ignore")


def _put_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _put_streams(streams: tuple) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


TINY = np.full(1, 1e-40, np.float32)  # denormal

# What the policy's arithmetic between two steps depends on, and what a user needs meanwhile: Ctrl-C and the console.
MODES = Guard(
    Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    Setting(torch.get_default_dtype, torch.set_default_dtype),
    Setting(torch.get_default_device, _put_device),
    Setting(torch.get_num_threads, torch.set_num_threads),
    Setting(_deterministic, lambda modes: torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])),
    Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting(lambda: not (TINY * TINY.dtype.type(1)).any(), torch.set_flush_denormal),
    Setting(lambda: "raise" in np.geterr().values(), _put_raising, given_back=False),
    Setting(_errors, _put_errors, given_back=False),
    Setting(_handlers, _put_handlers, given_back=False),
    Setting(lambda: (sys.stdin, sys.stdout, sys.stderr), _put_streams, given_back=False),
)


class EnvironmentExit(RuntimeError):
    """An environment tried to end the program; the study goes on, without it."""

    def __init__(self, error: BaseException):
        text = " ".join(str(error).split())
        said = f"calls sys.exit({text})" if isinstance(error, SystemExit) else f"raises {type(error).__name__}: {text}"
        super().__init__(f"the environment {said}")
