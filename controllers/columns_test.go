package controllers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// What `kubectl get` shows of each kind in mid-run, as the API server makes it, under its short name.
func TestColumns(t *testing.T) {
	ns := namespace(t)
	simpo := &v1alpha1.SimPOJob{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "cols"}}
	simpo.Spec = v1alpha1.SimPOJobSpec{Model: stageSource(v1alpha1.SFTJobKind, "missing"), StageSpec: stageSpec()}
	for _, c := range []struct {
		stage                v1alpha1.Stage
		plural, short        string
		wantNames, wantCells string
	}{
		{rm(ns, "cols", "missing"), "rewardmodeljobs", "rm", "LOSS EVAL-ACC", "0.6512 0.75"},
		{ppo(ns, "cols", "missing", "missing"), "ppojobs", "ppo", "REWARD KL", "1.25 3.5"},
		{dpo(ns, "cols", "missing"), "dpojobs", "dpo", "LOSS REWARD-ACC KL", "0.6512 0.8125 0.73"},
		{simpo, "simpojobs", "simpo", "LOSS REWARD-ACC", "0.6512 0.8125"},
	} {
		create(t, c.stage)
		becomes(t, c.stage, v1alpha1.PhaseWaiting, v1alpha1.ConditionReady, v1alpha1.ReasonWaitingForInputs)
		base := c.stage.DeepCopyObject().(client.Object)
		status := c.stage.StageStatus()
		status.Phase = v1alpha1.PhaseRunning
		status.Progress = &v1alpha1.Progress{Step: 120, TotalSteps: 500, Percent: 24, ETA: "4m10s"}
		status.Metrics = map[string]string{
			"loss": "0.6512", "rewards/accuracies": "0.8125", "kl": "0.73", "eval_rewards/accuracies": "0.75", "objective/scores": "1.25", "objective/kl": "3.5",
		}
		if err := admin.Status().Patch(t.Context(), c.stage, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
		table := getTable(t, "/apis/alignment.dev/v1alpha1/namespaces/"+ns+"/"+c.plural+"/cols")
		var names, cells []string
		for i, d := range table.ColumnDefinitions {
			if d.Priority == 0 && d.Name != "AGE" {
				names = append(names, strings.ToUpper(d.Name))
				cells = append(cells, fmt.Sprint(table.Rows[0].Cells[i]))
			}
		}
		if got, want := strings.Join(names, " "), "NAME PHASE STEP PCT ETA "+c.wantNames; got != want {
			t.Errorf("%s: columns are %q, want %q", c.plural, got, want)
		}
		if got, want := strings.Join(cells, " "), "cols Running 120 24 4m10s "+c.wantCells; got != want {
			t.Errorf("%s: the row is %q, want %q", c.plural, got, want)
		}
		crd := &unstructured.Unstructured{}
		crd.SetAPIVersion("apiextensions.k8s.io/v1")
		crd.SetKind("CustomResourceDefinition")
		if err := admin.Get(t.Context(), client.ObjectKey{Name: c.plural + ".alignment.dev"}, crd); err != nil {
			t.Fatal(err)
		}
		if got, _, err := unstructured.NestedStringSlice(crd.Object, "spec", "names", "shortNames"); err != nil || !slices.Equal(got, []string{c.short}) {
			t.Errorf("%s: short names are %v, want %s (%v)", c.plural, got, c.short, err)
		}
	}
}

func getTable(t *testing.T, path string) *metav1.Table {
	t.Helper()
	c, err := rest.HTTPClientFor(adminCfg)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(adminCfg.Host, "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	table := &metav1.Table{}
	if err := json.Unmarshal(b, table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("not a table of one row: %v: %s", err, b)
	}
	return table
}
