// Package v1alpha1 is the API: the kinds of the group alignment.dev at version v1alpha1.
//
// A kind is one small file; what kinds have in common is in common.go (spec) and status.go.
// Validation is the schema's and CEL's alone, written as markers on the fields: there is no
// webhook. Decimals are strings with a pattern, since floats do not survive JSON unchanged.
//
// The package imports apimachinery and k8s.io/api, and nothing of this project.
//
// +kubebuilder:object:generate=true
// +groupName=alignment.dev
package v1alpha1

//go:generate go tool -modfile=../../hack/tools/go.mod controller-gen object crd output:crd:artifacts:config=../../config/crd/bases paths=.
//go:generate go run ../../hack/crds ../../config/crd/bases
