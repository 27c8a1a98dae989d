// Command shards carries out a RunConfig as trainer train does, and publishes weights in files of at most 50 kB.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/runtime/run"
)

func main() {
	c, err := runconfig.Load(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	r := run.Run(context.Background(), c, run.Environment{
		Now: time.Now, Log: logr.FromSlogHandler(slog.DiscardHandler), Version: "shards", ShardBytes: 50_000,
	})
	if r.ExitCode != runconfig.ExitDone {
		log.Fatal(fmt.Errorf("%s: %s", r.Reason, r.Message))
	}
}
