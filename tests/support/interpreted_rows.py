"""Run by a fresh interpreter under TRITON_INTERPRET=1: the ops suite's rows of a device, on the Triton kernels.

Arguments: PRECISION/OPERATION, each of which shall have a green row.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace

from aafast.bench import device, device_stacks
from aafast.bench.device_table import device_ops
from aafast.bench.floors import PRECISIONS
from aafast.bench.rows import complaints


def main() -> None:
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # of lanes that a mask hides
    device_stacks.MORE = 1  # layers that a stack has more: the interpreter is slow
    device.peaks.bandwidth = 1e9
    device.peaks.flops.update(dict.fromkeys(PRECISIONS, 1e9))
    known = {op.name: op for op in device_ops()}
    for case in sys.argv[1:]:
        precision, _, name = case.partition("/")
        op = known[name]
        if op.small[1] == 64:
            op = replace(op, small=(1, 64, 8, 8))
        row = device.measure(op, "triton", precision, "cpu", quick=True)
        print(name, precision, row["gate"]["value"])
        assert row["gate"]["ok"] and not complaints(row) and "refusal" not in row, row
        assert row["backend"] == "triton" and row["median_s"] > 0 and row["floor_share"] > 0, row
    print("all ok")


if __name__ == "__main__":
    main()
