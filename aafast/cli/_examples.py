"""Examples of every command: shown by its `--help`, printed in docs/cli.md, parsed by the tests."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "run": (
        ("aafast run line.sgy out.sgy --report report.html", "wavelet estimated from the data, and a report"),
        ("aafast run line.sgy out.sgy --wavelet ricker:25 --patch 256x64", "a nominal wavelet, larger patches"),
        ("aafast run cube.sgy out.sgy --memory 8GB --workers 4", "four processes; after a kill the same line goes on"),
        ("aafast run line.sgy out.sgy --json --quiet > result.json", "for a script: figures on stdout"),
    ),
    "demo": (
        ("aafast demo --out out", "a faulted line with a wrong wavelet; the report is out/report.html"),
        ("aafast demo --quick --no-report --seed 7", "another line, small, without matplotlib"),
    ),
    "train": (
        ("aafast train deconv adaptive-lu --out my_model", "a small network that a CPU trains; given again it goes on"),
        ("aafast train deblur adaptive-deq --preset paper --device cuda --amp", "the paper's sizes, on a GPU"),
    ),
    "evaluate": (
        ("aafast evaluate deconv wiener fista --out rows.jsonl", "the shipped model beside classical methods"),
        ("aafast evaluate my_model --mismatch in,out --told nominal,true", "and what the true wavelet would earn"),
    ),
    "tables": (
        ("aafast tables bench/results --out tables", "every table and figure whose rows are committed"),
        ("aafast tables rows.jsonl --out tables", "those of one evaluation; what lacks its rows is said"),
    ),
    "convert": (
        ("aafast convert line.sgy line.mdio", "SEG-Y to an MDIO store"),
        ("aafast convert line.mdio back.sgy", "and back, byte for byte"),
    ),
    "compare": (
        ("aafast compare a.sgy b.sgy", "exit code 0 where every sample is equal, else 1"),
        ("aafast compare a.sgy b.sgy --tolerance 1e-6 --headers --json", "for a script; headers must agree as well"),
    ),
    "synth": (
        ("aafast synth cube.sgy --inlines 200 --crosslines 1000 --samples 1250", "1 GB to try sizes and speeds on"),
    ),
    "verify": (
        ("aafast verify golden", "recompute the recorded numbers in the folder golden"),
        ("aafast verify golden --backend cpp --out rows.json", "one backend; the rows also as a file"),
    ),
    "bench": (
        ("aafast bench", "operations, then whole solves at the reference's sizes"),
        ("aafast bench --suite solve --task deconv --quick", "one task, tiny, to see that it works"),
        ("aafast bench --device cuda --out rows.jsonl", "on a GPU; the rows also as a file"),
    ),
    "info": (
        ("aafast info", "what is installed, and why each backend can or cannot run here"),
        ("aafast info --json", "the same for a script or a bug report"),
    ),
    "completion": (
        ('eval "$(aafast completion bash)"', "in ~/.bashrc"),
        ('aafast completion zsh > "${fpath[1]}/_aafast"', "once; then start a new shell"),
        ("aafast completion fish > ~/.config/fish/completions/aafast.fish", "once"),
    ),
}
