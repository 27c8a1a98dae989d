package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
)

// Lookup says what Run would adopt instead of training: a checkpoint of the same run hash and inputs that is
// already published. It computes nothing, writes nothing and needs no device. Where nothing is published the
// result is ExitDone without an output, and no input was read; what is published and cannot be adopted is
// the error that Run would end with.
func Lookup(c *runconfig.RunConfig, env Environment) runconfig.Result {
	r := newRun(c, env)
	result, err := r.lookup()
	return r.end(result, err)
}

func (r *run) lookup() (result runconfig.Result, err error) {
	if err := r.identify(); err != nil {
		return result, err
	}
	if _, err := os.Stat(filepath.Join(r.dir, checkpoint.ManifestFile)); errors.Is(err, fs.ErrNotExist) {
		result.Message = fmt.Sprintf("%s holds no checkpoint of run %.12s", r.config.Output.URI, r.hash)
		return result, nil
	}
	if err := r.verifyInputs(); err != nil {
		return result, err
	}
	result, _, err = r.published()
	return result, err
}
