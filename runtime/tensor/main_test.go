package tensor_test

import (
	"fmt"
	"os"
	"testing"

	. "github.com/alignment-dev/alignment-operator/runtime/tensor"
)

func TestMain(m *testing.M) {
	if err := ReexecTuned(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
