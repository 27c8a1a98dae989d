// Package runconfig is the contract between the operator and the trainer.
//
// The operator renders one RunConfig as YAML; the trainer reads it, serves Progress
// while it trains and leaves a Result when it ends. The same file runs on a laptop:
//
//	trainer train --config run.yaml
//
// The package imports nothing of this project, so that either side can change alone.
package runconfig
