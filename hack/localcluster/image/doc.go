// Package image writes container images from files, without a container engine: tar archives in the format of
// `docker save`, which containerd, Docker, Podman, kind and skopeo all read. Output depends on nothing but
// the input: the same files give the same bytes. It must not know of clusters or of running containers.
package image
