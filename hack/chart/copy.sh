#!/usr/bin/env bash
# Copies what the chart shares with config/ into its files/, byte for byte: templates read it from there, so that
# there is one source, and braces in a description need no escape.
set -euo pipefail
cd "$(dirname "$0")/../.."
files=charts/alignment-operator/files
rm -rf "$files"
mkdir -p "$files/crds"
cp config/crd/bases/*.yaml "$files/crds/"
cp config/rbac/{role,leader_election,users}.yaml "$files/"
cp config/prometheus/{podmonitor.yaml,rules.yaml,dashboard.json} "$files/"
