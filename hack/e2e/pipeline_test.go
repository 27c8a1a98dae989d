//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// pipelineFile has five stages, each named words, and the last ones first.
var pipelineFile = strings.Replace(pathPPO, "NAME", "words", 1) + pathStages + chainDPO + "---\n" + chainSFT

// kills is how often the operator dies in the middle of a pipeline.
const kills = 20

// TestPipeline runs one pipeline again and again, in the same folders: undisturbed, applied again over what it has
// published, while the operator is killed, while the API server is. The digests are the same each time. It is not
// parallel: operator and API server are everyone's.
func TestPipeline(t *testing.T) {
	if !ownCluster {
		t.Skip("the processes of KUBECONFIG's cluster are not to be killed")
	}
	p := &pipeline{newSpace(t).workspace(), &map[v1alpha1.StageKind]string{}}
	steps := []struct {
		name string
		test func(*pipeline)
	}{
		{"undisturbed", (*pipeline).undisturbed},
		{"applied-again", (*pipeline).appliedAgain},
		// A new API server refuses for a moment what it does not know yet to be allowed; the operator's log says so.
		// The next test leaves another operator.
		{"api-server-killed", (*pipeline).apiServerKilled},
		{"operator-killed", (*pipeline).operatorKilled},
	}
	for _, step := range steps {
		ok := t.Run(step.name, func(t *testing.T) {
			start := time.Now()
			step.test(&pipeline{p.as(t), p.want})
			t.Logf("took %s", time.Since(start).Round(100*time.Millisecond))
		})
		if !ok {
			return
		}
	}
}

// pipeline is a namespace in which the pipeline is run.
type pipeline struct {
	*space
	// want are the digests, by kind, once they are known.
	want *map[v1alpha1.StageKind]string
}

func (p *pipeline) undisturbed() {
	w := p.apply()
	statuses := p.end()
	w.trainedOnce()
	*p.want = digests(statuses)
	p.Logf("digests: %v", *p.want)
}

// appliedAgain deletes all resources and applies their files again over the kept storage: everything is adopted,
// nothing trained.
func (p *pipeline) appliedAgain() {
	p.delete()
	w := p.apply()
	statuses := p.end()
	w.check()
	p.same(statuses)
	for kind, status := range statuses {
		if got := message(status, v1alpha1.ConditionTrained); !strings.HasPrefix(got, v1alpha1.ReasonAdopted+":") {
			p.Errorf("%s: %s, want it adopted", kind, got)
		}
		if n := len(w.made("pod", jobName(kind, "words"))); n > 0 {
			p.Errorf("%s: %d pods trained", kind, n)
		}
	}
}

// operatorKilled kills the operator at moments that the seed draws, in as many pipelines as it takes.
func (p *pipeline) operatorKilled() {
	p.aloneOperator()
	draw := random(p.Name())
	for killed, round := 0, 1; killed < kills; round++ {
		p.clear()
		w := p.apply()
		var at []string
		for killed < kills && !p.ended() {
			operator := p.operator()
			wait := time.Duration(draw.Float64() * float64(4*time.Second)).Round(time.Millisecond)
			time.Sleep(wait)
			p.killOperator(operator)
			at = append(at, wait.String())
			killed++
		}
		statuses := p.end()
		p.Logf("pipeline %d: killed the operator after %s", round, strings.Join(at, ", "))
		w.trainedOnce()
		p.same(statuses)
	}
}

// apiServerKilled kills the API server; it is started again. Nobody's view of the cluster lasts through that.
func (p *pipeline) apiServerKilled() {
	p.clear()
	w := p.apply()
	draw := random(p.Name())
	killed := 0
	for ; killed < 2 && !p.ended(); killed++ {
		wait := 2*time.Second + time.Duration(draw.Float64()*float64(6*time.Second)).Round(time.Millisecond)
		time.Sleep(wait)
		p.killAPIServer()
		p.Logf("killed the API server after %s", wait)
	}
	statuses := p.end()
	if killed < 2 {
		p.Errorf("the pipeline was over after the API server was killed %d times", killed)
	}
	w.trainedOnce()
	p.same(statuses)
}

// apply starts the pipeline and a witness of it.
func (p *pipeline) apply() *witness {
	p.Helper()
	w := watch(p.space)
	p.kubectl(strings.NewReader(pipelineFile), "apply", "-f", "-")
	return w
}

// end waits until every stage is trained.
func (p *pipeline) end() map[v1alpha1.StageKind]v1alpha1.StageStatus {
	p.Helper()
	all := map[v1alpha1.StageKind]v1alpha1.StageStatus{}
	for _, kind := range v1alpha1.StageKinds {
		all[kind] = p.succeeds(kind, "words")
	}
	return all
}

// ended says whether every stage is trained; not, as long as nobody answers.
func (p *pipeline) ended() bool {
	for _, kind := range v1alpha1.StageKinds {
		st, err := p.stage(kind, "words")
		if err != nil || st.StageStatus().Phase != v1alpha1.PhaseSucceeded {
			return false
		}
	}
	return true
}

// delete deletes the stages, whose files stay.
func (p *pipeline) delete() {
	p.Helper()
	p.kubectl(strings.NewReader(pipelineFile), "delete", "--wait", "--timeout=60s", "-f", "-")
	p.eventually(time.Minute, func() error {
		for o := range p.objects() {
			if kind, name, _ := strings.Cut(o, "/"); strings.HasPrefix(name, "words-") {
				return fmt.Errorf("%s %s is left", kind, name)
			}
		}
		return nil
	})
}

// clear deletes the stages and their files.
func (p *pipeline) clear() {
	p.Helper()
	p.delete()
	for _, kind := range v1alpha1.StageKinds {
		folder := inPod("pvc://lab/out/" + p.name + "/" + jobName(kind, "words"))
		if _, err := p.trainer(nil, "remove", "--folder", folder); err != nil {
			p.Fatal(err)
		}
	}
}

func digests(statuses map[v1alpha1.StageKind]v1alpha1.StageStatus) map[v1alpha1.StageKind]string {
	all := map[v1alpha1.StageKind]string{}
	for kind, status := range statuses {
		all[kind] = status.Output.Digest
	}
	return all
}

func (p *pipeline) same(statuses map[v1alpha1.StageKind]v1alpha1.StageStatus) {
	p.Helper()
	if got := digests(statuses); !maps.Equal(got, *p.want) {
		p.Errorf("digests are %v, those of the undisturbed pipeline %v", got, *p.want)
	}
}

// aloneOperator lets one operator act, which needs no lease: the next one then acts as soon as it is there.
func (p *pipeline) aloneOperator() {
	p.Helper()
	p.Cleanup(func() {
		if err := installOperator(ctx); err != nil {
			p.Error(err)
		}
	})
	const patch = `[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--leader-elect=false"},
		{"op": "replace", "path": "/spec/replicas", "value": 1}]`
	if _, err := kubectl(ctx, nil, "--namespace", operatorNamespace, "patch", "deployment", operatorDeployment, "--type=json", "--patch", patch); err != nil {
		p.Fatal(err)
	}
	if err := rollout(ctx); err != nil {
		p.Fatal(err)
	}
	p.eventually(time.Minute, func() error {
		if n := len(p.operators()); n != 1 {
			return fmt.Errorf("there are %d operators", n)
		}
		return nil
	})
}

func (p *pipeline) operators() []corev1.Pod {
	p.Helper()
	var list corev1.PodList
	if err := kube.List(ctx, &list, client.InNamespace(operatorNamespace), client.MatchingLabels{"app.kubernetes.io/name": operatorDeployment}); err != nil {
		p.Fatal(err)
	}
	return list.Items
}

// operator waits for the one that runs.
func (p *pipeline) operator() (pod corev1.Pod) {
	p.Helper()
	p.eventually(time.Minute, func() error {
		for _, o := range p.operators() {
			if c := o.Status.ContainerStatuses; o.DeletionTimestamp == nil && len(c) == 1 && c[0].State.Running != nil {
				pod = o
				return nil
			}
		}
		return fmt.Errorf("no operator runs")
	})
	return pod
}

// killOperator kills its process, and its pod with it: the kubelet would wait longer and longer before it
// starts a container again that ends so often.
func (p *pipeline) killOperator(operator corev1.Pod) {
	p.Helper()
	pid, err := podProcess(&operator, func(args []string) bool { return strings.HasSuffix(args[0], "/operator") })
	if err != nil || pid == 0 {
		p.Fatalf("the process of %s: %d, %v", operator.Name, pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		p.Fatal(err)
	}
	if err := kube.Delete(ctx, &operator, client.GracePeriodSeconds(0)); err != nil {
		p.Fatal(err)
	}
}

// killAPIServer kills its process and waits for the next one.
func (p *pipeline) killAPIServer() {
	p.Helper()
	pid, err := process(func(_ string, args []string) bool {
		ours := func(arg string) bool { return strings.HasPrefix(arg, "--tls-cert-file="+local.state) }
		return slices.Contains(args, "kube-apiserver") && slices.ContainsFunc(args, ours)
	})
	if err != nil || pid == 0 {
		p.Fatalf("the process of the API server: %d, %v", pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		p.Fatal(err)
	}
	p.eventually(time.Minute, func() error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := get(ctx, "/readyz"); err != nil {
			return err
		}
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}
