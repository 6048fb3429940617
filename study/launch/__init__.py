"""Scheduling, storage and progress of runs. Nothing here changes a run's numbers.

Nothing here is part of the code that a checkpoint depends on (checkpoint.code). Modules of study/ itself do not import
from here; tests/test_launch.py has the list of entry points that do.
"""
