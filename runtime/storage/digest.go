package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// DigestError says that a file is not the one that was promised: no retry mends it.
type DigestError struct {
	Path string
	// Want and Got are digests, or words where a file is missing or has another size.
	Want, Got string
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("digest mismatch: %s: want %s, got %s", e.Path, e.Want, e.Got)
}

// Digest is the SHA-256 of b, as "sha256:<64 hex>".
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// DigestFile is the SHA-256 of a file, as "sha256:<64 hex>". It reads the file in pieces.
func DigestFile(path string) (string, error) {
	f, err := Open(path)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest %s: %w", path, err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// VerifyFile returns a DigestError unless the file has the digest; want "" is no promise
// and is not read.
func VerifyFile(path, want string) error {
	if want == "" {
		return nil
	}
	got, err := DigestFile(path)
	if err != nil {
		return err
	}
	if got != want {
		return &DigestError{Path: path, Want: want, Got: got}
	}
	return nil
}
