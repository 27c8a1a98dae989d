//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/runtime/checkpoint"
	"github.com/alignment-dev/alignment-operator/runtime/storage/storagetest"
)

// TestBuckets trains SFT from s3:// data to s3://, and DPO from that checkpoint, with no claim at all. The first trainer is killed
// when all of its checkpoint is written but the manifest: nobody sees one, and the next pod publishes it.
func TestBuckets(t *testing.T) {
	t.Parallel()
	if !ownCluster {
		t.Skip("pods of KUBECONFIG's cluster may not reach this machine")
	}
	server := storagetest.StartS3At(t, onMachine(t), "lab")
	proxy := storagetest.NewProxyAt(t, server.URL.Hostname(), server.URL)
	for name, content := range dataset() {
		path := filepath.Join(server.Dir, "lab", dataFolder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := newSpace(t)
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "lab-s3"}, StringData: server.Env(proxy.URL)})
	in := func(file string) []v1alpha1.Dataset {
		return []v1alpha1.Dataset{{URI: v1alpha1.DataURI("s3://lab/" + dataFolder + "/" + file)}}
	}
	var killed atomic.Bool
	reached := make(chan struct{}, 100)
	proxy.Set(func(r *http.Request) storagetest.Fault {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+checkpoint.ManifestFile) && !strings.Contains(r.URL.Path, "/"+checkpoint.StateFolder+"/") && !killed.Load() {
			reached <- struct{}{}
			return storagetest.Fault{Refuse: true} // it tries again until it is killed
		}
		return storagetest.Fault{}
	})
	s.create(sftJob("words", func(j *v1alpha1.SFTJob) {
		j.Spec.Data.Train = in("sft.jsonl")
		j.Spec.Output.URI = "s3://lab/out"
		j.Spec.Storage.SecretName = "lab-s3"
	}))
	select {
	case <-reached:
	case <-ctx.Done():
		t.Fatal("the run has not come to its manifest")
	}
	pods := s.pods(v1alpha1.SFTJobKind, "words")
	running := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if running < 0 || !s.signal(&pods[running], syscall.SIGKILL) {
		t.Fatalf("no trainer to kill among %d pods", len(pods))
	}
	if found, err := filepath.Glob(filepath.Join(server.Dir, "lab/out", s.name, "words-sft/*/"+checkpoint.ManifestFile)); err != nil || len(found) > 0 {
		t.Errorf("half a checkpoint has the manifest %v", found)
	}
	killed.Store(true)
	sft := s.succeeds(v1alpha1.SFTJobKind, "words")
	published := func(status v1alpha1.StageStatus) {
		t.Helper()
		dir := filepath.Join(server.Dir, strings.TrimPrefix(status.Output.URI, "s3://"))
		if _, err := checkpoint.Verify(dir, status.Output.Digest); err != nil {
			t.Error(err)
		}
	}
	published(sft)
	if sft.Restarts != 1 {
		t.Errorf("%d restarts, want that of the killed one", sft.Restarts)
	}
	s.create(dpoJob("words", v1alpha1.CheckpointSource{From: &v1alpha1.StageReference{Kind: v1alpha1.SFTJobKind, Name: "words"}}, func(j *v1alpha1.DPOJob) {
		j.Spec.Data.Train = in("dpo.jsonl")
		j.Spec.Output.URI = "s3://lab/out"
		j.Spec.Storage.SecretName = "lab-s3"
	}))
	dpo := s.succeeds(v1alpha1.DPOJobKind, "words")
	published(dpo)
	if !slices.ContainsFunc(dpo.Inputs, func(i v1alpha1.Input) bool { return i.Role == v1alpha1.RoleModel && i.Digest == sft.Output.Digest }) {
		t.Errorf("the DPOJob's inputs are %+v, want the SFTJob's checkpoint %s", dpo.Inputs, sft.Output.Digest)
	}
	for _, kind := range []v1alpha1.StageKind{v1alpha1.SFTJobKind, v1alpha1.DPOJobKind} {
		for _, p := range s.pods(kind, "words") {
			if strings.Contains(s.log(p.Name), storagetest.SecretKey) {
				t.Errorf("the log of %s has the secret in it", p.Name)
			}
		}
	}
}

// onMachine is this machine's address in the network of the pods.
func onMachine(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(local.state, "machine.json"))
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		Network struct{ Host string }
	}
	if err := json.Unmarshal(b, &machine); err != nil || machine.Network.Host == "" {
		t.Fatalf("machine.json names no host: %v", err)
	}
	return machine.Network.Host
}
