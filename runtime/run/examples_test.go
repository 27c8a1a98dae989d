package run

import (
	"slices"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/data"
)

func TestSplitRecordsKeepsARecordTogether(t *testing.T) {
	from := []int{0, 0, 2, 3, 3, 5, 5, 6, 8, 9, 9}
	trained, held := splitRecords(from, 0.4, 3)
	if all := slices.Sorted(slices.Values(slices.Concat(trained, held))); !slices.Equal(all, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}) {
		t.Errorf("got %v and %v", trained, held)
	}
	for _, i := range trained {
		for _, j := range held {
			if from[i] == from[j] {
				t.Errorf("record %d is on both sides", from[i])
			}
		}
	}
	// Of one example a record, it is the split that there was before: seeds keep their meaning.
	a, b := data.Split(20, 0.25, 7)
	single := make([]int, 20)
	for i := range single {
		single[i] = 3 * i
	}
	if c, d := splitRecords(single, 0.25, 7); !slices.Equal(a, c) || !slices.Equal(b, d) {
		t.Errorf("got %v and %v, want %v and %v", c, d, a, b)
	}
}
