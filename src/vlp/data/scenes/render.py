"""A scene's picture: textured and lit ground, shaded things, sensor noise.

Grounds are dull mid-tones and things are strong colours, white or black, so that jitter, light and
noise never make a colour's name doubtful. Everything is a function of the scene (``Scene.look`` seeds
the chance in it).
"""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vlp.data.scenes.shapes import Floats, patch, signed_distance
from vlp.data.scenes.world import Scene

PAINT = {
    "red": (212, 28, 36),
    "orange": (246, 128, 18),
    "yellow": (250, 226, 44),
    "green": (36, 160, 62),
    "blue": (40, 84, 225),
    "purple": (146, 52, 186),
    "white": (246, 246, 246),
    "black": (22, 22, 24),
}
"""sRGB of each colour name before jitter and light."""
_JITTER = 8.0
"""Levels that each channel of a paint may stray."""


def render(scene: Scene) -> NDArray[np.uint8]:
    """Paint ``scene``.

    Returns:
        uint8 [S, S, 3], RGB.
    """
    rng = np.random.Generator(np.random.SFC64(scene.look))
    light, slope = _light(rng, scene.side)
    picture = _ground(rng, scene.side)
    paints = rng.uniform(-_JITTER, _JITTER, (len(scene.things), 3)).astype(np.float32)
    for thing, jitter in zip(scene.things, paints, strict=True):
        radius = scene.radius(thing)
        rows, columns = patch(scene.side, thing.x, thing.y, radius)
        distance = signed_distance(thing.shape, rows, columns, thing.x, thing.y, radius, thing.turn)
        # Darker at the rim than in the middle: two things of one colour stay two where they overlap.
        shade = np.clip(distance * np.float32(-0.5), 0.0, 1.0) * np.float32(0.1) + np.float32(0.9)
        shade = shade + slope[rows, columns] * np.float32(0.06)
        cover = np.clip(np.float32(0.5) - distance, 0.0, 1.0)[..., None]
        paint = (np.asarray(PAINT[thing.colour], dtype=np.float32) + jitter) * shade[..., None]
        behind = picture[rows, columns]
        behind += (paint - behind) * cover
    picture *= light[..., None]
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(1.5, 5.0))
    return np.clip(picture, 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _grid(side: int) -> tuple[Floats, Floats]:
    """Columns and rows of the picture, 0 to 1, float32 [S, S]."""
    ramp = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    u, v = np.meshgrid(ramp, ramp)
    u.flags.writeable = v.flags.writeable = False
    return u, v


def _light(rng: np.random.Generator, side: int) -> tuple[Floats, Floats]:
    """Brightness [S, S], around 1, and its slope [S, S], −1 to 1, both falling away from one side."""
    u, v = _grid(side)
    angle, strength, level = rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.12), rng.uniform(0.96, 1.05)
    across = (u - np.float32(0.5)) * np.float32(math.cos(angle)) + (v - np.float32(0.5)) * np.float32(math.sin(angle))
    slope = across * np.float32(math.sqrt(2))
    return slope * np.float32(strength) + np.float32(level), slope


def _ground(rng: np.random.Generator, side: int) -> Floats:
    """Two dull tones mixed by a texture, float32 [S, S, 3]."""
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))](rng, side)
    hue, saturation, value = rng.uniform(), rng.uniform(0.02, 0.16), rng.uniform(0.42, 0.62)
    step = rng.uniform(0.05, 0.12) * (1 if rng.uniform() < 0.5 else -1)
    tones = [colorsys.hsv_to_rgb(hue, saturation, tone) for tone in (value, value + step)]
    dark, bright = np.asarray(tones, dtype=np.float32) * np.float32(255)
    return dark + (bright - dark) * texture[..., None]


def _plain(rng: np.random.Generator, side: int) -> Floats:
    u, v = _grid(side)
    return u if rng.uniform() < 0.5 else v


def _wave(rng: np.random.Generator, side: int, bend: float = 0.0) -> Floats:
    u, v = _grid(side)
    angle, waves, start = rng.uniform(0, math.pi), rng.uniform(3, 9), rng.uniform(0, 2 * math.pi)
    across = u * np.float32(math.cos(angle)) + v * np.float32(math.sin(angle))
    if bend:
        along = v * np.float32(math.cos(angle)) - u * np.float32(math.sin(angle))
        across = across + np.sin(along * np.float32(7) + np.float32(start)) * np.float32(bend)
    return np.sin(across * np.float32(2 * math.pi * waves) + np.float32(start)) * np.float32(0.5) + np.float32(0.5)


def _stripes(rng: np.random.Generator, side: int) -> Floats:
    return np.clip(_wave(rng, side) * np.float32(4) - np.float32(1.5), 0, 1)


def _wood(rng: np.random.Generator, side: int) -> Floats:
    return _wave(rng, side, bend=rng.uniform(0.03, 0.09))


def _checks(rng: np.random.Generator, side: int) -> Floats:
    u, v = _grid(side)
    fields = np.float32(math.pi * int(rng.integers(3, 8)))
    return np.clip(np.sin(u * fields) * np.sin(v * fields) * np.float32(5) + np.float32(0.5), 0, 1)


def _clouds(rng: np.random.Generator, side: int, cells: int = 6) -> Floats:
    weights = _smooth(side, cells)
    field = weights @ rng.random((cells, cells), dtype=np.float32) @ weights.T
    return field.astype(np.float32, copy=False)


def _grain(rng: np.random.Generator, side: int) -> Floats:
    return _clouds(rng, side, cells=20)


@lru_cache(maxsize=16)
def _smooth(side: int, cells: int) -> Floats:
    """Weights [S, cells] that blend a coarse row of values smoothly into ``side`` of them."""
    place = np.linspace(0, cells - 1, side, dtype=np.float32)
    left = np.minimum(place.astype(np.int64), cells - 2)
    part = place - left
    part = part * part * (3 - 2 * part)
    weights = np.zeros((side, cells), dtype=np.float32)
    weights[np.arange(side), left], weights[np.arange(side), left + 1] = 1 - part, part
    weights.flags.writeable = False
    return weights


_TEXTURES = (_plain, _stripes, _wood, _checks, _clouds, _grain)
