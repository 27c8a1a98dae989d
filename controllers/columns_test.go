package controllers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// What `kubectl get` shows of a DPOJob in mid-run, as the API server makes it.
func TestColumns(t *testing.T) {
	ns := namespace(t)
	d := dpo(ns, "cols", "missing")
	create(t, d)
	becomes(t, d, v1alpha1.PhaseWaiting, v1alpha1.ConditionReady, v1alpha1.ReasonWaitingForInputs)
	base := d.DeepCopy()
	d.Status.Phase = v1alpha1.PhaseRunning
	d.Status.Progress = &v1alpha1.Progress{Step: 120, TotalSteps: 500, Percent: 24, ETA: "4m10s"}
	d.Status.Metrics = map[string]string{"loss": "0.6512", "rewards/accuracies": "0.8125", "kl": "0.73"}
	if err := admin.Status().Patch(t.Context(), d, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	table := getTable(t, "/apis/alignment.dev/v1alpha1/namespaces/"+ns+"/dpojobs/cols")
	var names, cells []string
	for i, c := range table.ColumnDefinitions {
		if c.Priority == 0 && c.Name != "AGE" {
			names = append(names, strings.ToUpper(c.Name))
			cells = append(cells, fmt.Sprint(table.Rows[0].Cells[i]))
		}
	}
	if got, want := strings.Join(names, " "), "NAME PHASE STEP PCT ETA LOSS REWARD-ACC KL"; got != want {
		t.Errorf("columns are %q, want %q", got, want)
	}
	if got, want := strings.Join(cells, " "), "cols Running 120 24 4m10s 0.6512 0.8125 0.73"; got != want {
		t.Errorf("the row is %q, want %q", got, want)
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
