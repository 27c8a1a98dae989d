package data

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := Store{Dir: dir, Budget: 100}
	var kept [][]int32
	var masks [][]bool
	content := func(i int) (tokens []int32, mask []bool) {
		for j := range i * 1000 % 15013 {
			tokens, mask = append(tokens, int32(i*j)), append(mask, (i+j)%3 == 0)
		}
		return tokens, mask
	}
	for i := range 3000 { // 90 MB of tokens and 22 MB of masks: more than a file
		tokens, mask := content(i)
		k, err := keep(&s, tokens)
		if err != nil {
			t.Fatal(err)
		}
		m, err := keep(&s, mask)
		if err != nil {
			t.Fatal(err)
		}
		kept, masks = append(kept, k), append(masks, m)
		if len(tokens) > 25 && len(s.mapped) == 0 {
			t.Fatalf("example %d is in memory", i)
		}
	}
	if len(s.mapped) < 2 {
		t.Errorf("%d files, want more than one", len(s.mapped))
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("files have names: %v, %v", names, err)
	}
	for i := range kept {
		if tokens, mask := content(i); !slices.Equal(kept[i], tokens) || !slices.Equal(masks[i], mask) {
			t.Fatalf("example %d is another one", i)
		}
	}
	if err := s.Close(); err != nil || len(s.mapped) > 0 {
		t.Error(err)
	}
	small := make([]int32, 10)
	if k, err := keep(&s, small); err != nil || &k[0] != &small[0] {
		t.Errorf("within the budget it is copied (%v)", err)
	}
}

func TestStoreOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); errors.Is(err, syscall.EPERM) {
		t.Skip("only root can mount a small disk")
	} else if err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	s := Store{Dir: dir, Budget: 1}
	if _, err := keep(&s, make([]int32, 10)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want %v", err, syscall.ENOSPC)
	}
}
