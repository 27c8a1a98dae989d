package model_test

import (
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/model"
)

// What the tests of this package run with is the one of two ways to compute attention that libtorch decides on; this is
// the other. Without libtorch's fused operator, package tensor stands in for it.
func TestOtherAttention(t *testing.T) {
	defer model.OtherAttention()()
	t.Run("logits, loss and gradients", TestLogitsLossAndGradientsAreTransformers)
	t.Run("families", TestFamiliesLogitsLossAndGradientsAreTransformers)
	t.Run("generation", TestFamiliesGenerateAsTransformers)
}
