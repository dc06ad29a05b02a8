"""Several Gaussians: one mixture for all films, or one for each predicted finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.mixture import GaussianMixture

from .gaussian import principal_axes
from .protocol import Array, Fitted, Observed, Unsupervised, as_float64, fitted, require_films

Shape = Literal["full", "tied", "diag"]


@dataclass(frozen=True)
class SeveralModes(Unsupervised):
    """A Gaussian mixture by expectation maximisation (Li & Zhu's future work); log density in nats.

    The modes share one covariance by default: a thousand films are too few for one of 1024 x 1024 in each mode. ``ridge`` is
    added to the diagonal, like MGM's lambda.
    """

    modes: int = 4
    covariance: Shape = "tied"
    ridge: float = 1e-2
    seed: int = 0

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, max(2, 2 * self.modes), f"a mixture of {self.modes} modes")
        mixture = fit_mixture(as_float64(clean.features), self.modes, self.covariance, self.ridge, self.seed)
        return fitted(clean, lambda films: mixture.score_samples(as_float64(films.features)))


@dataclass(frozen=True)
class ConditionalMixtures(Unsupervised):
    """log p(hidden state | predicted finding), a mixture for each finding (Zheng & Hong, NeurIPS 2018), in nats.

    Zheng & Hong have exclusive classes, the hidden states of fully connected layers, over a thousand images in each class, and a
    threshold for each class. Here the class is the predicted top finding. The hidden state is the 1024 features, reduced to the
    principal axes that hold ``explained`` of the variance. A finding that is predicted for fewer than ``least_films`` is judged
    by one mixture over all films. All findings share a threshold, since one finding has too few held-out films to calibrate it.
    """

    modes: int = 2
    covariance: Shape = "diag"
    explained: float = 0.95
    ridge: float = 1e-2
    least_films: int = 30
    seed: int = 0

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, max(3, 2 * self.modes), f"a mixture of {self.modes} modes")
        project = principal_axes(clean.features, self.explained)
        values, top = project(clean.features), clean.top_finding
        everyone = fit_mixture(values, self.modes, self.covariance, self.ridge, self.seed)
        of_finding = {
            int(finding): fit_mixture(values[top == finding], self.modes, self.covariance, self.ridge, self.seed)
            for finding in np.unique(top)
            if (top == finding).sum() >= max(self.least_films, 2 * self.modes)
        }

        def score(films: Observed) -> Array:
            values, top = project(films.features), films.top_finding
            scores = np.empty(len(films))
            for finding in np.unique(top):
                members = top == finding
                scores[members] = of_finding.get(int(finding), everyone).score_samples(values[members])
            return scores

        return fitted(clean, score)


def fit_mixture(values: Array, modes: int, covariance: Shape, ridge: float, seed: int) -> GaussianMixture:
    """Fit scikit-learn's mixture to values, shape (N, d), float64; k-means starts it, so `seed` decides the optimum."""
    mixture = GaussianMixture(modes, covariance_type=covariance, reg_covar=ridge, max_iter=500, random_state=seed)
    return mixture.fit(values)
