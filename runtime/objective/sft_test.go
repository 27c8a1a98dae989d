package objective

import (
	"testing"
)

func TestSFTIsASum(t *testing.T) {
	inTensors(t, func() {
		tokenLogps := vector(-0.5, -2, -0.25).RequiresGrad(true)
		loss := SFT(tokenLogps)
		loss.Backward()
		near(t, "loss", loss.Item(), 2.75, 0)
		for _, g := range tokenLogps.Grad().Float64s() {
			near(t, "gradient", g, -1, 0)
		}
		near(t, "of no tokens", SFT(vector()).Item(), 0, 0)
	})
}
