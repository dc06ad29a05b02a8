"""Pictures that are no chest film, drawn by rule: shapes, clouds, heaps of discs, pages, patterns, limbs, parts of films."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torch.nn import functional as F

from .project import SIDE

Generator = np.random.Generator
Picture = NDArray[np.float32]
#: Greys from 0 to 255 as ``ImageDraw`` takes them.
WHITE: Final = 255
#: Larger than ``SIDE``, so that drawings have soft edges after they are reduced.
CANVAS: Final = 4 * SIDE


def _blank(generator: Generator) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    grey = (0, 0, 0, WHITE, int(generator.integers(WHITE)))[generator.integers(5)]
    canvas = Image.new("L", (CANVAS, CANVAS), grey)
    return canvas, ImageDraw.Draw(canvas)


def _box(generator: Generator, least: float, most: float) -> tuple[float, float, float, float]:
    x, y = generator.uniform(0, CANVAS, 2)
    w, h = generator.uniform(least, most, 2) * CANVAS / 2
    return x - w, y - h, x + w, y + h


def body_slice(generator: Generator) -> Image.Image:
    """An oval with a bright rim and smaller ovals in it, like a slice of a head or a belly."""
    canvas = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(canvas)
    x, y = CANVAS * generator.uniform(0.4, 0.6, 2)
    w, h = CANVAS * generator.uniform(0.2, 0.47, 2)
    rim, inner = (int(g) for g in generator.integers(60, 256, 2))
    draw.ellipse((x - w, y - h, x + w, y + h), fill=inner, outline=rim, width=int(generator.integers(1, 40)))
    for _ in range(generator.integers(2, 14)):
        a, r = generator.uniform(0, 2 * np.pi), generator.uniform(0, 0.65)
        dx, dy = generator.uniform(0.03, 0.3, 2) * (w, h)
        cx, cy = x + r * w * np.cos(a), y + r * h * np.sin(a)
        draw.ellipse((cx - dx, cy - dy, cx + dx, cy + dy), fill=int(generator.integers(256)))
    return canvas.filter(ImageFilter.GaussianBlur(generator.uniform(0, 10)))


def heap(generator: Generator) -> Image.Image:
    """Overlapping discs and boxes, whose statistics are those of photographs (dead leaves; Lee et al., IJCV 2001)."""
    canvas, draw = _blank(generator)
    for _ in range(generator.integers(10, 250)):
        size = min(0.9, 0.03 / generator.uniform(0.02, 1))
        shape = draw.ellipse if generator.random() < 0.6 else draw.rectangle
        shape(_box(generator, size / 2, size), fill=int(generator.integers(256)))
    return canvas.filter(ImageFilter.GaussianBlur(generator.uniform(0, 6)))


def cloud(generator: Generator) -> Image.Image:
    """Noise whose amplitude falls with a power of the frequency; the exponent is from 0 (white noise) to 2.5."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequencies[0, 0] = 1 / SIDE
    spectrum = np.fft.fft2(generator.standard_normal((SIDE, SIDE))) * frequencies ** -generator.uniform(0, 2.5)
    noise = np.fft.ifft2(spectrum).real
    low, high = np.percentile(noise, [1, 99])
    return Image.fromarray((np.clip((noise - low) / (high - low), 0, 1) * WHITE).astype(np.uint8))


def page(generator: Generator) -> Image.Image:
    """Lines of text, dark on bright or bright on dark, sometimes with a frame or bars."""
    paper = int(generator.choice([0, WHITE]))
    canvas = Image.new("L", (CANVAS, CANVAS), paper)
    draw, ink = ImageDraw.Draw(canvas), WHITE - paper
    size = int(generator.integers(8, 60))
    for y in range(int(generator.integers(0, 60)), CANVAS, int(size * generator.uniform(1.2, 3))):
        letters = "".join(chr(c) for c in generator.integers(97, 123, generator.integers(1, 60)))
        draw.text((int(generator.integers(0, 60)), y), letters.replace("q", " "), fill=ink, font_size=size)
    for _ in range(generator.integers(0, 6)):
        box = _box(generator, 0.02, 0.5)
        draw.rectangle(
            box, fill=int(generator.integers(256)) if generator.random() < 0.5 else None, outline=ink, width=2
        )
    return canvas


def pattern(generator: Generator) -> Image.Image:
    """Ramps, stripes, checks, rings and waves."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS - 0.5
    angle, number = generator.uniform(0, np.pi), generator.uniform(0.5, 20)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = -x * np.sin(angle) + y * np.cos(angle)
    distance = np.hypot(
        x - generator.uniform(-0.3, 0.3), (y - generator.uniform(-0.3, 0.3)) * generator.uniform(0.5, 2)
    )
    kinds: list[Callable[[], NDArray[np.float64]]] = [
        lambda: along + 0.5,
        lambda: np.floor(along * number) % 2,
        lambda: (np.floor(along * number) + np.floor(across * number)) % 2,
        lambda: distance * 1.5,
        lambda: (distance < generator.uniform(0.1, 0.4)) * 1.0,
        lambda: 0.5 + 0.5 * np.cos(number * 6 * distance),
        lambda: 0.5 + 0.25 * np.sin(number * 3 * along) + 0.25 * np.cos(generator.uniform(2, 60) * across),
        lambda: np.floor((along + 0.5) * number) / number,
        lambda: (along > generator.uniform(-0.3, 0.3)) * 1.0,
    ]
    grey = np.clip(kinds[generator.integers(len(kinds))](), 0, 1)
    return Image.fromarray((grey * WHITE).astype(np.uint8))


def fan(generator: Generator) -> Image.Image:
    """A sector of speckle on black, like an ultrasound image."""
    canvas = Image.new("L", (CANVAS, CANVAS), 0)
    x, y, r = CANVAS / 2, CANVAS * generator.uniform(-0.2, 0.2), CANVAS * generator.uniform(0.6, 1.1)
    half = generator.uniform(20, 60)
    ImageDraw.Draw(canvas).pieslice((x - r, y - r, x + r, y + r), 90 - half, 90 + half, fill=WHITE)
    speckle = np.abs(np.asarray(cloud(generator).resize((CANVAS, CANVAS)), np.float64) / WHITE - 0.5) * 2
    shapes = np.asarray(heap(generator), np.float64) / WHITE
    grey = np.asarray(canvas, np.float64) * speckle ** generator.uniform(0.5, 2) * shapes ** generator.uniform(0, 1)
    return Image.fromarray(grey.clip(0, WHITE).astype(np.uint8))


def limb(generator: Generator) -> Image.Image:
    """Bright shafts in a grey sleeve on black, or half an oval at the edge: like an arm, a hand or a breast."""
    canvas = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(canvas)
    if generator.random() < 0.4:
        r, h = CANVAS * generator.uniform(0.3, 0.9), CANVAS * generator.uniform(0.3, 0.6)
        y = CANVAS * generator.uniform(0.35, 0.65)
        draw.ellipse((-r, y - h, r, y + h), fill=int(generator.integers(60, 200)))
    else:
        for _ in range(generator.integers(1, 6)):
            ends = tuple(CANVAS * generator.uniform(-0.1, 1.1, 4))
            width = int(CANVAS * generator.uniform(0.05, 0.45))
            sleeve, bone = int(generator.integers(40, 150)), int(generator.integers(150, 256))
            draw.line(ends, fill=sleeve, width=width)
            draw.line(ends, fill=bone, width=max(2, int(width * generator.uniform(0.2, 0.5))))
    shade = np.asarray(cloud(generator).resize((CANVAS, CANVAS)), np.float64) / WHITE
    blurred = np.asarray(canvas.filter(ImageFilter.GaussianBlur(generator.uniform(1, 25))), np.float64)
    return Image.fromarray((blurred * (0.6 + 0.4 * shade)).astype(np.uint8))


KINDS: Final[tuple[Callable[[Generator], Image.Image], ...]] = (body_slice, heap, cloud, page, pattern, fan, limb)


def drawings(count: int, generator: Generator) -> Tensor:
    """Pictures of every kind in turn, one in three a negative, shape (count, 112, 112), float32 in [0, 1]."""
    found = []
    for index in range(count):
        picture = KINDS[index % len(KINDS)](generator).resize((SIDE, SIDE), Image.Resampling.BOX)
        grey = np.asarray(picture, np.float32) / np.float32(WHITE)
        found.append(1 - grey if generator.random() < 1 / 3 else grey)
    return torch.from_numpy(np.stack(found))


def parts(films: Tensor, count: int, generator: Generator) -> Tensor:
    """Small parts of films at random places and angles, shape (count, 112, 112): tissue that shows no chest."""
    chosen = films[torch.from_numpy(generator.integers(len(films), size=count))]
    angle = torch.from_numpy(generator.uniform(-np.pi, np.pi, count)).float()
    scale = torch.from_numpy(generator.uniform(0.15, 0.4, count)).float()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * scale
    theta[:, 1, 0] = torch.sin(angle) * scale
    theta[:, 0, 1] = -theta[:, 1, 0]
    theta[:, :, 2] = torch.from_numpy(generator.uniform(-0.6, 0.6, (count, 2))).float()
    places = F.affine_grid(theta, [count, 1, SIDE, SIDE], align_corners=False)
    part = F.grid_sample(chosen[:, None], places, padding_mode="border", align_corners=False)[:, 0]
    low, high = part.amin((1, 2), keepdim=True), part.amax((1, 2), keepdim=True)
    return (part - low) / (high - low).clamp_min(0.05)
