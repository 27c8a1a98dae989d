package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func dataCommand() *cobra.Command {
	c := &cobra.Command{Use: "data", Short: "Work with datasets"}
	c.AddCommand(&cobra.Command{
		Use:   "import DIR",
		Short: "Unpack a tar archive from standard input, as kubectl exec -i gives it to a pod without tar",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			err := unpack(os.Stdin, args[0])
			// kubectl, which sends, waits for what it sent to be read before it tells how we ended.
			_, rest := io.Copy(io.Discard, os.Stdin)
			return errors.Join(err, rest)
		},
	}, &cobra.Command{
		Use:   "export DIR",
		Short: "Write a folder as a tar archive to standard output",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			w := tar.NewWriter(os.Stdout)
			if err := w.AddFS(os.DirFS(args[0])); err != nil {
				return err
			}
			return w.Close()
		},
	}, inspectCommand())
	return c
}

// unpack writes an archive's files below dir; os.Root keeps hostile names and links inside.
func unpack(in io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		name := filepath.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o755); err != nil {
				return err
			}
		case tar.TypeReg:
			if err := writeEntry(root, name, r); err != nil {
				return err
			}
		default:
			return fmt.Errorf("read archive: %s: neither a file nor a folder", h.Name)
		}
	}
}

func writeEntry(root *os.Root, name string, in io.Reader) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, in)
	return err
}
