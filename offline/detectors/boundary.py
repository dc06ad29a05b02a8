"""Boundaries rather than densities: Isolation Forest, one-class SVM, and a supervised logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from .protocol import Fitted, Observed, Unsupervised, as_float64, fitted, require_films, subsample


@dataclass(frozen=True)
class Forest(Unsupervised):
    """Isolation Forest (Liu et al., ICDM 2008), a rival in Li & Zhu: minus the anomaly score, in [-1, 0].

    Each tree sees at most 256 films, the authors' advice, so its cost does not grow with their number.
    """

    trees: int = 200
    seed: int = 0

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, 2, "Isolation Forest")
        forest = IsolationForest(n_estimators=self.trees, random_state=self.seed).fit(as_float64(clean.features))
        return fitted(clean, lambda films: forest.score_samples(as_float64(films.features)))


@dataclass(frozen=True)
class OneClassMachine(Unsupervised):
    """One-class SVM (Schölkopf et al. 2001) with a Gaussian kernel, a rival in Li & Zhu: signed distance.

    Features are standardised, since they share one kernel width; gamma is 1 / (d Var), scikit-learn's "scale". ``nu`` bounds the
    share of fitting films outside. The fit uses at most ``most_films``, drawn by ``seed``: its time grows with their square.
    """

    nu: float = 0.05
    most_films: int = 10_000
    seed: int = 0

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        require_films(clean, 2, "one-class SVM")
        machine = make_pipeline(StandardScaler(), OneClassSVM(nu=self.nu, gamma="scale"))
        machine.fit(as_float64(subsample(clean, self.most_films, self.seed).features))
        return fitted(clean, lambda films: machine.decision_function(as_float64(films.features)))


@dataclass(frozen=True)
class SupervisedRegression:
    """Logistic regression of clean against attacked films: log odds of being clean, in nats.

    It has seen one attack. The table shows its results on the other attacks (Li & Zhu's argument against supervised detectors).
    Features are standardised over both kinds of film; both kinds have the same weight.
    """

    inverse_penalty: float = 1.0

    @property
    def supervised(self) -> bool:
        return True

    def fit(self, clean: Observed, attacked: Observed | None = None) -> Fitted:
        if attacked is None:
            raise ValueError("logistic regression is supervised: it needs attacked films to fit on")
        if attacked.features.shape[1] != clean.features.shape[1]:
            raise ValueError(
                f"attacked films have {attacked.features.shape[1]} features, clean ones {clean.features.shape[1]}"
            )
        require_films(clean, 2, "logistic regression")
        require_films(attacked, 2, "logistic regression, of attacked films,")
        regression = make_pipeline(
            StandardScaler(), LogisticRegression(C=self.inverse_penalty, class_weight="balanced", max_iter=5000)
        )
        is_clean = np.repeat([1, 0], [len(clean), len(attacked)])
        regression.fit(as_float64(np.concatenate([clean.features, attacked.features])), is_clean)
        return fitted(clean, lambda films: regression.decision_function(as_float64(films.features)))
