"""Settings of this process for training on one core: threads and memory."""

import ctypes
import sys


def fit() -> None:
    """One thread, and freed memory that is not given back to the system.

    glibc gives freed memory back to the system and takes it again, zeroed, for the next tensor; what Dask sets for
    its workers makes that worse. A fleet of 28 made 100,000 page faults per second; without them an iteration takes
    a fifth less time.
    """
    import torch

    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1
    if hasattr(libc := _libc(), "mallopt"):
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h; all in bytes
        libc.mallopt(mmap_threshold, 2**25)  # the most that glibc takes
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 2**26)


def trim() -> None:
    """Gives free memory back to the system after all; called every tenth iteration, where its cost is negligible.

    The allocator of glibc 2.36 finds few of the aligned blocks again that torch has freed, and takes new ones: fleets
    of 12 grew by 10 to 15 MB per iteration, to several GB by their end, and the next fleet started at that size.
    """
    if hasattr(libc := _libc(), "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None
