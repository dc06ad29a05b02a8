"""The bundle: the only module that knows its format (specified in ``artifacts/README.md``).

No pickle anywhere: arrays are safetensors, everything else is JSON or text.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from .calls import Calls
from .content import KINDS, Content
from .errors import BundleError
from .gate import DENSITIES, Density, Gate, kind_of
from .heatmap import MAP_SHAPE
from .labels import LABELS
from .manifest import Manifest
from .network import FEATURE_COUNT, ChestNetwork
from .orientation import SENSES, Orientation
from .preprocess import PREPROCESSING
from .signature import SIGNATURE, TrustedKeys, read_signature

MANIFEST: Final = "manifest.json"
NETWORK: Final = "network.safetensors"
ORIENTATION: Final = "orientation.safetensors"
CONTENT: Final = "content.safetensors"
HEATMAP: Final = "heatmap.safetensors"
GOLDEN: Final = "golden.safetensors"
MODEL_CARD: Final = "MODEL_CARD.md"
REPORT: Final = "report"
#: The files beside the arrays of the gate's density.
REQUIRED: Final = (NETWORK, ORIENTATION, CONTENT, HEATMAP, GOLDEN, MODEL_CARD)
FORMAT_VERSION: Final = 3
#: Key in the headers of arrays that were fitted on features; it names the network that gave the features.
PAIRED_NETWORK: Final = "network_sha256"


@dataclass(frozen=True)
class Golden:
    """Inputs, and the outputs that the maker of the bundle got from them.

    Attributes
    ----------
    images : ndarray, shape (K, 1, 224, 224), uint8
        Means of many films, and patterns, but no patient's film. Divided by 255 they are the input.
    log_densities : ndarray, shape (K,), float64
    sigmoids : ndarray, shape (K, L), float64
        Sigmoids of the logits before calibration.
    calibration_scores : ndarray, shape (M,), float64
        Log densities of the held-out clean films, ascending.
    """

    images: NDArray[np.uint8]
    log_densities: NDArray[np.float64]
    sigmoids: NDArray[np.float64]
    calibration_scores: NDArray[np.float64]

    def clean_percentile(self, log_density: float) -> float:
        """Share of the calibration films whose log density is at most this one, in [0,1]; 0 means below all of them.

        It is uniform over films that are exchangeable with the calibration films, to within 1 / (M + 1).
        """
        return float(np.searchsorted(self.calibration_scores, log_density, side="right")) / len(self.calibration_scores)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory.

    Attributes
    ----------
    typical_maps : ndarray, shape (L, 7, 7), float32
        For each finding, the mean class activation map of clean films without findings; see ``heatmap``.
    signed_by : str or None
        Identifier of the trusted key that signed it; None if no signature was required.
    gate : Gate
        The density with the manifest's threshold.
    calls : Calls
        The calls of the manifest's findings.
    """

    manifest: Manifest
    network: ChestNetwork
    density: Density
    orientation: Orientation
    content: Content
    golden: Golden
    typical_maps: NDArray[np.float32]
    signed_by: str | None = None
    gate: Gate = field(init=False, repr=False, compare=False)
    calls: Calls = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", Gate(self.density, self.manifest.gate.threshold))
        object.__setattr__(self, "calls", Calls(self.manifest.findings))


def read_bundle(folder: Path, trusted: TrustedKeys | None = None) -> Bundle:
    """Read and verify a bundle. Every file is read once, so the verified bytes are the ones in use, whatever happens
    to the folder.

    Parameters
    ----------
    folder : Path
    trusted : TrustedKeys or None
        Keys, one of which must have signed the manifest; this is checked before anything is parsed. None: signatures
        are not checked.

    Raises
    ------
    BundleError
        Something is missing, altered, of another format, paired with another network, or not signed; the message
        says which and why.
    """
    manifest, signed_by = read_signed_manifest(folder, trusted)
    contents = check_files(folder, manifest)
    if tuple(finding.name for finding in manifest.findings) != LABELS:
        raise BundleError(f"{MANIFEST}: findings are not the {len(LABELS)} labels in the order that this code serves")
    if manifest.preprocessing != PREPROCESSING:
        raise BundleError(
            f"{MANIFEST}: preprocessing differs from this code's, so the gate would see other features; fit the gate anew with "
            "cxr-offline fit, or serve a bundle that was fitted with this version"
        )
    network = _network(contents[NETWORK], manifest.gate.watch is not None)
    density = _density(contents[DENSITIES[manifest.gate.kind].file], manifest, network.gate_feature_count)
    orientation = _orientation(contents[ORIENTATION], manifest)
    content = _content(contents[CONTENT], manifest)
    golden, typical_maps = _golden(contents[GOLDEN]), _typical_maps(contents[HEATMAP], manifest.files[NETWORK])
    return Bundle(manifest, network, density, orientation, content, golden, typical_maps, signed_by)


def write_bundle(
    folder: Path,
    manifest: dict[str, Any],
    network: ChestNetwork,
    density: Density,
    orientation: Orientation,
    shown: Content,
    golden: Golden,
    typical_maps: NDArray[np.float32],
    texts: dict[str, bytes],
    sign: Callable[[bytes], bytes] | None = None,
) -> Manifest:
    """Write a bundle beside `folder`, then rename it into place; an existing one is replaced whole.

    Parameters
    ----------
    manifest : dict
        Fields of ``Manifest`` without ``files``, ``model_version`` and the gate's ``kind``, which this function finds.
    shown : Content
        It pairs with no network, since it sees only pixels.
    texts : dict
        Path in the bundle (``MODEL_CARD.md``, ``report/...``) -> content.
    sign : callable or None
        Content of the manifest -> content of its signature's file. None: the bundle is not signed.

    Raises
    ------
    BundleError
        The manifest's fields are not valid.
    """
    kind = kind_of(density)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    beside.chmod(0o755)
    try:
        network_bytes = dump_tensors(
            {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        )
        (beside / NETWORK).write_bytes(network_bytes)
        paired = {PAIRED_NETWORK: hashlib.sha256(network_bytes).hexdigest()}
        save_arrays(dict(density.arrays), beside / DENSITIES[kind].file, metadata=paired)
        save_arrays(
            {"weights": np.ascontiguousarray(orientation.weights), "bias": orientation.bias},
            beside / ORIENTATION,
            metadata=paired,
        )
        save_arrays({**shown.arrays, "mean": shown.mean, "basis": shown.basis}, beside / CONTENT)
        save_arrays({"typical_maps": np.ascontiguousarray(typical_maps)}, beside / HEATMAP, metadata=paired)
        save_arrays(vars(golden), beside / GOLDEN)
        for name, content in texts.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(content)
        files = {
            path.relative_to(beside).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(beside.rglob("*"))
            if path.is_file()
        }
        written = _versioned({**manifest, "gate": {**manifest["gate"], "kind": kind}, "files": files})
        content = (json.dumps(written.content(), indent=2) + "\n").encode()
        (beside / MANIFEST).write_bytes(content)
        if sign:
            (beside / SIGNATURE).write_bytes(sign(content))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return written


def _versioned(fields: dict[str, Any]) -> Manifest:
    """The version is a digest of the manifest, and so of every file: two bundles share one only if they are the same."""
    try:
        draft = Manifest(**fields, model_version="")
    except ValidationError as error:
        raise BundleError(f"the manifest is not valid: {error}") from error
    return draft.model_copy(update={"model_version": _version_of(draft)})


def _version_of(manifest: Manifest) -> str:
    content = manifest.model_copy(update={"model_version": ""}).content()
    return (
        f"densenet121-{manifest.gate.kind}-"
        + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    )


def read_manifest(folder: Path, trusted: TrustedKeys | None = None) -> Manifest:
    """Read a bundle's manifest, and check it against its own version; the other files are not checked.

    Raises
    ------
    BundleError
        As ``read_bundle``, for the manifest and its signature.
    """
    return read_signed_manifest(folder, trusted)[0]


def read_signed_manifest(folder: Path, trusted: TrustedKeys | None) -> tuple[Manifest, str | None]:
    """Like ``read_manifest``, with the identifier of the key that signed it.

    Raises
    ------
    BundleError
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} holds no {MANIFEST}; name a folder written by 'cxr-offline export'")
    content = path.read_bytes()
    signed_by = trusted.signer(content, read_signature(folder)) if trusted else None
    return parse_manifest(content), signed_by


def parse_manifest(content: bytes) -> Manifest:
    """The manifest in the content of its file.

    Raises
    ------
    BundleError
        It has another format, or was changed after it was written.
    """
    try:
        fields = json.loads(content)
        if isinstance(fields, dict) and fields.get("format_version") != FORMAT_VERSION:
            raise BundleError(_of_another_format(fields.get("format_version")))
        manifest = Manifest.model_validate(fields)
    except (ValueError, ValidationError) as error:
        raise BundleError(f"{MANIFEST} cannot be read: {error}") from error
    if manifest.model_version != _version_of(manifest):
        raise BundleError(f"{MANIFEST} was changed after it was written: its content does not match its model_version")
    return manifest


def _of_another_format(version: object) -> str:
    told = f"{MANIFEST}: format_version {version!r} is not {FORMAT_VERSION}, which this code reads. "
    if version in {1, 2}:
        return (
            f"{told}The gate was fitted on whole pictures, and this code judges their exposed field: fit it again with "
            "'cxr-offline unpack', 'fit' and 'export' (artifacts/README.md)"
        )
    return f"{told}Serve it with the version of the code that it was made for, or export it again"


def check_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Contents of all files that the manifest lists, each with the SHA-256 that it gives.

    Raises
    ------
    BundleError
    """
    for name in (*REQUIRED, DENSITIES[manifest.gate.kind].file):
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST} does not list {name}; export the bundle again")
    return {name: read_verified(folder, name, digest) for name, digest in manifest.files.items()}


def read_verified(folder: Path, name: str, digest: str) -> bytes:
    """Content of a file of the bundle, if it has this SHA-256.

    Raises
    ------
    BundleError
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{MANIFEST} names {name}, which lies outside the bundle")
    if not path.is_file():
        raise BundleError(f"{name} is missing from the bundle; copy the whole folder again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise BundleError(
            f"{name} has another SHA-256 than the manifest says: it was damaged or altered; copy it again"
        )
    return content


def _network(content: bytes, watched: bool) -> ChestNetwork:
    network = ChestNetwork(len(LABELS), watched)
    try:
        network.load_state_dict(load_tensors(content))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{NETWORK} does not hold this code's DenseNet-121: {str(error)[:300]}") from error
    return network.eval().requires_grad_(False)


def _density(content: bytes, manifest: Manifest, feature_count: int) -> Density:
    kind = DENSITIES[manifest.gate.kind]
    arrays = _of_network(kind.file, content, manifest.files[NETWORK])
    try:
        density = kind.of(**arrays)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{kind.file} cannot be used: {error}") from error
    if density.feature_count != feature_count:
        raise BundleError(
            f"{kind.file}: fitted on {density.feature_count} features, the gate is given {feature_count} features"
        )
    return density


def _orientation(content: bytes, manifest: Manifest) -> Orientation:
    if manifest.orientation.senses != SENSES:
        raise BundleError(f"{MANIFEST}: the senses of {ORIENTATION} are not those that this code knows")
    arrays = _of_network(ORIENTATION, content, manifest.files[NETWORK])
    try:
        orientation = Orientation(arrays["weights"], arrays["bias"], manifest.orientation.least_log_density)
    except (KeyError, ValueError) as error:
        raise BundleError(f"{ORIENTATION} cannot be used: {error}") from error
    if orientation.weights.shape[1] != FEATURE_COUNT:
        raise BundleError(f"{ORIENTATION}: weights for {orientation.weights.shape[1]} features, not {FEATURE_COUNT}")
    return orientation


def _content(content: bytes, manifest: Manifest) -> Content:
    check = manifest.content_check
    if check.kinds != KINDS:
        raise BundleError(f"{MANIFEST}: the kinds of {CONTENT} are not those that this code knows")
    try:
        arrays = load_arrays(content)
        mean, basis = arrays.pop("mean"), arrays.pop("basis")
        return Content(arrays, mean, basis, check.least_log_odds, check.most_unexplained)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{CONTENT} cannot be used: {error}") from error


def _typical_maps(content: bytes, network_sha256: str) -> NDArray[np.float32]:
    maps = _of_network(HEATMAP, content, network_sha256).get("typical_maps")
    if maps is None or maps.shape != (len(LABELS), *MAP_SHAPE) or not np.isfinite(maps).all():
        raise BundleError(
            f"{HEATMAP} cannot be used: typical_maps must be finite, of shape {(len(LABELS), *MAP_SHAPE)}"
        )
    return np.asarray(maps, dtype=np.float32)


def _of_network(name: str, content: bytes, network_sha256: str) -> dict[str, NDArray[np.float64]]:
    """Arrays that were fitted on features, if the features came from this network."""
    try:
        arrays: dict[str, NDArray[np.float64]] = load_arrays(content)
    except SafetensorError as error:
        raise BundleError(f"{name} cannot be used: {error}") from error
    # The header is valid if the arrays could be loaded: its length in 8 bytes, then JSON.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    paired = header.get("__metadata__", {}).get(PAIRED_NETWORK)
    if paired != network_sha256:
        raise BundleError(
            f"{name} was fitted on another network than {NETWORK} (its header names "
            f"{str(paired)[:12]}, the network is {network_sha256[:12]}); fit it again on this one"
        )
    return arrays


def _golden(content: bytes) -> Golden:
    try:
        return Golden(**load_arrays(content))
    except (SafetensorError, TypeError) as error:
        raise BundleError(f"{GOLDEN} cannot be used: {error}") from error
