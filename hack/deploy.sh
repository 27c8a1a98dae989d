#!/usr/bin/env bash
# Installs or upgrades the operator by its chart, with images OPERATOR_IMAGE and TRAINER_IMAGE, on the cluster that
# KUBECONFIG names. Arguments go on to helm. CHART, HELM and KUBECTL may name others than this repository's.
set -euo pipefail
root=$(dirname "$0")/..
namespace=alignment-system

# values IMAGE KEY: the chart's values for an image as one writes it, NAME[:TAG][@DIGEST].
values() {
  local name=$1 tag="" digest=""
  if [[ $name == *@* ]]; then digest=${name#*@} name=${name%%@*}; fi
  if [[ ${name##*/} == *:* ]]; then tag=${name##*:} name=${name%:*}; fi # before a slash it is a registry's port
  echo "$2.repository=$name,$2.tag=$tag,$2.digest=$digest"
}

# Helm can make the namespace, but not its Pod Security labels.
${KUBECTL:-kubectl} apply --server-side -f "$root/config/manager/namespace.yaml"
# What config/default installed before becomes the release's.
"${HELM:-$root/bin/helm}" upgrade --install alignment-operator "${CHART:-$root/charts/alignment-operator}" \
  --namespace "$namespace" --take-ownership --force-conflicts --wait --timeout 3m \
  --set-string "$(values "$OPERATOR_IMAGE" image),$(values "$TRAINER_IMAGE" trainerImage)" "$@"
