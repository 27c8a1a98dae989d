#!/usr/bin/env bash
# Installs the Debian packages that building the trainer needs, when they are missing.
# With LIBTORCH set only the compiler and Gloo's headers are needed, which no libtorch brings.
set -euo pipefail
need=()
have() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
command -v g++ >/dev/null || need+=(g++)
have libgloo-dev || need+=(libgloo-dev)
if [ -z "${LIBTORCH:-}" ]; then
  for p in libtorch-dev libopenblas0-openmp; do have "$p" || need+=("$p"); done
fi
[ ${#need[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || { echo "missing: ${need[*]}; install them, or set LIBTORCH to an unpacked libtorch" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "missing: ${need[*]}; run as root: apt-get install ${need[*]}" >&2; exit 1; }
echo "==> Installing ${need[*]} (about a minute)"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
{ apt-get update && apt-get install -y --no-install-recommends "${need[@]}"; } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"
