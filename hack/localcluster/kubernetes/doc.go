// Command kubernetes is unmodified Kubernetes and etcd in one binary, as hyperkube once was:
// linking seven programs that share most of their packages costs a seventh of the time and disk.
// Each component still runs as its own process, chosen by the name the binary is called by
// (a symbolic link kube-apiserver, as envtest wants it) or by the first argument.
//
// Two small components of our own ride along because they need the same libraries:
// fakegpu, a device plugin, and provisioner, which makes volumes for claims.
//
// It is a module of its own so that Kubernetes' replace directives stay out of the launcher's.
package main
