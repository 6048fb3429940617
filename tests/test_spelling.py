"""What a user of other libraries types is answered with the name that it has here."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from study import spelling
from study.algorithm import NAMES
from study.config import parse
from study.files import CONF
from study.launch.command import _keys, explain
from study.settings import ConfigError


def answer(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            parse(OmegaConf.to_container(compose("config", list(words)), resolve=True))
        except ConfigError as error:
            return str(error)
        except (HydraException, OmegaConfBaseException) as error:
            return explain(error, words)
    raise AssertionError(f"{words} compose")


@pytest.mark.parametrize(
    "words, meant",
    [
        ("algorithm=trpo algorithm.delta=0.02", "did you mean algorithm.max_kl?"),
        (
            "algorithm=kl_fixed algorithm.delta=0.02",
            "did you mean algorithm.max_kl, of algorithm=natural_gradient, trpo?",
        ),
        ("algorithm=kl_fixed algorithm.kl_coef=1", "did you mean algorithm.beta?"),
        ("delta=0.02", "did you mean algorithm.max_kl?"),
        ("algorithm=kl_adaptive algorithm.target=0.01", "did you mean algorithm.kl_target?"),
        ("algorithm=clip algorithm.epsilon=0.2", "did you mean algorithm.clip_epsilon?"),
        ("algorithm=clip ++algorithm.clip_range=0.2", "did you mean algorithm.clip_epsilon?"),
        ("algorithm=fixpo algorithm.epsilon=0.2", "did you mean algorithm.kl_bound?"),
        ("lr=1e-3", "did you mean learning_rate?"),
        ("+lr=1e-3", "did you mean learning_rate?"),
        ("algorithm.n_steps=2048", "did you mean horizon?"),
        ("batch_size=64", "did you mean minibatch_size?"),
        ("num_epochs=3", "did you mean epochs?"),
        ("lam=0.95", "did you mean gae_lambda?"),
        ("total_timesteps=1000", "did you mean total_steps?"),
        ("algorithm.ent_coef=0.01", "did you mean entropy_coefficient?"),
        ("+algorithm.ent_coef=0.01", "did you mean entropy_coefficient?"),
        ("n_envs=8", "a run steps one environment"),
        ("workers=2", "did you mean execution.workers?"),
        ("+workers=2", "did you mean execution.workers?"),
        ("execution.wrkers=2", "did you mean execution.workers?"),
        ("diagnostics.dampin=2", "did you mean diagnostics.damping?"),
        ("training.lr=1", "did you mean learning_rate?"),
        ("task.kwarg.x=1", "did you mean task.kwargs.x?"),
        ("task=CartPole-v1", "did you mean task=cartpole, or task=custom task.id=CartPole-v1?"),
        ("task=Humanoid", "did you mean task=custom task.id=Humanoid-v5?"),
        ("task=HalfChetah-v5", "did you mean task=halfcheetah, or task=custom task.id=HalfCheetah-v5?"),
        ("task=my_module:Own-v0", "did you mean task=custom task.id=my_module:Own-v0?"),
        ("algorithm=ppo", "did you mean clip?"),
        ("algorithm=TRPO", "did you mean trpo?"),
    ],
)
def test_a_name_from_elsewhere_is_answered_with_ours(words, meant):
    said = answer(*words.split())
    assert meant in said and "\n" not in said, said


def test_every_name_that_is_suggested_exists_and_none_of_ours_is_called_an_alias():
    settings = {key.rpartition(".")[2] for key in _keys(OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml")))}
    settings |= {"task", "algorithm", "id", "kwargs", "max_episode_steps"}
    for name in NAMES:
        settings |= set(OmegaConf.load(CONF / f"algorithm/{name}.yaml"))
    assert set(spelling.OTHERS) <= settings and set(spelling.ALGORITHMS.values()) <= set(NAMES)
    assert not set(spelling.NONE) & (settings | set(spelling.ALIASES)) and not set(spelling.ALGORITHMS) & set(NAMES)
