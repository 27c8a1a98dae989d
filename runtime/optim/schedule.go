package optim

import (
	"fmt"
	"math"
)

// Schedule is a learning rate over a run: linear warm-up to Peak, then down to MinRatio*Peak.
type Schedule struct {
	// Kind of the part after the warm-up: cosine, linear or constant.
	Kind        string
	Peak        float64
	TotalSteps  int
	WarmupSteps int
	MinRatio    float64
}

// At is the learning rate of a step, counted from 0. Step WarmupSteps is the first at Peak after the
// warm-up, whose steps have 1/(WarmupSteps+1), 2/(WarmupSteps+1) ... of it: no step is spent at rate 0.
// The last step of the run is one short of MinRatio, as step TotalSteps would have it.
func (s Schedule) At(step int) float64 {
	if step < s.WarmupSteps {
		return s.Peak * float64(step+1) / float64(s.WarmupSteps+1)
	}
	done := min(1, float64(step-s.WarmupSteps)/float64(max(1, s.TotalSteps-s.WarmupSteps)))
	var left float64
	switch s.Kind {
	case "constant":
		return s.Peak
	case "linear":
		left = 1 - done
	case "cosine":
		left = (1 + math.Cos(math.Pi*done)) / 2
	default:
		panic(fmt.Sprintf("optim: schedule %q: want cosine, linear or constant", s.Kind)) // runconfig validates it
	}
	return s.Peak * (s.MinRatio + (1-s.MinRatio)*left)
}
