package storage_test

import (
	"context"
	"errors"
	"testing"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// Two openings of one file are strangers to each other, as two processes are.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	never := func() { t.Error("it waits for a lock that nobody has") }
	unlock, err := storage.Lock(t.Context(), dir, never)
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if _, err := storage.Lock(ctx, dir, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock, given up: %v, want %v", err, context.Canceled)
	}
	waits := 0
	second, err := storage.Lock(t.Context(), dir, func() { waits++; unlock() })
	if err != nil || waits != 1 {
		t.Fatalf("a second lock: %v after %d waits, want one", err, waits)
	}
	second()
	third, err := storage.Lock(t.Context(), dir, never)
	if err != nil {
		t.Fatal(err)
	}
	third()
	if _, err := storage.Lock(t.Context(), dir+"/missing", never); err == nil {
		t.Error("a folder that is not there was locked")
	}
}
