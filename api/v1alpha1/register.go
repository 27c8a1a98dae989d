package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is alignment.dev/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "alignment.dev", Version: "v1alpha1"}

// AddToScheme registers every kind of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&SFTJob{}, &SFTJobList{},
		&RewardModelJob{}, &RewardModelJobList{},
		&PPOJob{}, &PPOJobList{},
		&DPOJob{}, &DPOJobList{},
		&SimPOJob{}, &SimPOJobList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
