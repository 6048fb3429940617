"""Settings of this process for training on one core: threads and memory."""

import ctypes
import random
import sys
import warnings
from contextlib import contextmanager
from types import ModuleType


def fit() -> None:
    """One thread, and freed memory that is not given back to the system.

    glibc gives freed memory back to the system and takes it again, zeroed, for the next tensor; what Dask sets for
    its workers makes that worse. A fleet of 28 made 100,000 page faults per second; without them an iteration takes
    a fifth less time.
    """
    import torch

    torch.set_num_threads(1)
    if hasattr(libc := _libc(), "mallopt"):
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h; all in bytes
        libc.mallopt(mmap_threshold, 2**25)  # the most that glibc takes
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 2**26)


@contextmanager
def kept():
    """The caller's process as it was, afterwards: torch's threads and modes, and the state of the global generators.

    Inside, torch's modes are those of a fresh process: a notebook's default dtype changes no run. Nor do NumPy's
    handling of errors and warnings that are made errors end one.
    """
    import numpy as np
    import torch

    threads, dtype, device = torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device()
    compiling = getattr(_inductor(), "compile_threads", None)
    bits, draws, python = np.random.get_bit_generator(), torch.get_rng_state(), random.getstate()
    numpy = bits.state
    try:
        torch.set_default_dtype(torch.float32)
        if device.type != "cpu":
            torch.set_default_device(None)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
            warnings.catch_warnings(),
        ):
            warnings.filters[:] = [("default" if how == "error" else how, *of) for how, *of in warnings.filters]
            warnings.simplefilter("default", append=True)  # tells the module of the change, and matches nothing new
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        if device.type != "cpu":
            torch.set_default_device(device)
        if (inductor := _inductor()) is not None:
            inductor.compile_threads = compiling or inductor.decide_compile_threads()
        np.random.set_bit_generator(bits)
        bits.state = numpy
        torch.set_rng_state(draws)
        random.setstate(python)


def _inductor() -> ModuleType | None:
    """The compiler's settings, if it is loaded: that takes a second, and few fleets are compiled."""
    return sys.modules.get("torch._inductor.config")


def trim() -> None:
    """Gives free memory back to the system after all; called every tenth iteration, where its cost is negligible.

    The allocator of glibc 2.36 finds few of the aligned blocks again that torch has freed, and takes new ones: fleets
    of 12 grew by 10 to 15 MB per iteration, to several GB by their end, and the next fleet started at that size.
    """
    if hasattr(libc := _libc(), "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
