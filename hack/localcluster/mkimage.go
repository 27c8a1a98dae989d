package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/alignment-dev/alignment-operator/hack/localcluster/image"
)

func mkimageCommand(o *options) *cobra.Command {
	var out string
	var layers, programs []string
	var spec image.Image
	cmd := &cobra.Command{
		Use: "mkimage -t TAG -o TAR --entrypoint PATH --layer SOURCE=/PATH[,SOURCE=/PATH...]", Short: "Write a container image from files", Args: cobra.NoArgs,
		Long: `Write a container image from files, as an archive that load-image, docker, podman and kind read.
No container engine is needed, and the same files give the same bytes.

The lowest layer holds /etc/passwd, /etc/group and /tmp; then come the shared libraries of the programs
named by --libs-of, the loader included; then one layer for every --layer, of files or whole folders. Layers are
kept and used again while their files keep path, size and time: what changes often belongs in the last one.

  localcluster mkimage -t localhost/trainer:dev -o trainer.tar \
    --libs-of bin/trainer --layer bin/trainer=/trainer --entrypoint /trainer`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			groups := [][]image.File{image.Skeleton()}
			for _, program := range programs {
				files, err := image.Libraries(cmd.Context(), program)
				if err != nil {
					return err
				}
				groups = append(groups, files)
			}
			for _, layer := range layers {
				var group []image.File
				for mapping := range strings.SplitSeq(layer, ",") {
					files, err := image.Expand(mapping)
					if err != nil {
						return err
					}
					group = append(group, files...)
				}
				groups = append(groups, group)
			}
			cache := image.LayerCache{Dir: filepath.Join(o.cache, "layers")}
			for _, group := range groups {
				layer, err := cache.Layer(group)
				if err != nil {
					return fmt.Errorf("make layer: %w", err)
				}
				spec.Layers = append(spec.Layers, layer)
			}
			id, err := spec.Save(out)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), id)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "image.tar", "archive to write")
	cmd.Flags().StringVarP(&spec.Tag, "tag", "t", "", "name of the image with its registry, as localhost/trainer:dev")
	cmd.Flags().StringArrayVar(&spec.Entrypoint, "entrypoint", nil, "program that a container runs; again for each argument")
	cmd.Flags().StringArrayVar(&spec.Env, "env", nil, "NAME=VALUE in the container's environment")
	cmd.Flags().StringVar(&spec.User, "user", "65532:65532", "uid:gid that a container runs as")
	cmd.Flags().StringToStringVar(&spec.Labels, "label", nil, "NAME=VALUE to label the image with")
	cmd.Flags().StringArrayVar(&layers, "layer", nil, "files of a layer, lowest first")
	cmd.Flags().StringArrayVar(&programs, "libs-of", nil, "program whose shared libraries make a layer")
	for _, name := range []string{"tag", "entrypoint"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}
