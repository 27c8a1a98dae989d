package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// Lookup says what Run would adopt instead of training: a checkpoint of the same run hash and inputs that is
// already published. It computes nothing, writes nothing and needs no device. Where nothing is published the
// result is ExitDone without an output, and no input was read; what is published and cannot be adopted is
// the error that Run would end with.
func Lookup(ctx context.Context, c *runconfig.RunConfig, env Environment) runconfig.Result {
	r := newRun(c, env)
	result, err := r.lookup(ctx)
	return r.end(result, err)
}

func (r *run) lookup(ctx context.Context) (result runconfig.Result, err error) {
	if err := r.identify(ctx); err != nil {
		return result, err
	}
	if _, _, err := r.readManifest(ctx); errors.Is(err, fs.ErrNotExist) {
		result.Message = fmt.Sprintf("%s holds no checkpoint of run %.12s", r.config.Output.URI, r.hash)
		return result, nil
	}
	if err := r.verifyInputs(ctx); err != nil {
		return result, err
	}
	result, _, err = r.published(ctx)
	return result, err
}
