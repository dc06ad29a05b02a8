"""The whole experiment, stage by stage. Its result is one dictionary, from which the report is written."""

from __future__ import annotations

import hashlib
import itertools
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from app.pipeline.decode import decode
from app.pipeline.exposed_field import cut_out
from app.pipeline.network import LogitsOnly

from ..attacks import AttackOptions, paper_attacks
from ..attacks.blackbox import Substitute
from ..attacks.density import LogMixture
from ..attacks.goals import OPPOSITE
from ..data.films import CHEST_XRAY14_IMAGES, Film, evenly, fingerprint, of_split, patients_of, some_of, targets_of
from ..detectors import DETECTORS, SERVED, Given, Observed
from ..detectors.comparison import Material, compare, learning_curve, without_gate
from .adaptive import AIMED, attacker_rows, goals_on, library_stage, sanity_stage
from .circumstances import circumstances
from .clean import accuracy, groups, harmless_stage, orientation_stage
from .hidden import LAYERS, modes_of, observe_with_hidden
from .observing import Images, load_images, observe
from .presets import BLACK_BOX_EPSILON, WHITE_BOX_EPSILON, Preset
from .store import Arrays, Outcome, Stages
from .subject import LoadedBundle
from .uninformed import SUPERVISED_ON, attack_stage, example_stage, supervised_stage, transfer_stage

CURVE_SIZES = (100, 200, 300, 500, 700, 954)


def evaluate(
    subject: LoadedBundle,
    films: list[Film],
    output: Path,
    preset: Preset,
    seed: int = 0,
    substitutes: Sequence[Substitute] = (),
) -> tuple[dict[str, Any], Arrays]:
    """Measure which attacks and attackers this gate stops, and how many clean films it refuses.

    Stages are stored under ``output/work`` and not run again. The same seed gives the same results.

    Parameters
    ----------
    substitutes : sequence of Substitute
        Black-box attackers' networks. The first makes the paper's black-box attacks. All are compared at rising epsilon.
        Without a substitute neither is measured.

    Returns
    -------
    dict
        The evaluation that ``offline.report`` reads; a part that was not measured is absent.
    dict of ndarray
        Scores, features and one example, for the plots.

    Raises
    ------
    FilmsError
        `output` holds stages of another evaluation, or there are too few films.
    """
    manifest = subject.bundle.manifest
    identity = {
        "model_version": manifest.model_version,
        "data": fingerprint(films),
        "preset": asdict(preset),
        "seed": seed,
    }
    store = Stages.open(output / "work", identity)
    run = _Run(subject, films, store, preset, seed)
    run.uninformed(substitutes)
    run.clean()
    run.informed()
    return run.finish(identity, output)


class _Run:
    """Data that the stages share: films as posted, the network's outputs for them, and the results so far."""

    def __init__(self, subject: LoadedBundle, films: list[Film], store: Stages, preset: Preset, seed: int) -> None:
        self.subject, self.store, self.preset, self.seed = subject, store, preset, seed
        self.train, self.val = of_split(films, "train"), of_split(films, "val")
        self.test = some_of(of_split(films, "test"), preset.films)
        self.patients = patients_of(self.test)
        images = store.stage("images-test", lambda: ({}, {"levels": load_images(self.test, "reading test")}))[1]
        self.levels: Images = images["levels"]
        self.seen = {name: self._seen(name) for name in ("train", "val", "test")}
        self.attacked: dict[str, Observed] = {}
        self.result: dict[str, Any] = {}
        self.arrays: Arrays = {}

    def _seen(self, name: str) -> Observed:
        def compute() -> Outcome:
            levels = self.levels if name == "test" else load_images(getattr(self, name), f"reading {name}")
            title = f"features of {name}"
            if name == "train":  # the feature constraint's modes are fitted on hidden layers of the same pass
                seen, hidden = observe_with_hidden(self.subject, levels, title)
                return {}, {**seen.arrays(), **hidden}
            seen = observe(self.subject.victim.network, levels, self.subject.device, title)
            return {}, seen.arrays()

        _, arrays = self.store.stage(f"features-{name}", compute)
        if name == "train":
            self.hidden = {layer: arrays[layer] for layer in LAYERS}
        return Observed.stored(arrays)

    def _measure(self, part: str, compute: Callable[[], Outcome], of: str = "") -> None:
        """Compute a part of the result as a stage; the stage's name ends with `of`."""
        self.result[part] = self.store.stage(part.replace("_", "-") + of, compute)[0]

    @property
    def _of_attacks(self) -> str:
        return f"-{len(self.attacked)}-attacks"

    def _scores(self, seen: Observed) -> Any:
        return self.subject.bundle.gate.log_density(seen.gate_features)

    def uninformed(self, substitutes: Sequence[Substitute]) -> None:
        """The paper's table: white-box, black-box, every detector, and the learning curve."""
        subject, preset = self.subject, self.preset
        self.result["paper_attacks"] = {}
        bim = self._paper("white-box", "white-box", LogitsOnly(subject.bundle.network), WHITE_BOX_EPSILON)
        for index, substitute in enumerate(substitutes):
            logits = LogitsOnly(substitute.network.to(subject.device).eval())
            name = f"black-box-{_digest(substitute.network)}"
            if index == 0:
                self._paper("black-box", name, logits, BLACK_BOX_EPSILON)
            self._transfer(substitute, name, logits)
        chosen = some_of(self.train, preset.supervised_films)
        _, supervised = self.store.stage(
            "supervised",
            lambda: supervised_stage(subject, load_images(chosen, "reading"), WHITE_BOX_EPSILON, preset.attack_steps),
        )
        # The film with the largest change of its answer shows best how an attack works.
        change = np.abs(self.attacked["white-box BIM"].logits - self.seen["test"].logits).max(1)
        index = int(np.argmax(change))
        _, example = self.store.stage("example", lambda: example_stage(subject, self.levels[index], bim[index]))
        self.arrays.update(example)
        material = Material(
            train=self.seen["train"],
            val=self.seen["val"],
            test=self.seen["test"],
            patients=self.patients,
            targets=targets_of(self.test),
            attacked=self.attacked,
            attacked_train={f"white-box {name}": Observed.stored(supervised, f"{name}|") for name in SUPERVISED_ON},
        )
        self._measure("detectors", lambda: self._detectors(material), self._of_attacks)
        bare, attacked = without_gate(material)
        self.result["no_defence"] = {"clean": asdict(bare), **{name: asdict(row) for name, row in attacked.items()}}
        sizes = [size for size in CURVE_SIZES if size < len(self.train)] + [len(self.train)]
        self._measure(
            "learning_curve",
            lambda: ([asdict(point) for point in learning_curve(material, sizes)], {}),
            self._of_attacks,
        )

    def _paper(self, setting: str, stem: str, gradients_of: nn.Module, epsilon: float) -> Images:
        """The four attacks of one setting, one stage each; returns BIM's attacked images."""
        bim = None
        for name, options in paper_attacks(epsilon, self.preset.attack_steps).items():
            title = f"{setting} {name}"

            def compute(title: str = title, options: AttackOptions = options) -> Outcome:
                return attack_stage(self.subject, gradients_of, self.levels, self.seen["test"], title, options)

            flips, arrays = self.store.stage(f"{stem}-{name}", compute)
            self.result["paper_attacks"][title] = flips
            self.attacked[title] = Observed.stored(arrays)
            if name == "BIM":
                bim = arrays["images"]
        assert bim is not None
        return bim

    def _transfer(self, substitute: Substitute, name: str, logits: nn.Module) -> None:
        levels = self.levels[evenly(len(self.test), self.preset.transfer_films)]
        title = f"transfer from {substitute.about['name']}"
        found = self.store.stage(
            f"{name}-transfer",
            lambda: transfer_stage(self.subject, logits, levels, title, self.preset.attack_steps),
        )[0]
        self.result.setdefault("substitutes", []).append({**substitute.about, "transfer": found})

    def _detectors(self, material: Material) -> Outcome:
        """Every detector on the features, and the bundle's own gate if it uses features of a watch."""
        bundle = self.subject.bundle
        target = bundle.manifest.gate.target_false_rejection_rate
        rows = compare(material, target=target, seed=self.seed)
        if bundle.network.watch is not None:
            own = {SERVED: lambda seed: Given(bundle.gate)}
            rows = itertools.chain(compare(material, own, target=target, seed=self.seed), rows)
        return [asdict(row) for row in tqdm(rows, desc="detectors", total=len(DETECTORS) + 1, unit="detector")], {}

    def clean(self) -> None:
        """Accuracy, and the served gate's false rejection, by group and after harmless changes."""
        rejected = self._scores(self.seen["test"]) < self.subject.bundle.gate.threshold
        self.result["clean"] = accuracy(targets_of(self.test), self.seen["test"], rejected, self.patients)
        self.result["groups"] = groups(self.test, rejected, self.patients)
        subject = self.subject
        self._measure(
            "orientation",
            lambda: orientation_stage(subject, self.levels, self.seen["test"], self.attacked),
            self._of_attacks,
        )
        if self.preset.harmless:
            self._measure("harmless", lambda: harmless_stage(subject.victim, subject.device, self.test, self.patients))

    def informed(self) -> None:
        """Attackers who stop early or know the gate, sanity checks, and attacks of libraries."""
        preset = self.preset
        counts = {
            "minimal": preset.minimal_films,
            "selective": preset.gradient_films,
            "orthogonal": preset.gradient_films,
            "joint": preset.gradient_films,
            "feature-constraint": preset.constraint_films,
        }
        modes = modes_of(self.subject, self.hidden, self.seed) if preset.constraint_films else {}
        rows: list[dict[str, Any]] = []
        for name, count in counts.items():
            if count:
                index = evenly(len(self.test), count)
                rows += self._attacker(name, self.levels[index], self.patients[index], modes)
        if preset.native_films:
            index = evenly(len(self.test), preset.native_films)
            rows += self._attacker("selective", self._native(index), self.patients[index], {}, native=True)
        self.result["aware"] = rows
        if preset.sanity_films:
            few = self.levels[evenly(len(self.test), preset.sanity_films)]
            self._measure("sanity", lambda: sanity_stage(self.subject, few, preset, self.seed))
        if preset.library_films:
            index = evenly(len(self.test), preset.library_films)
            self._measure(
                "libraries",
                lambda: library_stage(self.subject, self.levels[index], self.patients[index], preset, self.seed),
            )

    def _attacker(
        self,
        name: str,
        levels: Images | list[Images],
        patients: NDArray[Any],
        modes: Mapping[str, LogMixture],
        *,
        native: bool = False,
    ) -> list[dict[str, Any]]:
        subject = self.subject
        return attacker_rows(
            subject.victim,
            subject.device,
            self.store,
            name,
            levels,
            patients,
            self.preset.aim,
            self.seed,
            modes,
            goals_on(subject.victim, self.preset.calls if name in AIMED and not native else OPPOSITE),
            native=native,
        )

    def _native(self, index: NDArray[np.intp]) -> list[Images]:
        decoded = [decode(self.test[one].path.read_bytes()) for one in index]
        films = [cut_out(image.pixels, image.field) for image in decoded]
        return [(film[None] * 255).round().astype(np.uint8) for film in films]

    def finish(self, identity: dict[str, Any], output: Path) -> tuple[dict[str, Any], Arrays]:
        """Add the versions, options and counts of the evaluation, and the arrays for the plots."""
        gate = self.subject.bundle.manifest.gate
        self.arrays.update(
            {
                f"scores|{name}": self._scores(seen)
                for name, seen in {**self.seen, **self.attacked}.items()
                if name != "train"
            }
        )
        self.arrays.update(
            {f"features|{name}": seen.features for name, seen in {"test": self.seen["test"], **self.attacked}.items()}
        )
        evaluation = {
            "preset": self.preset.name,
            "options": identity["preset"],
            "model_version": identity["model_version"],
            "data_sha256": identity["data"],
            "run": output.name,
            "seed": self.seed,
            **circumstances(self.subject.device),
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "scikit-learn": sklearn.__version__,
            },
            "seconds": self.store.seconds(),
            "extraction": self._extraction(),
            "films": {
                "train": len(self.train),
                "val": len(self.val),
                "test": len(self.test),
                "test_patients": len(set(self.patients)),
                "aware": self.preset.gradient_films,
                "native": self.preset.native_films,
            },
            "attacks": {
                name: asdict(options)
                for name, options in paper_attacks(WHITE_BOX_EPSILON, self.preset.attack_steps).items()
            },
            "gate": {
                "threshold": gate.threshold,
                "shrinkage": gate.shrinkage,
                "target": gate.target_false_rejection_rate,
                "bound": gate.calibration_bound,
            },
            **self.result,
        }
        return evaluation, {name.replace("|", "/"): array for name, array in self.arrays.items()}

    def _extraction(self) -> dict[str, Any]:
        """Speed of the feature extraction on the training films, and the hours that all of ChestX-ray14 would take."""
        rate = len(self.train) / self.store.seconds()["features-train"]
        return {
            "films": len(self.train),
            "images_per_second": rate,
            "chest_xray14_images": CHEST_XRAY14_IMAGES,
            "chest_xray14_hours": CHEST_XRAY14_IMAGES / rate / 3600,
        }


def _digest(network: nn.Module) -> str:
    """A digest of a substitute's weights, since each substitute needs its own stage."""
    digest = hashlib.sha256()
    for value in network.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:8]
