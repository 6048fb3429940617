"""EnvPool has all its ids and environments, however little of it is imported at the start."""

import subprocess
import sys

LATER = """
import sys
from study import simulators
pool = simulators.envpool()
ids = pool.list_all_envs()
families = {name for name in sys.modules if name.startswith("envpool.") and sys.modules[name].__file__.endswith(".so")}
assert not families and "matplotlib" not in sys.modules, families
made = pool.make_gymnasium("CartPole-v1", num_envs=2)
assert made.reset()[0].shape == (2, 4)
import envpool, envpool.classic_control, envpool.toy_text
assert envpool is pool and envpool.classic_control.CartPoleGymnasiumEnvPool is type(made)
assert "matplotlib" not in sys.modules and envpool.toy_text.TaxiEnvSpec
print(*ids)
"""
PLAIN = """
import envpool
from study import simulators
assert simulators.envpool() is envpool
print(*envpool.list_all_envs())
"""


def test_families_are_imported_when_they_are_needed_and_no_id_is_missing():
    later, plain = (
        subprocess.run([sys.executable, "-c", words], check=True, capture_output=True, text=True).stdout.split()
        for words in (LATER, PLAIN)
    )
    assert later == plain and len(later) > 1000
