"""`aafast info`: versions, devices, and which backends can run here."""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata

from ._answer import Answer

_PACKAGES = ("torch", "numpy", "safetensors", "segyio", "tqdm", "matplotlib", "triton", "scipy", "pylops")


def register(commands: argparse._SubParsersAction) -> None:
    """Add `info`."""
    parser = commands.add_parser(
        "info",
        help="versions, devices and backends, with reasons",
        description="Print the versions of what is installed, the devices, and for every operation and backend whether "
                    "it can run here, or why not.",
    )
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Print what is here."""
    facts = gather()
    if not arguments.json:
        print(_text(facts))
    return Answer(facts)


def gather() -> dict:
    """Versions of packages (None where absent), devices, and a row per operation and backend."""
    import torch

    from .. import __version__
    from ..engine import engines
    from ..evaluation.rows import processor
    from ..ops import backends
    from ..ops._native import load

    versions: dict[str, str | None] = {"aafast": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    module, _ = load()
    vectors = "" if module is None else f"; vectors {module.selected_isa()} of {', '.join(module.isa_names())}"
    devices = [{"device": "cpu", "name": processor(), "detail": f"{torch.get_num_threads()} threads of "
                f"{os.cpu_count()} cores{vectors}"}]
    for k in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(k)
        devices.append({"device": f"cuda:{k}", "name": p.name,
                        "detail": f"sm_{p.major}{p.minor}, {p.total_memory / 2**30:.0f} GiB"})
    rows = [row._asdict() for row in [*engines(), *backends()]]
    return {"versions": versions, "platform": platform.platform(), "devices": devices, "backends": rows}


def _text(facts: dict) -> str:
    lines = [f"{name:12} {version or 'not installed'}" for name, version in facts["versions"].items()]
    lines += [f"{'platform':12} {facts['platform']}", "", "devices"]
    lines += [f"  {d['device']:10} {d['name']} ({d['detail']})" for d in facts["devices"]]
    if len(facts["devices"]) == 1:
        lines.append("  no CUDA device is usable")
    lines += ["", "backends"]
    for row in facts["backends"]:
        word = "yes" if row["available"] else "no"
        lines.append(f"  {row['op']:22} {row['backend']:8} {word:4} {row['reason']}".rstrip())
    return "\n".join(lines)
