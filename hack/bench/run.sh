#!/usr/bin/env bash
# A training step of the trainer beside the same step in PyTorch on the same libtorch, taking turns
# so that a busy moment of the machine hits both. TURNS (default 5) runs of each, ROUNDS (default 5) rounds a run,
# THREADS (default all). On a busy machine compare the processor time with THREADS=1: threads that wait spin.
set -euo pipefail
cd "$(dirname "$0")/../.."
turns=${TURNS:-5} rounds=${ROUNDS:-5} threads=${THREADS:-$(nproc)} python=${PYTHON:-/usr/bin/python3}
"$python" -c 'import torch' 2>/dev/null || { echo "PyTorch is missing for $python: apt-get install python3-torch" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/bench" ./hack/bench
export OMP_NUM_THREADS=$threads
# PyTorch gets the trainer's environment, and never gives memory back to the kernel.
mapfile -t environment < <("$work/bench" -environment)
environment+=(MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592)
echo "==> $turns turns of $rounds rounds of 8 steps, two methods, two engines"
for turn in $(seq "$turns"); do
  for method in sft dpo; do
    "$work/bench" -method "$method" -rounds "$rounds" -threads "$threads" | tee -a "$work/$method.ours"
    env "${environment[@]}" "$python" hack/bench/step_torch.py --method "$method" --rounds "$rounds" --threads "$threads" | tee -a "$work/$method.torch"
  done
done
"$python" - "$work" <<'PYTHON'
import json, statistics, sys
print(f"\n{'method':8}{'seconds a step':24}{'trainer':>10}{'PyTorch':>10}{'ratio':>8}")
for method in "sft", "dpo":
    rows = {who: [json.loads(line) for line in open(f"{sys.argv[1]}/{method}.{who}")] for who in ("ours", "torch")}
    for what, key, pick in (("median", "secondsPerStep", statistics.median), ("fastest round", "fastest", min), ("median processor time", "cpuSecondsPerStep", statistics.median)):
        ours, torch = (pick(r[key] for r in rows[who]) for who in ("ours", "torch"))
        print(f"{method:8}{what:24}{ours:10.4f}{torch:10.4f}{ours / torch:8.2f}")
PYTHON
