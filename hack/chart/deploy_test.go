package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// deploy.sh takes an image as one writes it, and the chart in parts: together they give the image that was asked for.
func TestDeploySetsBothImages(t *testing.T) {
	helmPath := need(t, "HELM")
	// A helm that only renders, with the values that it is given.
	render := filepath.Join(t.TempDir(), "helm")
	script := "#!/bin/bash\nwhile [ \"$1\" != --set-string ]; do shift; done\nexec " + helmPath + " template " + chartDir + " \"$@\"\n"
	if err := os.WriteFile(render, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{
		"localhost/operator:dev", "host:5000/operator:dev", "host:5000/team/operator@sha256:" + strings.Repeat("0", 64), "operator:1.2.3-rc.1",
	} {
		c := exec.Command(root+"/hack/deploy.sh", "--set", "extraArgs={--v=1}")
		c.Env = append(os.Environ(), "HELM="+render, "KUBECTL=true", "OPERATOR_IMAGE="+image, "TRAINER_IMAGE=other/trainer:v2")
		out, err := output(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{" image: " + image + "\n", " value: other/trainer:v2\n", " - --v=1\n"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the rendered Deployment lacks %q", image, want)
			}
		}
	}
}
