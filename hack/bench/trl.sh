#!/usr/bin/env bash
# `trainer bench` beside the same steps in TRL (hack/bench/step_trl.py), one after the other on one device, and the ratio:
#
#   python -m venv /tmp/trl && /tmp/trl/bin/pip install -r hack/bench/requirements-trl.txt
#   PYTHON=/tmp/trl/bin/python hack/bench/trl.sh --device cuda --init 1b --method DPO --seq-len 2048 --batch 8
#
# The flags are `trainer bench`'s. TRAINER is the program, built when it is not set: with a GPU, against PyTorch's libtorch (see
# runtime/tensor's documentation), for both sides to have the same kernels.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
"$python" -c 'import trl' 2>/dev/null || { echo "TRL is missing for $python: pip install -r hack/bench/requirements-trl.txt" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trainer=${TRAINER:-}
[ -n "$trainer" ] || { go build -o "$work/trainer" ./images/trainer; trainer=$work/trainer; }
init=1b rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --init) init=$2; shift 2 ;;
    --init=*) init=${1#*=}; shift ;;
    *) rest+=("$1"); shift ;;
  esac
done
"$trainer" bench --init "$init" --show-config > "$work/config.json"
"$trainer" bench --init "$work/config.json" "${rest[@]}" --json | tee "$work/trainer.json"
"$python" hack/bench/step_trl.py --init "$work/config.json" "${rest[@]}" | tail -1 | tee "$work/trl.json"
"$python" - "$work" <<'PYTHON'
import json, sys
ours, trl = (json.load(open(f"{sys.argv[1]}/{who}.json")) for who in ("trainer", "trl"))
print(f"\n{'':16}{'trainer':>12}{'TRL ' + trl['trl']:>14}{'ratio':>8}")
for name, key, unit in (("seconds a step", "secondsPerStep", 1), ("tokens/s", "tokensPerSecond", 1), ("peak GiB", "peakMemoryBytes", 1 << 30)):
    if key == "peakMemoryBytes" and ours["device"] == "cpu":
        continue  # the trainer's counts tensors, the other whole processes
    a, b = ours[key] / unit, trl[key] / unit
    print(f"{name:16}{a:12.4g}{b:14.4g}{a / b:8.2f}")
PYTHON
