"""What a scene is made of, how one is drawn by lot, and how it is written down.

A scene is a few coloured things on a square picture. Everything that the picture shows and that a
statement can speak of follows from it: ``render`` paints it, ``oracle`` judges statements by it.

Names are exchangeable: no shape, colour or size is likelier than another, and positions are drawn
until they fit while the looks stay, so that crowding favours no size either. The caption sampler
relies on this symmetry for its freedom of language prior.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from vlp.data.scenes.shapes import Shape, masks

Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "white", "black"]
Size = Literal["small", "large"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)

MOST_THINGS = 5
RADIUS = {"small": 5.5 / 64, "large": 9.5 / 64}
"""Radius of a thing as a share of the picture's side: about 11 and 19 px wide at 64 px."""
LEAST_VISIBLE = 0.6
"""Share of a thing's pixels that no other thing may hide."""
_CLOSEST = 0.72
"""Least distance of two centres as a share of the sum of the radii."""
_REPEAT = 0.4
"""Chance that a thing takes its shape from an earlier one; the same for its colour. Without it almost
every count would be one."""
_MOST_TURN = 12.0
"""Degrees: a little life, yet a square stays a square."""


class SceneError(ValueError):
    """A text is not the JSON of a scene; the message names the field."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a scene; ``x`` runs right and ``y`` down, both in pixels from the upper left corner."""

    size: Size
    colour: Colour
    shape: Shape
    x: int
    y: int
    turn: float
    """Degrees clockwise."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A square picture of ``side`` pixels and its things, the hindmost first."""

    side: int
    things: tuple[Thing, ...]
    look: int
    """Seed of background, light and noise: the picture is a function of the scene alone."""

    def radius(self, thing: Thing) -> float:
        """Radius of ``thing`` in pixels."""
        return RADIUS[thing.size] * self.side

    def to_json(self) -> str:
        """The scene as one line of JSON: ``{"format": "scenes", "look": …, "side": …, "things": […]}``."""
        return json.dumps({"format": "scenes", **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read what ``to_json`` wrote.

        Raises:
            SceneError: it is not JSON, not of this format, or a field is missing or impossible.
        """
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise SceneError(f"scene: not JSON ({error})") from None
        if not isinstance(value, dict) or value.get("format") != "scenes":
            raise SceneError('scene: expected an object with "format": "scenes"')
        try:
            things = tuple(_thing(item) for item in value["things"])
            return cls(side=int(value["side"]), things=things, look=int(value["look"]))
        except KeyError as error:
            raise SceneError(f"scene: field {error} is missing") from None
        except TypeError as error:
            raise SceneError(f"scene: {error}") from None


def _thing(item: dict[str, Any]) -> Thing:
    thing = Thing(**item)
    for field, known in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES)):
        if getattr(thing, field) not in known:
            raise SceneError(f"scene: {field} {getattr(thing, field)!r} is none of {', '.join(known)}")
    return thing


def stream(seed: int, index: int, purpose: str) -> random.Random:
    """The random numbers of one record for one purpose, independent of every other record and purpose."""
    digest = hashlib.blake2b(f"{seed}/{index}/{purpose}".encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


def sample(rng: random.Random, side: int = 64) -> Scene:
    """Draw a scene: one thing in a tenth of all scenes, else two to five, equally likely.

    Args:
        rng: where chance comes from.
        side: width and height of the picture in pixels.
    """
    count = 1 if rng.random() < 0.1 else rng.randint(2, MOST_THINGS)
    looks = _looks(rng, count)
    turns = [round(rng.uniform(-_MOST_TURN, _MOST_TURN), 1) for _ in looks]
    look = rng.getrandbits(48)
    while True:
        places = _places(rng, [RADIUS[size] * side for size, _, _ in looks], side)
        things = tuple(Thing(*a, x, y, turn) for a, (x, y), turn in zip(looks, places, turns, strict=True))
        scene = Scene(side=side, things=things, look=look)
        if min(visible_shares(scene)) >= LEAST_VISIBLE:
            return scene


def _looks(rng: random.Random, count: int) -> list[tuple[Size, Colour, Shape]]:
    looks: list[tuple[Size, Colour, Shape]] = []
    for _ in range(count):
        shape, colour = rng.choice(SHAPES), rng.choice(COLOURS)
        if looks and rng.random() < _REPEAT:
            shape = rng.choice(looks)[2]
        if looks and rng.random() < _REPEAT:
            colour = rng.choice(looks)[1]
        looks.append((rng.choice(SIZES), colour, shape))
    return looks


def _places(rng: random.Random, radii: list[float], side: int) -> list[tuple[int, int]]:
    """Centres that lie inside the picture and not too close to one another."""
    places: list[tuple[int, int]] = []
    while len(places) < len(radii):
        edge = int(radii[len(places)] * 1.2) + 1
        for _ in range(50):
            x, y = rng.randint(edge, side - edge), rng.randint(edge, side - edge)
            reach = _CLOSEST * radii[len(places)]
            near = (
                (x - other_x) ** 2 + (y - other_y) ** 2 < (reach + _CLOSEST * radius) ** 2
                for (other_x, other_y), radius in zip(places, radii, strict=False)
            )
            if not any(near):
                places.append((x, y))
                break
        else:
            places.clear()
    return places


def visible_masks(scene: Scene) -> list[np.ndarray]:
    """For each thing, bool [S, S]: the pixels that show it, those that a nearer thing hides left out."""
    shown: list[np.ndarray] = []
    whole = _whole_masks(scene)
    hidden = np.zeros((scene.side, scene.side), dtype=bool)
    for mask in reversed(whole):
        shown.append(mask & ~hidden)
        hidden |= mask
    return shown[::-1]


def visible_shares(scene: Scene) -> list[float]:
    """For each thing, the share of its pixels that no nearer thing hides."""
    if not _any_touch(scene):
        return [1.0] * len(scene.things)
    whole = _whole_masks(scene)
    shown = visible_masks(scene)
    return [float(seen.sum() / mask.sum()) for seen, mask in zip(shown, whole, strict=True)]


def _whole_masks(scene: Scene) -> list[np.ndarray]:
    return masks(scene.side, [(t.shape, t.x, t.y, scene.radius(t), t.turn) for t in scene.things])


def _any_touch(scene: Scene) -> bool:
    """Whether two bounding circles meet; a square's corner is 1.42 radii out."""
    for index, one in enumerate(scene.things):
        for two in scene.things[:index]:
            reach = 1.42 * (scene.radius(one) + scene.radius(two))
            if (one.x - two.x) ** 2 + (one.y - two.y) ** 2 < reach**2:
                return True
    return False
