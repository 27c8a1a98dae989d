// Package cluster runs Kubernetes on this machine: real components, each its own process, in a machine made of
// namespaces (package machine), from which nothing can be left behind. Up, Down, Health and Load work from the host; Boot
// is the part of Up that runs inside.
//
// One subnet holds everything, so that every pod, the host and the machine reach each other directly:
//
//	10.88.7.1     the machine: API server and cluster DNS
//	10.88.7.2     the host, and the way out for pods
//	10.88.7.11..  the nodes' kubelets
//	10.88.7.32..  pods, of all nodes
//	10.96.0.0/16  Services, through kube-proxy in the machine
//
// A second cluster on the host has the next subnet (10.88.8.0/24, 10.97.0.0/16), and so on.
//
// It must not know how its programs are built.
package cluster
