"""Dead-leaves images: shapes of power-law sizes that cover one another, as objects do in a photograph.

With radii r of density r^-3 the image has no scale of its own between the smallest and the largest leaf: edges,
flat parts and occlusions at every size, and a power spectrum near 1 / f^2, as photographs have. Leaves carry colours
of a common palette, shading, 1 / f texture or stripes. Images are painted at twice the resolution and averaged, so
that edges are those of a sensor with finite pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OVER = 2
# Up to this radius (fine pixels) leaves are painted a whole class of sizes at a time, larger ones by themselves.
_TOGETHER = 32


@dataclass(frozen=True)
class Leaves:
    """N leaves from the back to the front; lengths and places in fine pixels.

    Attributes:
        row, column: centres [N].
        a, b: half axes [N] along and across the leaf's own direction.
        angle: direction [N], radians.
        boxy: rectangle where True, ellipse where False [N].
    """

    row: np.ndarray
    column: np.ndarray
    a: np.ndarray
    b: np.ndarray
    angle: np.ndarray
    boxy: np.ndarray

    def take(self, index: np.ndarray) -> Leaves:
        """The leaves `index`, in that order."""
        return Leaves(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def dead_leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a dead-leaves image [3, H, W] float32 in 0..1."""
    shape = (OVER * height, OVER * width)
    # Photographs differ in how much fine detail they hold, so the smallest leaf does.
    smallest = float(np.exp(rng.uniform(np.log(3.0), np.log(16.0))))
    radius = power_law_radii(rng, shape, smallest, largest=0.35 * min(shape), coverage=3.5)
    count = len(radius)
    leaves = random_leaves(rng, radius, rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count))
    owner = bend(rng, paint(shape, leaves))
    return shrink(colour(rng, owner, count + 1))


def power_law_radii(
    rng: np.random.Generator, shape: tuple[int, int], smallest: float, largest: float, coverage: float
) -> np.ndarray:
    """Radii [N] of density r^-3 between two sizes; N leaves have `coverage` times the area of the image."""
    low, high = smallest**-2.0, max(largest, 2 * smallest) ** -2.0
    mean_square = np.log(low / high) / (low - high)
    count = max(1, round(coverage * shape[0] * shape[1] / (np.pi * mean_square)))
    return (high + (low - high) * rng.random(count)) ** -0.5


def random_leaves(rng: np.random.Generator, radius: np.ndarray, row: np.ndarray, column: np.ndarray) -> Leaves:
    """Leaves [N] of given sizes and centres: mostly ellipses, some rectangles, of aspect 1 to 3, in any direction."""
    count = len(radius)
    stretch = np.exp(rng.uniform(0, 0.5 * np.log(3), count))
    boxy = rng.random(count) < 0.35
    # Half of the rectangles stand upright, as what people build does.
    upright = boxy & (rng.random(count) < 0.5)
    angle = np.where(upright, 0.0, rng.uniform(0, np.pi, count))
    return Leaves(row, column, radius * stretch, radius / stretch, angle, boxy)


def paint(shape: tuple[int, int], leaves: Leaves) -> np.ndarray:
    """Number of the foremost leaf over each fine pixel, [H, W] int32: 0 where there is none, else its place + 1."""
    owner = np.zeros(shape, np.int32)
    reach = np.where(leaves.boxy, np.hypot(leaves.a, leaves.b), np.maximum(leaves.a, leaves.b))
    size = 4
    low = 0
    while low < _TOGETHER:
        chosen = np.flatnonzero((reach > low) & (reach <= size))
        if len(chosen):
            np.maximum(owner, _paint_small(shape, leaves.take(chosen), chosen + 1, size), out=owner)
        low, size = size, 2 * size
    for k in np.flatnonzero(reach > _TOGETHER):
        _paint_large(owner, leaves.take(np.array([k])), int(k) + 1, float(reach[k]))
    return owner


def _paint_small(shape: tuple[int, int], leaves: Leaves, number: np.ndarray, size: int) -> np.ndarray:
    """The leaves of one class of sizes, all at once; later ones write over earlier ones."""
    owner = np.zeros(shape, np.int32)
    steps = np.arange(-size, size + 1)
    row0, column0 = np.rint(leaves.row).astype(np.int64), np.rint(leaves.column).astype(np.int64)
    dr = (steps[None, :] + (row0 - leaves.row)[:, None]).astype(np.float32)[:, :, None]
    dc = (steps[None, :] + (column0 - leaves.column)[:, None]).astype(np.float32)[:, None, :]
    inside = _inside(leaves, dr, dc)
    rows, columns = row0[:, None] + steps, column0[:, None] + steps
    inside &= ((rows >= 0) & (rows < shape[0]))[:, :, None] & ((columns >= 0) & (columns < shape[1]))[:, None, :]
    place = rows[:, :, None] * shape[1] + columns[:, None, :]
    leaf = np.repeat(number.astype(np.int32), inside.sum((1, 2)))
    owner.ravel()[place[inside]] = leaf
    return owner


def _paint_large(owner: np.ndarray, leaf: Leaves, number: int, reach: float) -> None:
    """One leaf, over those of smaller numbers."""
    row, column = float(leaf.row[0]), float(leaf.column[0])
    top, left = max(0, int(row - reach)), max(0, int(column - reach))
    box = owner[top : max(0, int(row + reach) + 2), left : max(0, int(column + reach) + 2)]
    dr = (np.arange(top, top + box.shape[0]) - row).astype(np.float32)[None, :, None]
    dc = (np.arange(left, left + box.shape[1]) - column).astype(np.float32)[None, None, :]
    inside = _inside(leaf, dr, dc)[0]
    np.maximum(box, np.where(inside, np.int32(number), 0), out=box)


def _inside(leaves: Leaves, dr: np.ndarray, dc: np.ndarray) -> np.ndarray:
    """Which of the places (dr, dc) from the centres [N, ., .] lie in the leaves."""
    cos, sin = (f(leaves.angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    a, b = leaves.a.astype(np.float32)[:, None, None], leaves.b.astype(np.float32)[:, None, None]
    u = (cos / a) * dc + (sin / a) * dr
    v = (cos / b) * dr - (sin / b) * dc
    u *= u
    v *= v
    return np.where(leaves.boxy[:, None, None], np.maximum(u, v), u + v) <= 1


def bend(rng: np.random.Generator, owner: np.ndarray, amount: float = 5.0) -> np.ndarray:
    """Read the leaves [H, W] through slow waves of a few fine pixels, so that few outlines are quite regular."""
    height, width = owner.shape
    row, column = np.arange(height)[:, None], np.arange(width)[None, :]
    shifts = []
    for _ in range(2):
        wave = 0.0
        for _ in range(3):
            length = np.exp(rng.uniform(np.log(40), np.log(200)))
            turn, phase = rng.uniform(0, 2 * np.pi, 2)
            wave = wave + np.sin((np.cos(turn) * row + np.sin(turn) * column) * (2 * np.pi / length) + phase)
        shifts.append(np.rint(wave * (amount / 3)).astype(np.int64))
    return owner[np.clip(row + shifts[0], 0, height - 1), np.clip(column + shifts[1], 0, width - 1)]


def pink_noise(rng: np.random.Generator, size: int, exponent: float) -> np.ndarray:
    """A periodic field [size, size] float32 of unit variance with amplitude spectrum f^-exponent."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    f[0, 0] = 1.0
    gain = f**-exponent
    gain[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * gain, (size, size))
    return (field / field.std()).astype(np.float32)


def colour(rng: np.random.Generator, owner: np.ndarray, count: int, tone: np.ndarray | None = None) -> np.ndarray:
    """Colour, shade and texture of every fine pixel, [3, H, W] float32, not yet clipped.

    Args:
        rng: source of every random number.
        owner: number of the leaf over each fine pixel [H, W].
        count: leaves and background, the numbers that may occur.
        tone: colours [count, 3] in 0..1; None draws them.

    Returns:
        `tone exp(texture + shade + light)`, texture and shade each leaf's own, light the scene's.
    """
    tone = palette(rng, count) if tone is None else tone
    height, width = owner.shape
    row, column = (np.arange(n, dtype=np.float32) for n in (height, width))
    size = 256
    rough = rng.random(count) < 0.5
    fields = np.stack([pink_noise(rng, size, 0.7), pink_noise(rng, size, 1.5)])
    shift = rng.integers(0, size, (2, count))
    strength = (0.25 * rng.random(count) ** 2).astype(np.float32)
    place = (row.astype(np.int64)[:, None] + shift[0][owner]) % size * size
    place += (column.astype(np.int64)[None, :] + shift[1][owner]) % size
    place += rough[owner] * (size * size)
    value = fields.ravel()[place]
    value *= strength[owner]
    slope = (rng.standard_normal((2, count)) * 0.4 / max(height, width)).astype(np.float32)
    value += slope[0][owner] * (row[:, None] - height / 2) + slope[1][owner] * (column[None, :] - width / 2)
    _stripes(rng, owner, count, value)
    turn = rng.uniform(0, 2 * np.pi)
    light = 0.4 * rng.uniform(-1, 1)
    value += (light * np.cos(turn) / height) * (row[:, None] - height / 2)
    value += (light * np.sin(turn) / width) * (column[None, :] - width / 2)
    np.exp(value, out=value)
    tone = tone.astype(np.float32)
    return np.stack([tone[:, channel][owner] * value for channel in range(3)])


def _stripes(rng: np.random.Generator, owner: np.ndarray, count: int, value: np.ndarray) -> None:
    """Add stripes to the log-brightness of about one leaf in eight."""
    striped = rng.random(count) < 0.12
    length = np.exp(rng.uniform(np.log(6), np.log(40), count))
    turn, phase = rng.uniform(0, 2 * np.pi, (2, count))
    strength = rng.uniform(0.1, 0.5, count)
    rows, columns = np.nonzero(striped[owner])
    k = owner[rows, columns]
    wave = (np.cos(turn) / length)[k] * rows + (np.sin(turn) / length)[k] * columns
    value[rows, columns] += strength[k] * np.sin(2 * np.pi * wave + phase[k])


def palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours [count, 3] in 0..1 around five of one scene; channels correlate as those of photographs do."""
    spread = rng.uniform(0.6, 1.3)
    level = rng.normal(rng.normal(-0.3, 0.5), spread, count)
    hues = rng.normal(0.0, 1.0, (5, 2)) * rng.uniform(0.05, 0.3)
    chroma = hues[rng.integers(0, 5, count)] + rng.normal(0.0, 0.05, (count, 2))
    # Blue against yellow varies most in photographs, red against green less.
    opponent = np.array([[0.9, 0.2, -1.1], [0.35, -0.45, 0.1]])
    return 1.0 / (1.0 + np.exp(-(level[:, None] + 2.0 * chroma @ opponent)))


def shrink(image: np.ndarray) -> np.ndarray:
    """Average fine pixels [3, 2H, 2W] to an image [3, H, W] float32, clipped to 0..1."""
    image = np.clip(image, 0.0, 1.0)
    fine = image[:, 0::2, 0::2] + image[:, 0::2, 1::2] + image[:, 1::2, 0::2] + image[:, 1::2, 1::2]
    return (fine * np.float32(0.25)).astype(np.float32)
