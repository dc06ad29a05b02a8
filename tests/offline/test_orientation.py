"""Turned films are learned as they would arrive, and the folded weights are the pipeline's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from app.pipeline import LABELS, ChestNetwork
from app.pipeline.gate import Gate
from app.pipeline.gaussian import Gaussian
from app.pipeline.orientation import SENSES, Orientation
from offline.data.films import FilmsError
from offline.gate.orientation import PENALTY, counted, fit_model, fit_orientation, in_every_sense, load_orientation
from offline.run import Run

from .small import noise_films


def test_films_are_turned_as_their_senses_say() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 1] = 0.75  # at the top, left of the middle
    turned = in_every_sense(image)
    assert list(turned) == list(SENSES)

    def where(one: torch.Tensor) -> tuple[int, int]:
        return divmod(int(one[0, 0].argmax()), 4)

    assert where(turned[SENSES[0]][0]) == (0, 1)
    assert where(turned["turned a quarter to the left"][0]) == (2, 0)  # its top is now at the left
    assert where(turned["turned a quarter to the right"][0]) == (1, 3)
    assert [where(one) for one in turned["upside down"]] == [(3, 2), (3, 1)]
    inverted = turned[SENSES[4]][0]
    assert (inverted[0, 0, 0, 1], inverted[0, 0, 3, 3]) == (0.25, 1)


def test_the_folded_model_is_the_scaled_one() -> None:
    generator = np.random.default_rng(0)
    features = {
        sense: (generator.normal(size=(40 + 5 * i, 8)) * 3 + i).astype(np.float32) for i, sense in enumerate(SENSES)
    }
    weights, bias = fit_model(features)
    values = np.concatenate(list(features.values())).astype(np.float64)
    senses = np.repeat(np.arange(5), [len(part) for part in features.values()])
    scaler = StandardScaler().fit(values)
    oracle = LogisticRegression(C=PENALTY, max_iter=5000, class_weight="balanced").fit(scaler.transform(values), senses)
    np.testing.assert_allclose(
        Orientation(weights, bias, 0.0).probabilities(values), oracle.predict_proba(scaler.transform(values)), atol=1e-9
    )


def test_counts_are_disjoint() -> None:
    gate = Gate(Gaussian(np.zeros(5), np.eye(5)), -6.0)
    features = np.array([[0, 0, 0, 0, 0.5], [3, 0, 0, 0, 0], [0, 0, 0, 0, 9], [1, 0, 0, 0, 0]])
    counts = counted(Orientation(5 * np.eye(5), np.zeros(5), -20.0), gate, features, features)
    assert counts == {"films": 4, "unsuitable": 1, "rejected": 2, "passed": 1}


def test_what_was_fitted_is_read_back_and_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = noise_films(tmp_path, {"train": 3, "val": 2, "test": 1})
    torch.manual_seed(0)
    network = ChestNetwork(len(LABELS)).eval()
    gate, device = Gate(Gaussian(np.zeros(1024), np.eye(1024)), -1e9), torch.device("cpu")
    record = fit_orientation(Run(tmp_path), network, gate, films, device, 0)
    assert record["n"] == 3
    assert record["test"]["upside down"]["films"] == 2  # by a half turn and by a mirror
    loaded, again = load_orientation(Run(tmp_path))
    assert again == record
    monkeypatch.setattr(type(network), "forward", lambda *_: pytest.fail("extracted again"))
    fit_orientation(Run(tmp_path), network, gate, films, device, 0)
    np.testing.assert_array_equal(load_orientation(Run(tmp_path))[0].weights, loaded.weights)


def test_a_run_without_it(tmp_path: Path) -> None:
    with pytest.raises(FilmsError, match="run 'cxr-offline fit"):
        load_orientation(Run(tmp_path))
