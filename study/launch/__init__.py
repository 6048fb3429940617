"""Who trains what, when and where, and what is kept: never what comes out of a run.

Nothing here is part of the code that a checkpoint depends on (checkpoint.code). Modules of study/ itself do not import
from here; tests/test_launch.py has the list of entry points that do.
"""
