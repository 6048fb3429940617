"""How many seeds would settle a claim, if the means and spreads of the measured runs were the true ones.

Studies with other numbers of seeds are simulated, run by run, from normal distributions with the
means and covariances of the measured runs, and judged by the rules of the claims. This is for
planning and no evidence: the best of several means is too high, which makes power look too large.
"""

import numpy as np

from . import statistics
from .arms import NotApplicable

SEEDS = (3, 5, 10, 20, 40)
STUDIES = 200


def several(values) -> int:
    """Fewest seeds of any cell that has some. Raises NotApplicable for one seed, which has no spread."""
    count = np.isfinite(values).sum(-1)
    fewest = int(count[count > 0].min())
    if fewest < 2:
        raise NotApplicable("needs two seeds")
    return fewest


def imagined(values, seeds, generator, together=None, studies=STUDIES) -> np.ndarray:
    """[studies, ..., seeds] runs of the means and covariances of `values` [..., S], NaN where a seed was not run.

    together  an axis of `values` along which one run was measured several times, as in phases of
              training: draws are correlated along it as the measured runs are. Other axes are
              drawn independently.
    """
    residuals = values - statistics.seed_means(values)[..., None]
    known = np.isfinite(residuals)
    # sum_s r_s z_s / sqrt(S - 1) has the sample covariance of r.
    residuals = np.where(known, residuals, 0.0) / np.sqrt(np.maximum(1, known.sum(-1, keepdims=True) - 1))
    shape = list(values.shape)
    if together is not None:
        shape[together] = 1
    noise = generator.standard_normal((studies, *shape, seeds))
    return statistics.seed_means(values)[..., None] + (residuals[..., None] * noise).sum(-2)
