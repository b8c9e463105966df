#!/usr/bin/env bash
# Everything that only a GPU can tell, in one command on any machine with an NVIDIA GPU, Python 3.10+ and PyTorch 2.11+,
# without a network:
#
#     bench/gpu.sh OUT_DIR
#
# What the machine lacks of pytest, pytest-benchmark and safetensors may be brought along in build/carry, made elsewhere
# by `pip install --target build/carry pytest pytest-benchmark safetensors` (pure Python, or of the stable ABI).
#
# Builds in place, runs the tests that need a device, the verification, the sanitizers and the benchmarks; each stage
# has a log and a time limit of its own, and reports even if an earlier one failed. What is missing is said and skipped.
# Rows go to OUT_DIR/*.jsonl, logs to OUT_DIR/*.log, a summary to OUT_DIR/summary.txt and to the screen; all rows
# together to OUT_DIR/gpu-DEVICE.jsonl, which bench/results/ takes and `python bench/report.py --write` reads. Under 9
# minutes: all stages share AAFAST_GPU_SECONDS (530), and one that has no time left is skipped. A benchmark that is
# stopped keeps the rows that it had made. Exit code: 0 where nothing that could run failed.
set -u
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { echo "usage: bench/gpu.sh OUT_DIR" >&2; exit 2; }
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
python=${PYTHON:-python3}
[ -d build/carry ] && export PYTHONPATH=$PWD/build/carry${PYTHONPATH:+:$PYTHONPATH}
summary=$out/summary.txt
: > "$summary"
failed=0
budget=${AAFAST_GPU_SECONDS:-530}

say() { echo "$*" | tee -a "$summary"; }

# stage NAME SECONDS COMMAND...: runs it, keeps its output, says how it ended.
stage() {
  local name=$1 limit=$2 begin=$SECONDS code left=$((budget - SECONDS))
  shift 2
  [ "$left" -ge 5 ] || { skip "$name" "no time left of $budget s"; return 1; }
  [ "$limit" -le "$left" ] || limit=$left
  timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1
  code=$?
  case $code in
    0) say "$name: ok, $((SECONDS - begin)) s" ;;
    124 | 137) say "$name: STOPPED after $limit s, see $name.log"; failed=1 ;;
    *) say "$name: FAILED with code $code after $((SECONDS - begin)) s, see $name.log"; failed=1
       tail -n 12 "$out/$name.log" | sed 's/^/    /' | tee -a "$summary" ;;
  esac
  return $code
}

skip() { say "$1: skipped, $2"; }

has() { "$python" -c "import $1" > /dev/null 2>&1; }

arch=$("$python" - 2> /dev/null << 'PY'
import torch
if torch.cuda.is_available():
    major, minor = torch.cuda.get_device_capability()
    print(f"{major}{minor}a" if major >= 9 else f"{major}{minor}")
PY
)
device=$("$python" -c "import torch; print(torch.cuda.get_device_name())" 2> /dev/null)
versions=$("$python" -c "import sys, torch; print('Python', sys.version.split()[0], 'torch', torch.__version__)" 2> /dev/null)
say "device: ${device:-none that torch sees}; ${versions:-no torch}; commit $(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown)"

AAFAST_ARCHS=${AAFAST_ARCHS:-${arch:-80;90a}} stage build 240 "$python" -m pip install --no-build-isolation --no-deps -q -e . \
  || { say "nothing more can run without the build"; exit 1; }
stage info 60 "$python" -m aafast info
grep -E "^  (solve|conv_stack|anderson_mix) " "$out/info.log" | sed 's/^/    /' | tee -a "$summary"

if [ -d ../shared/golden ]; then stage verify 90 "$python" -m aafast verify ../shared/golden
else skip verify "no recorded numbers in ../shared/golden"; fi

if ! has pytest; then skip tests "pytest is not installed"
elif [ -z "$arch" ]; then skip tests "no CUDA device"
else stage tests 150 "$python" -m pytest -q -x --maxfail=8 -p no:cacheprovider tests/gpu
     tail -n 1 "$out/tests.log" | sed 's/^/    /' | tee -a "$summary"; fi

bench() { # NAME SECONDS ARGUMENTS...
  local name=$1 limit=$2
  shift 2
  stage "$name" "$limit" "$python" -m aafast bench --device cuda --out "$out/$name.jsonl" "$@"
  local code=$? part
  for part in "$out/.$name.jsonl."*.part; do  # of a run that was stopped
    if [ -s "$part" ]; then mv "$part" "$out/$name.jsonl"; fi
  done
  return $code
}

if [ -z "$arch" ]; then skip benchmarks "no CUDA device"
elif ! has pytest_benchmark || ! has safetensors; then skip benchmarks "pytest-benchmark or safetensors is not installed"
else
  for task in deconv deblur defog; do bench "solve-$task" 90 --suite solve --task "$task" --method adaptive-deq; done
  bench ops 150 --suite ops
  bench lu 60 --suite solve --method adaptive-lu --without compile
  AAFAST_BACKEND=triton bench triton 60 --suite solve --method adaptive-deq --without compile --without eager-nhwc
  bench strict 60 --suite solve --method adaptive-deq --precision strict --without compile --without eager-nhwc
fi

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)
if [ -z "$arch" ]; then skip sanitizers "no CUDA device"
elif [ -z "$sanitizer" ]; then skip sanitizers "compute-sanitizer is not installed"
else for tool in memcheck racecheck; do
       stage "$tool" 60 "$sanitizer" --tool "$tool" --error-exitcode 9 "$python" bench/gpu_solves.py; done; fi

all=$out/gpu-$(echo "${device:-none}" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' '-').jsonl
rm -f "$out"/gpu-*.jsonl
for file in "$out"/*.jsonl; do
  [ -s "$file" ] || continue
  cat "$file" >> "$all.part"
  say ""
  say "$(basename "$file")"
  "$python" -c "import sys; from pathlib import Path; from aafast.bench.rows import read, table; print(table(read(Path(sys.argv[1]))))" \
    "$file" 2>&1 | tee -a "$summary"
done
if [ -s "$all.part" ]; then
  mv "$all.part" "$all"
  say ""
  say "all rows: $all; copied to bench/results/, python bench/report.py --write makes docs/gpu.md's tables of them"
fi
say ""
say "$([ $failed = 0 ] && echo 'every stage that could run ended well' || echo 'some stage failed, see above'); ${SECONDS} s in all"
exit $failed
