"""How the grid of a store is gone through: in tiles of whole chunks, each small enough to be held."""

from __future__ import annotations

from collections.abc import Iterator

TILE = 64  # traces along each side of a chunk of a cube
LINE = 512  # traces of a chunk of a line
DEPTH = 512  # samples of a chunk
_HELD = 1 << 24  # samples of a tile at most: of longer traces fewer, even if a chunk is then read twice


def sides(shape: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Traces of a tile along each axis of a grid whose traces have so many samples."""
    most = max(1, _HELD // max(1, samples))
    if len(shape) == 1:
        return (min(LINE, most),)
    across = min(TILE, most)
    return max(1, min(TILE, most // across)), across


def tiles(shape: tuple[int, ...], samples: int) -> Iterator[tuple[slice, ...]]:
    """The tiles that cover a grid, row after row."""
    side = sides(shape, samples)
    if len(shape) == 1:
        yield from ((slice(k, k + side[0]),) for k in range(0, shape[0], side[0]))
        return
    for k in range(0, shape[0], side[0]):
        yield from ((slice(k, k + side[0]), slice(j, j + side[1])) for j in range(0, shape[1], side[1]))
