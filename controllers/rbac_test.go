package controllers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// permission is one verb on one resource, as a role grants it and as a request needs it.
type permission struct{ verb, group, resource string }

func (p permission) String() string { return p.verb + " " + strings.Trim(p.group+"/"+p.resource, "/") }

// permissionLog records what the operator's requests needed, and what was refused.
type permissionLog struct {
	mu      sync.Mutex
	used    map[permission]int
	refused []string
	// everything are the lists and watches that no selector narrows.
	everything map[permission]int
	// specs are writes of a stage that touch more than its finalizers.
	specs []string
}

func newPermissionLog() *permissionLog {
	return &permissionLog{used: map[permission]int{}, everything: map[permission]int{}}
}

func (l *permissionLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		p, ok := needs(req)
		spec := writesSpec(p, req)
		resp, err := next.RoundTrip(req)
		if err != nil || !ok {
			return resp, err
		}
		var refusal []byte
		if resp.StatusCode == http.StatusForbidden {
			if refusal, err = io.ReadAll(resp.Body); err != nil {
				return nil, err
			}
			resp.Body = io.NopCloser(bytes.NewReader(refusal))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.used[p]++
		if spec != "" {
			l.specs = append(l.specs, spec)
		}
		if p.verb == "patch" && resp.StatusCode == http.StatusCreated {
			l.used[permission{"create", p.group, p.resource}]++ // the API server asks for both
		}
		if p.verb == "watch" && req.URL.Query().Get("sendInitialEvents") == "true" {
			l.used[permission{"list", p.group, p.resource}]++ // what it is on an API server that cannot stream a list
		}
		if (p.verb == "list" || p.verb == "watch") && req.URL.Query().Get("labelSelector") == "" {
			l.everything[p]++
		}
		if bytes.Contains(refusal, []byte("cannot "+p.verb+" resource")) { // there are refusals of other kinds
			l.refused = append(l.refused, string(refusal))
		}
		return resp, nil
	})
}

// writesSpec is a patch of a stage that is not of its finalizers alone; RBAC knows no such difference.
func writesSpec(p permission, req *http.Request) string {
	if p.group != v1alpha1.GroupVersion.Group || strings.Contains(p.resource, "/") || p.verb != "patch" {
		return ""
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return err.Error()
	}
	req.Body = io.NopCloser(bytes.NewReader(b))
	var patch struct {
		Metadata struct {
			Finalizers      []string `json:"finalizers"`
			ResourceVersion string   `json:"resourceVersion"`
		} `json:"metadata"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&patch); err != nil || req.Header.Get("Content-Type") != "application/merge-patch+json" {
		return req.URL.Path + ": " + string(b)
	}
	return ""
}

// needs is the permission that a request of the API needs; not ok for discovery.
func needs(req *http.Request) (p permission, ok bool) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		p.group, parts = parts[1], parts[3:]
	default:
		return p, false
	}
	if parts[0] == "namespaces" && len(parts) >= 3 {
		parts = parts[2:]
	}
	p.resource = parts[0]
	if len(parts) > 2 {
		p.resource += "/" + parts[2]
	}
	named := len(parts) > 1
	switch req.Method {
	case http.MethodGet:
		p.verb = "get"
		switch {
		case named:
		case req.URL.Query().Get("watch") != "":
			p.verb = "watch"
		default:
			p.verb = "list"
		}
	case http.MethodDelete:
		p.verb = "delete"
		if !named {
			p.verb = "deletecollection"
		}
	default:
		p.verb = map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch"}[req.Method]
	}
	return p, true
}

// check compares what a role grants with what was used: every verb, and no more. The role's own rules
// see to the second part, as long as nothing was refused.
func (l *permissionLog) check(rules []rbacv1.PolicyRule) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var problems []string
	for p := range permissions(rules) {
		// No request is for finalizers: admission asks for it, see TestFinalizersPermission.
		if l.used[p] == 0 && !strings.HasSuffix(p.resource, "/finalizers") {
			problems = append(problems, p.String()+" is granted, and was never used")
		}
	}
	slices.Sort(problems)
	for _, spec := range l.specs {
		problems = append(problems, "writes more of a stage than its finalizers: "+spec)
	}
	for _, r := range l.refused {
		problems = append(problems, "refused: "+r)
	}
	for p := range l.everything {
		if p.group != v1alpha1.GroupVersion.Group {
			problems = append(problems, p.String()+" without a label selector: that is a cache of everybody's")
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("the operator's permissions:\n%s", strings.Join(problems, "\n"))
	}
	return nil
}

func permissions(rules []rbacv1.PolicyRule) map[permission]bool {
	all := map[permission]bool{}
	for _, r := range rules {
		for _, g := range r.APIGroups {
			for _, res := range r.Resources {
				for _, v := range r.Verbs {
					all[permission{v, g, res}] = true
				}
			}
		}
	}
	return all
}

// requests are the operator's, over all tests of this package.
var requests = newPermissionLog()

// checkPermissions is the last test: what all others together made the operator do is what it may do.
// It says nothing when only some of them ran.
func checkPermissions(code int) (int, error) {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.short"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" && f.Value.String() != "false" {
			return code, nil
		}
	}
	role, err := operatorRole()
	if err != nil || code != 0 {
		return code, err
	}
	return code, requests.check(role.Rules)
}

func operatorRole() (*rbacv1.ClusterRole, error) {
	b, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		return nil, err
	}
	role := &rbacv1.ClusterRole{}
	return role, yaml.UnmarshalStrict(b, role)
}

// user is a client with another's permissions.
func user(t *testing.T, name string) client.Client {
	t.Helper()
	cfg := rest.CopyConfig(adminCfg)
	cfg.Impersonate.UserName = name
	c, err := client.New(cfg, client.Options{Scheme: admin.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The role is small enough to be read as a list.
func TestRoleGrantsNothingDangerous(t *testing.T) {
	role, err := operatorRole()
	if err != nil {
		t.Fatal(err)
	}
	readable := map[string][]string{} // kinds of Kubernetes' own
	for p := range permissions(role.Rules) {
		for _, s := range []string{p.verb, p.group, p.resource} {
			if strings.Contains(s, "*") {
				t.Errorf("%s has a wildcard", p)
			}
		}
		if slices.Contains([]string{"escalate", "bind", "impersonate", "deletecollection"}, p.verb) {
			t.Errorf("%s", p)
		}
		if p.group == v1alpha1.GroupVersion.Group {
			// It never writes a spec: a patch is of finalizers only, see writesSpec.
			if base, _, _ := strings.Cut(p.resource, "/"); base == p.resource && slices.Contains([]string{"create", "delete", "update"}, p.verb) {
				t.Errorf("%s: the operator writes no stage", p)
			}
			continue
		}
		if p.verb == "list" || p.verb == "watch" {
			readable[p.verb] = append(readable[p.verb], p.resource)
		}
	}
	for verb, got := range readable {
		slices.Sort(got)
		if want := []string{"jobs", "pods"}; !slices.Equal(got, want) {
			t.Errorf("it may %s %v, want %v: it caches no others", verb, got, want)
		}
	}
	for _, r := range role.Rules {
		if len(r.NonResourceURLs) > 0 {
			t.Errorf("URLs: %v", r.NonResourceURLs)
		}
	}
}

// What the operator cannot do, asked of the API server: read a Secret, list ConfigMaps, look into pods.
func TestOperatorIsRefused(t *testing.T) {
	ns := namespace(t)
	c := user(t, operatorUser)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "token"}}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "theirs"}}
	stage := sft(ns, "theirs")
	create(t, secret, config, stage)
	for what, err := range map[string]error{
		"read a Secret":                     c.Get(t.Context(), client.ObjectKeyFromObject(secret), &corev1.Secret{}),
		"list a namespace's Secrets":        c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(ns)),
		"list all Secrets":                  c.List(t.Context(), &corev1.SecretList{}),
		"list a namespace's ConfigMaps":     c.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(ns)),
		"list all ConfigMaps":               c.List(t.Context(), &corev1.ConfigMapList{}),
		"delete a ConfigMap":                c.Delete(t.Context(), config),
		"make a pod":                        c.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "p"}}),
		"make a stage":                      c.Create(t.Context(), sft(ns, "own")),
		"delete a stage":                    c.Delete(t.Context(), stage),
		"make a role":                       c.Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "r"}}),
		"make a service account":            c.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "s"}}),
		"change a namespace":                c.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
		"run a command in a pod":            c.SubResource("exec").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "p"}}, &corev1.Pod{}),
		"make a token of a service account": c.SubResource("token").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}}, &corev1.ServiceAccount{}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("the operator tried to %s: %v, want a refusal", what, err)
		}
	}
}

// Without the permission on finalizers, the API server lets nobody own an object in a way that holds
// up its owner's deletion: that is why the role has it.
func TestFinalizersPermission(t *testing.T) {
	ns := namespace(t)
	role, err := operatorRole()
	if err != nil {
		t.Fatal(err)
	}
	role.ObjectMeta = metav1.ObjectMeta{Name: ns + "-without-finalizers"}
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
		return slices.ContainsFunc(r.Resources, func(s string) bool { return strings.HasSuffix(s, "/finalizers") })
	})
	create(t, role, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: role.Name}},
	})
	for i, kind := range v1alpha1.StageKinds {
		owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: fmt.Sprintf("owned-%d", i),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: string(kind), Name: "x", UID: "x",
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		}}
		eventually(t, func() error { // an authorizer needs a moment to see a new role
			err := user(t, role.Name).Create(t.Context(), owned.DeepCopy(), client.DryRunAll)
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot set blockOwnerDeletion") {
				return fmt.Errorf("%s: without update on finalizers: %w, want a refusal", kind, err)
			}
			return nil
		})
		if err := user(t, operatorUser).Create(t.Context(), owned, client.DryRunAll); err != nil {
			t.Errorf("%s: the operator's own role: %v", kind, err)
		}
	}
}

// The finalizer of a stage whose files go with it is the only thing that the operator writes outside of
// status, in each kind; it goes when it is not wanted any more.
func TestFinalizerOfEachKind(t *testing.T) {
	ns := namespace(t)
	for _, text := range validStages {
		stage := stored(t, ns, text)
		stage.StageSpec().Output.DeletionPolicy = v1alpha1.DeletionDelete
		stage.SetUID("")
		create(t, stage)
		finalizers := func(want ...string) {
			eventually(t, func() error {
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(stage), stage); err != nil {
					return err
				}
				if !slices.Equal(stage.GetFinalizers(), want) {
					return fmt.Errorf("%s has the finalizers %q, want %q", stage.StageKind(), stage.GetFinalizers(), want)
				}
				return nil
			})
		}
		finalizers(controllers.Finalizer)
		base := stage.DeepCopyObject().(client.Object)
		stage.StageSpec().Output.DeletionPolicy = v1alpha1.DeletionRetain
		if err := admin.Patch(t.Context(), stage, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
		finalizers()
	}
}

// The lease's role, by what a manager needs that becomes the leader, renews and steps down.
func TestLeaderElectionPermissions(t *testing.T) {
	ns := namespace(t)
	b, err := os.ReadFile(filepath.Join("..", "config", "rbac", "leader_election.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(b, []byte("\n---\n"))
	var role rbacv1.Role
	if err := yaml.UnmarshalStrict(first, &role); err != nil {
		t.Fatal(err)
	}
	name := ns + "-leader"
	role.ObjectMeta = metav1.ObjectMeta{Namespace: ns, Name: name}
	create(t, &role, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
	})
	eventually(t, func() error { // the API server sees a binding some time after it was made
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: name, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: ns, Group: "coordination.k8s.io", Resource: "leases", Name: desired.OperatorName, Verb: "get",
		}}}
		if err := admin.Create(t.Context(), review); err != nil || review.Status.Allowed {
			return err
		}
		return errors.New(review.Status.Reason)
	})
	log := newPermissionLog()
	lead := func(ctx context.Context) (<-chan struct{}, <-chan error) {
		cfg := rest.CopyConfig(adminCfg)
		cfg.Impersonate.UserName = name
		cfg.Wrap(log.wrap)
		mgr, err := ctrl.NewManager(cfg, ctrl.Options{
			Scheme: admin.Scheme(), Metrics: server.Options{BindAddress: "0"},
			LeaderElection: true, LeaderElectionID: desired.OperatorName, LeaderElectionNamespace: ns,
			LeaderElectionReleaseOnCancel: true, RetryPeriod: ptr.To(200 * time.Millisecond),
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- mgr.Start(ctx) }()
		return mgr.Elected(), done
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	elected, done := lead(ctx)
	select {
	case <-elected:
	case err := <-done:
		t.Fatalf("the manager ended before it was the leader: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatalf("no leader after 30 s; refused: %v", log.refused)
	}
	eventually(t, func() error { return log.check(role.Rules) })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := log.check(role.Rules); err != nil {
		t.Error(err)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	for p := range log.used {
		if !permissions(role.Rules)[p] {
			t.Errorf("%s was used, and is not in the role", p)
		}
	}
}

// People's roles give no way to write what only the operator writes.
func TestPeoplesRoles(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "config", "rbac", "users.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, doc := range strings.Split(string(b), "\n---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict([]byte(doc), &role); err != nil {
			t.Fatal(err)
		}
		seen[role.Name] = true
		kinds := map[string]bool{}
		for p := range permissions(role.Rules) {
			kinds[p.resource] = true
			if p.group != v1alpha1.GroupVersion.Group || strings.Contains(p.resource, "/") || p.resource == "*" || p.verb == "*" {
				t.Errorf("%s: %s", role.Name, p)
			}
			if role.Name == "alignment-view" && !slices.Contains([]string{"get", "list", "watch"}, p.verb) {
				t.Errorf("%s: %s", role.Name, p)
			}
		}
		for _, k := range v1alpha1.StageKinds {
			if !kinds[strings.ToLower(string(k))+"s"] {
				t.Errorf("%s does not know %s", role.Name, k)
			}
		}
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, []string{"alignment-edit", "alignment-view"}) {
		t.Errorf("roles are %v", got)
	}
}
