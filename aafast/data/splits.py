"""Training, validation and test: streams of random numbers that never meet."""

from __future__ import annotations

import numpy as np

from aafast.checks import check_choice

SPLITS = {"train": 0, "valid": 1, "test": 2}
_USES = {"image": 1, "order": 2, "pair": 3}


def generator(seed: int, split: str, index: int, use: str = "pair") -> np.random.Generator:
    """The random numbers of pair, generated image or file order `index` of a split: no two of these share any.

    Raises InputError on a split that is none.
    """
    number = SPLITS[check_choice("split", split, tuple(SPLITS))]
    # The last word is never zero: numpy fills seeds up with zeros, so [seed, 1] and [seed, 1, 0] are the same.
    return np.random.default_rng([seed, number, index, _USES[use]])
