package gitops

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite config/argocd/argocd-cm.yaml")

// What Argo CD shows for a stage, with the script of argocd-cm.yaml.
func TestArgoCDHealth(t *testing.T) {
	data := configMap(t).Data
	everyStage(t, func(t *testing.T, s situation, u *unstructured.Unstructured) {
		got := runLua(t, data["resource.customizations.health.alignment.dev_"+u.GetKind()], u)
		health, ok := got.(map[string]any)
		if !ok {
			t.Fatalf("the script returns %v", got)
		}
		if health["status"] != s.argo {
			t.Errorf("Argo CD shows %v, want %s", health, s.argo)
		}
		ready := ""
		if conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions"); len(conditions) > 0 && !s.edited {
			ready = conditions[0].(map[string]any)["message"].(string)
		}
		message, _ := health["message"].(string)
		if message == "" || !strings.Contains(message, ready) {
			t.Errorf("the message is %q, want one with %q", message, ready)
		}
		if s.name == "running" && !strings.HasSuffix(message, ", step 3 of 9") || s.name == "stale" && !strings.Contains(message, "; stale: ") {
			t.Errorf("the message is %q", message)
		}
	})
}

// A resource that has no status at all: an older API server's, or one whose status someone removed.
func TestArgoCDHealthWithoutStatus(t *testing.T) {
	u := situations[0].object(t, v1alpha1.SFTJobKind)
	delete(u.Object, "status")
	got := runLua(t, configMap(t).Data["resource.customizations.health.alignment.dev_SFTJob"], u)
	if health, _ := got.(map[string]any); health["status"] != "Progressing" {
		t.Errorf("Argo CD shows %v", got)
	}
}

// Argo CD offers to suspend what runs and to resume what is suspended.
func TestArgoCDActions(t *testing.T) {
	data := configMap(t).Data
	everyStage(t, func(t *testing.T, s situation, u *unstructured.Unstructured) {
		var actions struct {
			Discovery   string `json:"discovery.lua"`
			Definitions []struct {
				Name   string
				Action string `json:"action.lua"`
			}
		}
		if err := yaml.UnmarshalStrict([]byte(data["resource.customizations.actions.alignment.dev_"+u.GetKind()]), &actions); err != nil {
			t.Fatal(err)
		}
		offered := func() (names []string) {
			for name, a := range runLua(t, actions.Discovery, u).(map[string]any) {
				if a.(map[string]any)["disabled"] == false {
					names = append(names, name)
				}
			}
			return names
		}
		trained := s.phase == v1alpha1.PhaseSucceeded
		suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend")
		for range 2 {
			want := "[suspend]"
			switch {
			case suspended:
				want = "[resume]"
			case trained:
				want = "[]"
			}
			if got := fmt.Sprint(offered()); got != want {
				t.Fatalf("suspended %v, trained %v: offered are %s, want %s", suspended, trained, got, want)
			}
			for _, d := range actions.Definitions {
				if want == "["+d.Name+"]" {
					u = &unstructured.Unstructured{Object: runLua(t, d.Action, u).(map[string]any)}
				}
			}
			if after, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); want != "[]" && after == suspended {
				t.Fatalf("%s did nothing", want)
			}
			suspended, _, _ = unstructured.NestedBool(u.Object, "spec", "suspend")
		}
	})
}

// config/argocd/argocd-cm.yaml has the scripts beside it, for every kind.
func TestArgoCDConfigMap(t *testing.T) {
	script := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, "config", "argocd", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	indent := func(n int, text string) string {
		pad := strings.Repeat(" ", n)
		return strings.ReplaceAll(pad+strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+pad)+"\n", pad+"\n", "\n")
	}
	var b strings.Builder
	b.WriteString(`# Made by go test -C hack/gitops -update from the scripts beside it: change those.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
`)
	for _, kind := range v1alpha1.StageKinds {
		fmt.Fprintf(&b, "  resource.customizations.health.alignment.dev_%s: |\n%s", kind, indent(4, script("health.lua")))
		fmt.Fprintf(&b, "  resource.customizations.actions.alignment.dev_%s: |\n", kind)
		fmt.Fprintf(&b, "    discovery.lua: |\n%s    definitions:\n", indent(6, script("actions.lua")))
		for _, action := range []string{"suspend", "resume"} {
			fmt.Fprintf(&b, "    - name: %s\n      action.lua: |\n%s", action, indent(8, script(action+".lua")))
		}
	}
	file := filepath.Join(root, "config", "argocd", "argocd-cm.yaml")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := script("argocd-cm.yaml"); got != b.String() {
		t.Errorf("%s is not what the scripts beside it give: go test -C hack/gitops -update", file)
	}
}

func configMap(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "config", "argocd", "argocd-cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(b, cm); err != nil {
		t.Fatal(err)
	}
	return cm
}

// runLua runs a script as Argo CD does: with the object as obj, without Lua's libraries for strings, files and
// processes, and for a second at most.
func runLua(t *testing.T, script string, u *unstructured.Unstructured) any {
	t.Helper()
	if script == "" {
		t.Fatal("there is no script")
	}
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", toLua(l, u.Object))
	if err := l.DoString(script); err != nil {
		t.Fatal(err)
	}
	return fromLua(l.Get(-1))
}

func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		table := l.NewTable()
		for k, e := range v {
			table.RawSetString(k, toLua(l, e))
		}
		return table
	case []any:
		table := l.NewTable()
		for _, e := range v {
			table.Append(toLua(l, e))
		}
		return table
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	}
	return lua.LNil
}

// fromLua takes a table with elements 1, 2 ... for a list, and an empty one for a map.
func fromLua(v lua.LValue) any {
	switch v := v.(type) {
	case *lua.LTable:
		if v.Len() > 0 {
			var list []any
			v.ForEach(func(_, e lua.LValue) { list = append(list, fromLua(e)) })
			return list
		}
		m := map[string]any{}
		v.ForEach(func(k, e lua.LValue) { m[k.String()] = fromLua(e) })
		return m
	case lua.LString:
		return string(v)
	case lua.LBool:
		return bool(v)
	case lua.LNumber:
		return float64(v)
	}
	return nil
}
