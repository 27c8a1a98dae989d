package desired

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// checkPodTemplate refuses what the schema cannot, naming the field: a directive of strategic merge
// patches, which might delete what the operator sets, and a volume over the trainer's own files.
func checkPodTemplate(over v1alpha1.PodTemplate) error {
	b, err := json.Marshal(over)
	if err != nil {
		return err
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		return err
	}
	errs := []error{directives("spec.podTemplate", tree)}
	for i, c := range over.Spec.Containers {
		for j, m := range c.VolumeMounts {
			field := fmt.Sprintf("spec.podTemplate.spec.containers[%d].volumeMounts[%d].mountPath", i, j)
			errs = append(errs, free(field, m.MountPath))
		}
		for j, d := range c.VolumeDevices {
			field := fmt.Sprintf("spec.podTemplate.spec.containers[%d].volumeDevices[%d].devicePath", i, j)
			errs = append(errs, free(field, d.DevicePath))
		}
	}
	return errors.Join(errs...)
}

// directives are keys such as $patch: in a map of strings, like labels, no schema refuses them.
func directives(field string, tree any) error {
	var errs []error
	switch n := tree.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(n)) {
			if strings.HasPrefix(k, "$") {
				errs = append(errs, fmt.Errorf("%s: has the key %q, a directive of merge patches", field, k))
			}
			errs = append(errs, directives(field+"."+k, n[k]))
		}
	case []any:
		for i := range n {
			errs = append(errs, directives(fmt.Sprintf("%s[%d]", field, i), n[i]))
		}
	}
	return errors.Join(errs...)
}

// free says whether something may lie at a path in the trainer's container.
func free(field, file string) error {
	file = path.Clean("/" + file)
	for _, own := range []string{path.Dir(runconfig.ConfigPath), runconfig.MountRoot, runconfig.CachePath, runconfig.TerminationPath, "/tmp"} {
		over := file == own || strings.HasPrefix(own, strings.TrimSuffix(file, "/")+"/")
		within := own != "/tmp" && strings.HasPrefix(file, own+"/")
		if over || within {
			return fmt.Errorf("%s: %s would hide the trainer's own %s", field, file, own)
		}
	}
	return nil
}
