#!/usr/bin/env bash
# Installs the operator, with images OPERATOR_IMAGE and TRAINER_IMAGE, on the cluster that KUBECONFIG names.
set -euo pipefail
cd "$(dirname "$0")/.."
overlay=out/deploy
mkdir -p "$overlay"
cat > "$overlay/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../config/default]
images: [{name: alignment-operator, newName: "${OPERATOR_IMAGE%:*}", newTag: "${OPERATOR_IMAGE##*:}"}]
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: alignment-operator, namespace: alignment-system}
    spec: {template: {spec: {containers: [{name: operator, env: [{name: TRAINER_IMAGE, value: "$TRAINER_IMAGE"}]}]}}}
YAML
kubectl apply --server-side -k "$overlay"
kubectl --namespace alignment-system rollout status deployment/alignment-operator --timeout 120s
