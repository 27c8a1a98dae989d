// Package e2e tests the whole way on real pods: resources, operator, Jobs, kubelet, trainer, checkpoints.
//
//	make e2e
//
// It needs root and a few minutes. Without KUBECONFIG the tests bring up a local cluster of their own
// and take it down at the end, also after a failure or an interrupt. With it they use
// that cluster, whose nodes must have the images; what needs the nodes' processes or a volume in memory is then skipped.
//
// The environment: E2E_LOCALCLUSTER is the built hack/localcluster, OPERATOR_IMAGE and TRAINER_IMAGE the names of
// the images, E2E_OPERATOR_IMAGE_TAR and E2E_TRAINER_IMAGE_TAR their archives. -seed draws again
// the moments at which trainers, the operator and the API server are killed, as an earlier run printed it.
//
// The package may import everything; nothing imports it.
package e2e
