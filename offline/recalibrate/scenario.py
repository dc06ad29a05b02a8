"""The measurements of docs/recalibration.md: another scanner, how many films are enough, and poisoners.

    python -m offline.recalibrate.scenario --data FILMS
    cxr-offline recalibrate --films runs/recalibration/site --table runs/recalibration/site.csv \\
        --output runs/recalibration/bundle --report reports/recalibration/site

Half of the patients of the val and test films are the site's. The films of the other half are fresh, and the answers
to them are measured. Neither the network nor the base's Gaussian has seen either. The films are changed at 224x224,
the size at which the network sees them. Stages resume where they stopped.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app.pipeline.gate import Gate
from app.pipeline.network import LogitsOnly

from ..attacks import SearchOptions, selective
from ..data.command import shared_data
from ..data.films import Film, evenly, of_split, patients_of, read_films
from ..data.harmless import blur
from ..evaluation.observing import Images, load_images, observe, to_images, to_levels
from ..evaluation.store import Arrays, Outcome, Stages
from ..evaluation.subject import LoadedBundle
from ..evaluation.uninformed import attack_all
from ..gate.moments import Moments
from ..run import write_json
from .compare import HARD, STORED, GateJudgement, attacked_features, detection_rows
from .estimate import RIDGE_KEPT, prior_of
from .recalibration import fit_site, refusals
from .suspicion import Evidence, Looks, residual_energy, weigh

SEED: Final = 1
TARGET: Final = 0.05
MOST_LOSS: Final = 0.02
NOISE: Final = 0.01
GAMMA: Final = 0.8
SITE: Final = "gamma .8 and noise sd .01"
ATTACKED: Final = 60
SIZES: Final = (20, 50, 100, 200)
DRAWS: Final = 5
POISON: Final = 40
POISON_SHARES: Final = (0.05, 0.1, 0.2)
POISON_DRAWS: Final = 3
POISON_ATTACKS: Final = {"BIM 0.02": STORED["BIM 0.02"], **HARD}
KNOWING: Final = "selective 2/255"
#: Fifty steps within two grey levels; the goal is to invent a finding, which any film is eligible for.
SELECTIVE: Final = SearchOptions.within(2 / 255, steps=50)
BATCH: Final = 8


def _rounded(films: NDArray[np.floating[Any]]) -> Images:
    return np.asarray((np.clip(films, 0, 1) * 255).round(), dtype=np.uint8)


def _noisy(films: NDArray[np.floating[Any]], deviation: float) -> Images:
    return _rounded(films + np.random.default_rng(SEED).normal(0, deviation, films.shape))


#: Films in [0,1], shape (N, 1, 224, 224) -> as another scanner might have given them, 8 bits.
SCANNERS: Final[dict[str, Callable[[NDArray[np.float32]], Images]]] = {
    SITE: lambda films: _noisy(films**GAMMA, NOISE),
    "as it is": _rounded,
    "noise sd .005": lambda films: _noisy(films, NOISE / 2),
    "gamma .8": lambda films: _rounded(films**GAMMA),
    "blur 1 pixel": lambda films: np.stack([_rounded(blur(1)(film[0]))[None] for film in films]),
}


@dataclass(frozen=True)
class ScenarioMaterial:
    """What the stages give.

    Attributes
    ----------
    at_site : ndarray, shape (N,), bool
        Which films are of the site's patients; the others are fresh.
    scanners : dict
        Scanner -> looks of all films.
    attacks : dict
        Attack -> features of some fresh films, attacked.
    poison : dict
        Attack -> looks of some of the site's films, attacked, and which films they are, shape (M,).
    """

    films: list[Film]
    at_site: NDArray[np.bool_]
    scanners: dict[str, Looks]
    attacks: Arrays
    poison: dict[str, tuple[Looks, NDArray[np.intp]]]
    poison_attempts: int
    prior: Moments


def gather(subject: LoadedBundle, films: list[Film], store: Stages) -> ScenarioMaterial:
    """Run every stage that is not done."""
    patients = patients_of(films)
    people = np.random.default_rng(SEED).permutation(np.unique(patients))
    at_site = np.isin(patients, people[: len(people) // 2])
    seen = {name: store.stage(f"films-{name}", partial(_films, subject, films, name))[1] for name in SCANNERS}
    levels = seen[SITE]["levels"]
    write_site(store.folder, films, at_site, levels)
    attacked = np.flatnonzero(~at_site)[evenly(int((~at_site).sum()), ATTACKED)]
    poisoned = np.flatnonzero(at_site)[evenly(int(at_site.sum()), POISON)]
    attacks = dict(store.stage("attacks", lambda: ({}, attacked_features(subject, levels[attacked])))[1])
    poison = {}
    for name in POISON_ATTACKS:
        stem = "poison-" + name.replace("/", "-")
        arrays = store.stage(stem, partial(_poison, subject, levels[poisoned], name))[1]
        poison[name] = (_looks(store, f"poison-{name}", arrays), poisoned)
    arrays = _selective(subject, store, "poison-selective", levels[poisoned])
    poison[KNOWING] = (_looks(store, f"poison-{KNOWING}", arrays), poisoned[arrays["index"]])
    attacks[KNOWING] = _selective(subject, store, "attacks-selective", levels[attacked[::4]])["features"]
    return ScenarioMaterial(
        films,
        at_site,
        {name: _looks(store, name, arrays) for name, arrays in seen.items()},
        attacks,
        poison,
        len(poisoned),
        prior_of(subject.bundle.gate.density, subject.bundle.manifest.gate.shrinkage),
    )


def write_site(folder: Path, films: list[Film], at_site: NDArray[np.bool_], levels: Images) -> None:
    """The site's films as PNG, and their table, for ``cxr-offline recalibrate`` to be run on."""
    (folder / "site").mkdir(exist_ok=True)
    with (folder / "site.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "patient", "view", "sex"])
        for index in np.flatnonzero(at_site):
            film = films[index]
            Image.fromarray(levels[index, 0]).save(folder / "site" / film.path.name)
            table.writerow([film.path.name, film.patient, film.view, film.sex])


def _looks(store: Stages, name: str, arrays: Arrays) -> Looks:
    def compute() -> Outcome:
        return {}, {"residuals": residual_energy(torch.from_numpy(arrays["levels"]).float() / 255)}

    residuals = store.stage(f"residuals-{name.replace('/', '-')}", compute)[1]["residuals"]
    return Looks(arrays["features"], residuals, np.full(len(residuals), ""))


def _films(subject: LoadedBundle, films: list[Film], scanner: str) -> Outcome:
    levels = SCANNERS[scanner](load_images(films, "films").astype(np.float32) / np.float32(255))
    return {}, {
        "levels": levels,
        "features": observe(subject.victim.network, levels, subject.device, scanner).gate_features,
    }


def _poison(subject: LoadedBundle, levels: Images, name: str) -> Outcome:
    network = subject.victim.network
    poisoned = attack_all(LogitsOnly(network), levels, subject.device, f"poison, {name}", POISON_ATTACKS[name])
    return {}, {"levels": poisoned, "features": observe(network, poisoned, subject.device, name).gate_features}


def _selective(subject: LoadedBundle, store: Stages, stem: str, levels: Images) -> Arrays:
    """Films attacked by somebody who knows the base's gate; those that pass it."""

    def compute(start: int) -> Outcome:
        images = to_images(levels[start : start + BATCH], subject.device)
        result = selective(subject.victim, images, subject.victim.choose("invent", images), SELECTIVE)
        passed = np.flatnonzero(result.success.cpu().numpy())
        attacked = to_levels(result.images)[passed]
        features = observe(subject.victim.network, attacked, subject.device, f"{stem} {start}").gate_features
        return {}, {"levels": attacked, "features": features, "index": start + passed}

    parts = [store.stage(f"{stem}-{start:03d}", partial(compute, start))[1] for start in range(0, len(levels), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _judged(
    material: ScenarioMaterial, base: Gate, chosen: NDArray[np.intp], features: NDArray[np.float32], seed: int
) -> dict[str, Any]:
    """What the gate that is fitted to the chosen films does to fresh ones, clean and attacked."""
    patients = np.array([material.films[index].patient for index in chosen])
    fitted, threshold, _ = fit_site(material.prior, features, patients, TARGET, seed)
    return {
        "films": len(chosen),
        "pseudo_films": fitted.pseudo_films,
        "bound": threshold.bound,
        **_against_fresh(material, base, Gate(fitted.gaussian, threshold.value)),
    }


def _against_fresh(material: ScenarioMaterial, base: Gate, gate: Gate) -> dict[str, Any]:
    fresh = material.scanners[SITE].features[~material.at_site]
    before, after = (
        GateJudgement(
            one.threshold,
            one.log_density(fresh),
            {name: one.log_density(features) for name, features in material.attacks.items()},
        )
        for one in (base, gate)
    )
    rows = detection_rows(before, after)
    return {
        "false_rejection_rate": float(after.rejected.mean()),
        "detection": {row["attack"]: row["after"] for row in rows},
        "refused_for_detection": bool(refusals([], rows, MOST_LOSS)),
    }


def learning_curve(material: ScenarioMaterial, base: Gate, store: Stages) -> list[dict[str, Any]]:
    """Site films by number, in draws of whole patients, except for the films of the last one."""
    rows: list[dict[str, Any]] = []
    site = np.flatnonzero(material.at_site)
    patients = np.array([material.films[index].patient for index in site])
    features = material.scanners[SITE].features
    for draw in range(DRAWS):
        people = np.random.default_rng(draw).permutation(np.unique(patients))
        order = site[np.argsort(np.argsort(people)[np.searchsorted(np.unique(patients), patients)], kind="stable")]

        def compute(order: NDArray[np.intp] = order, draw: int = draw) -> Outcome:
            return [{"draw": draw, **_judged(material, base, order[:n], features[order[:n]], draw)} for n in SIZES], {}

        rows += store.stage(f"curve-{RIDGE_KEPT:g}-{draw}", compute)[0]
    return rows


def threshold_alone(material: ScenarioMaterial, base: Gate) -> dict[str, Any]:
    """The simplest remedy, for comparison: the base's Gaussian, its threshold from all of the site's films."""
    scores = base.log_density(material.scanners[SITE].features[material.at_site])
    return _against_fresh(material, base, Gate(base.density, float(np.quantile(scores, TARGET))))


def poisonings(subject: LoadedBundle, material: ScenarioMaterial, base: Gate, store: Stages) -> list[dict[str, Any]]:
    """A share of the site's films replaced by their attacked selves: what the checks see, and what the gate becomes."""
    site = np.flatnonzero(material.at_site)

    def compute(attack: str, count: int) -> Outcome:
        poison, index = material.poison[attack]
        draws = []
        for draw in range(POISON_DRAWS):
            mixed = np.random.default_rng(draw).permutation(len(index))[:count]
            looks = _replaced(material.scanners[SITE], index[mixed], poison, mixed)
            looks = Looks(looks.features[site], looks.residuals[site], looks.scanners[site])
            evidence = evidence_of(weigh(looks, [""] * len(site), subject.bundle))
            draws.append({"evidence": evidence, **_judged(material, base, site, looks.features, draw)})
        name = attack if count else "none"
        return {"attack": name, "share": count / len(site), "films": count, "draws": draws}, {}

    cells = [(KNOWING, 0)] + [
        (attack, min(round(share * len(site)), len(index)))
        for attack, (_, index) in material.poison.items()
        for share in POISON_SHARES
    ]
    return [
        store.stage(f"poisoning-{RIDGE_KEPT:g}-{attack.replace('/', '-')}-{count}", partial(compute, attack, count))[0]
        for attack, count in cells
    ]


def _replaced(looks: Looks, places: NDArray[np.intp], others: Looks, chosen: NDArray[np.intp]) -> Looks:
    features, residuals = looks.features.copy(), looks.residuals.copy()
    features[places], residuals[places] = others.features[chosen], others.residuals[chosen]
    return Looks(features, residuals, looks.scanners)


def harmless(subject: LoadedBundle, material: ScenarioMaterial) -> list[dict[str, Any]]:
    """What the checks say of scanners that mean no harm, and of sites that have two of them."""
    sites = dict(material.scanners)
    fifth = np.arange(0, len(material.films), 5)
    for most, few in ((SITE, "as it is"), ("as it is", SITE), ("as it is", "gamma .8"), ("as it is", "noise sd .005")):
        mixed = _replaced(material.scanners[most], fifth, material.scanners[few], fifth)
        sites[f"{most}; a fifth {few}"] = mixed
        told = np.where(np.isin(np.arange(len(material.films)), fifth), few, most)
        sites[f"{most}; a fifth {few}; the table says which"] = Looks(mixed.features, mixed.residuals, told)
    return [
        {"films": name, "evidence": evidence_of(weigh(looks, [""] * len(looks.residuals), subject.bundle))}
        for name, looks in sites.items()
    ]


def evidence_of(evidence: list[Evidence]) -> dict[str, dict[str, Any]]:
    """Check -> share of films that fail it, and whether that is too many."""
    return {one.name: {"share": one.share, "suspicious": one.suspicious} for one in evidence}


def main() -> None:
    """Run the stages, measure, and write ``scenario.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--data", type=Path, default=shared_data() / "chest_xrays")
    parser.add_argument("--work", type=Path, default=Path("runs/recalibration"))
    parser.add_argument("--output", type=Path, default=Path("reports/recalibration"))
    parsed = parser.parse_args()
    subject = LoadedBundle.load(parsed.bundle, torch.device("cpu"))
    every = read_films(parsed.data)
    films = of_split(every, "val") + of_split(every, "test")
    version = subject.bundle.manifest.model_version
    store = Stages.open(parsed.work, {"bundle": version, "films": len(films), "seed": SEED, "features": "the gate's"})
    material = gather(subject, films, store)
    base = subject.bundle.gate
    parsed.output.mkdir(parents=True, exist_ok=True)
    write_json(
        parsed.output / "scenario.json",
        {
            "base_version": version,
            "site_films": int(material.at_site.sum()),
            "fresh_films": int((~material.at_site).sum()),
            "attacked_films": {name: len(features) for name, features in material.attacks.items()},
            "poison_films": {name: len(index) for name, (_, index) in material.poison.items()},
            "poison_attempts": material.poison_attempts,
            "before": _against_fresh(material, base, base),
            "threshold_alone": threshold_alone(material, base),
            "learning_curve": learning_curve(material, base, store),
            "harmless": harmless(subject, material),
            "poisoning": poisonings(subject, material, base, store),
        },
    )


if __name__ == "__main__":
    main()
