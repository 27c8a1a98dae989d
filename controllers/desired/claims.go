package desired

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
)

// claim is a PersistentVolumeClaim that a run reads or writes.
type claim struct {
	name     string
	readOnly bool
}

// files are what a run reads and writes.
type files struct {
	claims []claim
	// remote says that some are in object stores or hubs.
	remote bool
}

// filesOf are the distinct claims of a RunConfig's URIs, sorted by name, and whether there are other places. Only the output's is
// written to.
func filesOf(c *runconfig.RunConfig) (files, error) {
	remote := false
	claims, err := claimsOf(c, func() { remote = true })
	return files{claims, remote}, err
}

// claimsOf are the distinct claims of a RunConfig's URIs, sorted by name. Only the output's is
// written to.
func claimsOf(c *runconfig.RunConfig, remote func()) ([]claim, error) {
	readOnly := map[string]bool{}
	add := func(uri string, ro bool) error {
		if uri == "" {
			return nil
		}
		u, err := url.Parse(uri)
		if err == nil && u.Host != "" && slices.Contains(remoteSchemes, u.Scheme) {
			remote()
			return nil
		}
		if err != nil || u.Scheme != "pvc" || u.Host == "" {
			return fmt.Errorf("%w: %q: want pvc://claim/path", runconfig.ErrInvalid, uri)
		}
		before, known := readOnly[u.Host]
		readOnly[u.Host] = ro && (before || !known)
		return nil
	}
	var uris []string
	for _, source := range c.Sources() {
		uris = append(uris, source.URI)
		if source.Base != nil {
			uris = append(uris, source.Base.URI)
		}
	}
	for _, list := range c.Data.Lists() {
		for _, d := range list.Datasets {
			uris = append(uris, d.URI)
		}
	}
	for _, u := range uris {
		if err := add(u, true); err != nil {
			return nil, err
		}
	}
	if err := add(c.Output.URI, false); err != nil {
		return nil, err
	}
	var list []claim
	for _, name := range slices.Sorted(maps.Keys(readOnly)) {
		list = append(list, claim{name: name, readOnly: readOnly[name]})
	}
	return list, nil
}

// mountPaths says where each claim is mounted.
func mountPaths(claims []claim) map[string]string {
	m := map[string]string{}
	for _, c := range claims {
		m[c.name] = path.Join(runconfig.MountRoot, c.name)
	}
	return m
}

// remoteSchemes are those of URIs that need no claim.
var remoteSchemes = []string{"hf", "s3", "gs", "azblob"}
