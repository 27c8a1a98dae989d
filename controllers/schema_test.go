package controllers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
)

// TestSchema walks the schema of each kind. For each constraint of each field it makes a resource that
// violates it, and demands that the API server refuses it, naming the field and the rule. A constraint
// that it cannot violate by itself needs a case in celCases; without one the test fails.
func TestSchema(t *testing.T) {
	for kind, text := range map[v1alpha1.StageKind]string{
		v1alpha1.SFTJobKind: validSFT, v1alpha1.RewardModelJobKind: validRM, v1alpha1.PPOJobKind: validPPO,
		v1alpha1.DPOJobKind: validDPO, v1alpha1.SimPOJobKind: validSimPO,
	} {
		t.Run(string(kind), func(t *testing.T) {
			ns := namespace(t)
			w := &walker{t: t, kind: kind}
			root := schemaOf(t, kind)
			object := parsed(t, text)
			object = with(object, []any{"metadata", "namespace"}, ns).(map[string]any)
			if causes, err := w.apply(object); err != nil {
				t.Fatalf("the base is refused: %v %v", causes, err)
			}
			w.rules(nil, root, object)
			w.node([]any{"spec"}, root.Properties["spec"], object)
			t.Logf("%d fields, %d refusals, %d of them by rules", w.fields, w.refusals, w.rulesSeen)
			if w.fields < 60 || w.refusals < 200 || w.rulesSeen < 15 {
				t.Error("that is fewer than there are: the walk does not see the schema")
			}
		})
	}
}

func schemaOf(t *testing.T, kind v1alpha1.StageKind) *apiext.JSONSchemaProps {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "config", "crd", "bases", "alignment.dev_"+strings.ToLower(string(kind))+"s.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiext.CustomResourceDefinition
	if err := sigsyaml.UnmarshalStrict(b, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	obj := &unstructured.Unstructured{}
	if err := sigsyaml.Unmarshal([]byte(text), &obj.Object); err != nil {
		t.Fatal(err)
	}
	return runtime.DeepCopyJSON(whole(obj.Object).(map[string]any))
}

type walker struct {
	t                           *testing.T
	kind                        v1alpha1.StageKind
	fields, refusals, rulesSeen int
}

// apply sends an object as kubectl apply --dry-run=server does, and returns what a refusal says.
func (w *walker) apply(object map[string]any) ([]metav1.StatusCause, error) {
	obj := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(object)}
	err := admin.Create(context.Background(), obj, client.DryRunAll, client.FieldValidation("Strict"))
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil, nil
	case !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) || !errors.As(err, &status) || status.Status().Details == nil && !apierrors.IsBadRequest(err):
		w.t.Fatalf("not a refusal: %v", err)
	case status.Status().Details == nil:
		return nil, err
	}
	return status.Status().Details.Causes, err
}

// node violates what the schema asks of the field at a path, then of those below. The field is in object.
func (w *walker) node(path []any, s apiext.JSONSchemaProps, object map[string]any) {
	if field(path) == "spec.podTemplate" && w.kind != v1alpha1.SFTJobKind {
		// A thousand fields of Kubernetes' own; once is enough, if it is once.
		if !reflect.DeepEqual(s, schemaOf(w.t, v1alpha1.SFTJobKind).Properties["spec"].Properties["podTemplate"]) {
			w.t.Errorf("%s: spec.podTemplate is another than an SFTJob's", w.kind)
		}
		return
	}
	w.fields++
	w.unknownKeywords(path, s)
	before, _ := w.apply(object)
	for _, v := range violations(s) {
		w.refused(v.rule, field(path), v.message, before, with(object, path, v.value).(map[string]any))
	}
	if list := ptr.Deref(s.XListType, ""); list == "set" || list == "map" {
		item := sample(w.t, *s.Items.Schema)
		twice := with(object, path, []any{item, item}).(map[string]any)
		w.refused("list type", field(append(slices.Clone(path), 1)), "Duplicate value", before, twice)
	}
	w.rules(path, &s, object)
	value, _ := at(object, path)
	switch {
	case s.Items != nil:
		item := append(slices.Clone(path), 0)
		if l, _ := value.([]any); len(l) == 0 {
			object = with(object, path, []any{sample(w.t, *s.Items.Schema)}).(map[string]any)
		}
		w.node(item, *s.Items.Schema, object)
	case s.AdditionalProperties != nil:
		entry := append(slices.Clone(path), mapKey)
		w.node(entry, *s.AdditionalProperties.Schema, with(object, entry, sample(w.t, *s.AdditionalProperties.Schema)).(map[string]any))
	case len(s.Properties) > 0:
		w.unknownField(path, object)
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			child, p := s.Properties[name], append(slices.Clone(path), name)
			if slices.Contains(s.Required, name) && child.Default == nil {
				w.refused("required", field(p), "Required value", before, with(object, p, absent).(map[string]any))
			}
			here := object
			if _, there := at(object, p); !there {
				here = with(object, p, sample(w.t, child)).(map[string]any)
			}
			w.node(p, child, here)
		}
	}
}

// refused demands that an object is refused, with the field and the rule's message in one cause, which
// was not there before the violation.
func (w *walker) refused(rule, field, message string, before []metav1.StatusCause, object map[string]any) {
	w.t.Helper()
	said := func(c metav1.StatusCause) bool {
		// Of a number out of its format's range, the API server names the field in the message only.
		return (c.Field == field || c.Field == "<nil>" && strings.HasSuffix(c.Message, " in "+field)) && strings.Contains(c.Message, message)
	}
	causes, err := w.apply(object)
	switch {
	case err == nil:
		w.t.Errorf("%s %s: %s is violated, and it is admitted", w.kind, field, rule)
	case !slices.ContainsFunc(causes, said):
		w.t.Errorf("%s %s: %s is violated, and the refusal does not say %q of it: %v", w.kind, field, rule, message, err)
	case slices.ContainsFunc(before, said):
		w.t.Errorf("%s %s: %q was said before %s was violated", w.kind, field, message, rule)
	default:
		w.refusals++
	}
}

func (w *walker) unknownField(path []any, object map[string]any) {
	p := append(slices.Clone(path), "noSuchField")
	_, err := w.apply(with(object, p, "x").(map[string]any))
	if want := fmt.Sprintf("unknown field %q", field(p)); err == nil || !strings.Contains(err.Error(), want) {
		w.t.Errorf("%s: want %s, got %v", w.kind, want, err)
		return
	}
	w.refusals++
}

// unknownKeywords fails for constraints that nothing here violates.
func (w *walker) unknownKeywords(path []any, s apiext.JSONSchemaProps) {
	if s.ExclusiveMinimum || s.ExclusiveMaximum || s.MultipleOf != nil || s.UniqueItems || s.MinProperties != nil ||
		s.Not != nil || len(s.AllOf) > 0 || len(s.OneOf) > 0 || len(s.AnyOf) > 0 && !s.XIntOrString || s.XEmbeddedResource || s.Nullable {
		w.t.Errorf("%s %s has a constraint that this test does not know: %+v", w.kind, field(path), s)
	}
	for _, v := range s.XValidations {
		if strings.Contains(v.Rule, "oldSelf") {
			w.t.Errorf("%s %s: this test does not know transition rules: %s", w.kind, field(path), v.Rule)
		}
	}
}

// rules violates each CEL rule of a node: by its case, or by trying values.
func (w *walker) rules(path []any, s *apiext.JSONSchemaProps, object map[string]any) {
	before, _ := w.apply(object)
	said := func(causes []metav1.StatusCause, r apiext.ValidationRule) bool {
		f := strings.TrimPrefix(field(path)+r.FieldPath, ".")
		return slices.ContainsFunc(causes, func(c metav1.StatusCause) bool {
			return (c.Field == f || f == "" && c.Field == "<nil>") && strings.Contains(c.Message, r.Message)
		})
	}
	var open []apiext.ValidationRule
	for _, r := range s.XValidations {
		if r.Message == "" {
			w.t.Errorf("%s %s: rule %q has no message", w.kind, field(path), r.Rule)
			continue
		}
		if said(before, r) { // such as of a sample that two rules are about
			w.refusals, w.rulesSeen = w.refusals+1, w.rulesSeen+1
			continue
		}
		open = append(open, r)
	}
	try := func(value any) {
		candidate, ok := with(object, path, value).(map[string]any)
		if !ok {
			return
		}
		causes, _ := w.apply(candidate)
		open = slices.DeleteFunc(open, func(r apiext.ValidationRule) bool {
			if !said(causes, r) {
				return false
			}
			w.refusals, w.rulesSeen = w.refusals+1, w.rulesSeen+1
			return true
		})
	}
	value, _ := at(object, path)
	for _, r := range slices.Clone(open) {
		for _, patch := range celCases[r.Message] {
			try(patched(w.t, value, patch))
		}
	}
	if len(open) > 0 {
		for _, v := range candidates(w.t, *s, value) {
			if try(v); len(open) == 0 {
				return
			}
		}
	}
	for _, r := range open {
		w.t.Errorf("%s %s: nothing violates %q with the message %q: give it a case in celCases", w.kind, field(path), r.Rule, r.Message)
	}
}

// celCases are violations of rules that none of candidates violates: merge patches of the rule's own
// node in a valid resource, by the rule's message.
var celCases = map[string][]string{
	"takes no weight: all of it is evaluated":              {`{evalFraction: null, eval: [{uri: "pvc://c/e.jsonl", weight: "2"}]}`},
	"takes no weight: the mean reward is over all of them": {`{demonstrations: [{uri: "pvc://c/d.jsonl", weight: "2"}]}`},
	"may have * in its last part only":                     {`"pvc://c/a*/b.jsonl"`},

	"metadata.name must be at most 50 lower-case letters, digits and -, beginning with a letter: pods are named after it": {`{metadata: {name: has.dot}}`},
	"digest goes with uri; a stage's own digest is used with from":                                                        {`{uri: null, from: {kind: SFTJob, name: up}, digest: "sha256:` + strings.Repeat("0", 64) + `"}`},
	"base goes with uri; what a stage's adapter goes on is known":                                                         {`{uri: null, from: {kind: SFTJob, name: up}, base: {uri: "pvc://c/base"}}`},
	"a reward model is no policy":                                                 {`{uri: null, from: {kind: RewardModelJob, name: up}}`},
	"a reward model starts from a language model":                                 {`{uri: null, from: {kind: RewardModelJob, name: up}}`},
	"must be RewardModelJob":                                                      {`{uri: null, from: {kind: SFTJob, name: up}}`},
	"must divide batchSize, which is 32 if not set":                               {`{training: {microBatchSize: 5}}`},
	"must divide batchSize":                                                       {`{batchSize: 8, microBatchSize: 5}`},
	"must be less than maxLength":                                                 {`{maxLength: 8, maxPromptLength: 8}`},
	"must be at least 2 for KTO, whose estimate of the KL compares examples":      {`{objective: {type: KTO}, training: {batchSize: 1}}`},
	"must be greater than 0 for Robust: without noise it is DPO":                  {`{type: Robust, labelSmoothing: "0"}`},
	"must be greater than 0 for a RewardModelJob":                                 {`{training: {minLearningRateRatio: "0"}}`},
	"is needed with ppo.ptxCoefficient":                                           {`{ppo: {ptxCoefficient: "1"}}`},
	"must divide training.batchSize, which is 512 if not set":                     {`{ppo: {minibatchSize: 100}}`},
	"ppo.minibatchSize, which is 64 if not set, must divide it":                   {`{training: {batchSize: 100}}`},
	"must divide ppo.minibatchSize, which is 64 if not set":                       {`{training: {microBatchSize: 128}}`},
	"must leave room for a prompt in data.maxLength; it is 64 if not set":         {`{data: {maxLength: 64}}`},
	"there is no reference that a KL could be measured to":                        {`{stop: {maxKL: "1"}}`},
	"there are no pairs whose order could be right or wrong":                      {`{stop: {minRewardAccuracy: "0.5"}}`},
	"KTO has no pairs whose order could be right or wrong":                        {`{objective: {type: KTO}, stop: {minRewardAccuracy: "0.5"}, data: {evalFraction: "0.1"}}`},
	"is measured on held-out examples: set data.eval or data.evalFraction":        {`{stop: {maxKL: "1"}}`, `{stop: {minRewardAccuracy: "0.5"}}`},
	"must be at most the limit of nvidia.com/gpu: a process has a GPU of its own": {`{resources: {limits: {nvidia.com/gpu: 4}}, processesPerNode: 5}`},
	"Full goes with several ranks: nodes or processesPerNode above 1": {
		`{sharding: Full}`, `{sharding: Full, processesPerNode: 1, resources: {limits: {nvidia.com/gpu: "4"}}}`},
	"goes without lora, which freezes all layers":                                   {`{lora: {}, freezeLayers: 1}`},
	"all-linear is all that there are: name it alone":                               {`["all-linear", "q_proj"]`},
	"a PPOJob has none: its ratio is of the same policy before and after an update": {`{training: {lora: {dropout: "0.1"}}}`},
	"adapts a checkpoint: goes without model.init": {
		`{training: {lora: {}}, model: {uri: null, from: null, init: {config: {model_type: llama}, tokenizer: {trainVocabSize: 512}}}}`},
	"would replace pod.tolerations: set one of them": {
		`{pod: {tolerations: [{operator: Exists}]}, podTemplate: {spec: {tolerations: [{operator: Exists}]}}}`},
	"alignment.dev/ and batch.kubernetes.io/ are the operator's and Kubernetes' own":                                                                                 {`{alignment.dev/run-hash: x}`},
	"app.kubernetes.io/name, app.kubernetes.io/managed-by, job-name, controller-uid, alignment.dev/ and batch.kubernetes.io/ are the operator's and Kubernetes' own": {`{alignment.dev/name: x}`},
	"labels of kueue.x-k8s.io/ go on the resource itself; they are copied to its Job":                                                                                {`{kueue.x-k8s.io/queue-name: x}`},
	"config, tmp and claim-... are the trainer's own volumes":                                                                                                        {`[{name: claim-0, emptyDir: {}}]`},
	"trainer is the name of the trainer's own container":                                                                                                             {`[{name: trainer}]`},
	"may only have the container trainer: a sidecar is an initContainer with restartPolicy Always, which ends with the run":                                          {`[{name: other}]`},
	"image, imagePullPolicy and resources of the trainer are set in spec.pod":                                                                                        {`[{name: trainer, image: x}]`},
	"only env, envFrom, volumeMounts, volumeDevices and resources.claims of the trainer may be set":                                                                  {`[{name: trainer, args: [x]}]`},
}

// patched is a value with a merge patch over it; a list replaces.
func patched(t *testing.T, value any, patch string) any {
	t.Helper()
	var p any
	if err := sigsyaml.Unmarshal([]byte(patch), &p); err != nil {
		t.Fatalf("%s: %v", patch, err)
	}
	return merged(value, whole(p))
}

func merged(value, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	v, _ := value.(map[string]any)
	m := maps.Clone(v)
	if m == nil {
		m = map[string]any{}
	}
	for k, x := range p {
		if x == nil {
			delete(m, k)
			continue
		}
		m[k] = merged(m[k], x)
	}
	return m
}

// candidates are values of a node that meet its schema and may violate its rules: strings and numbers
// of all kinds; for an object, each property left out, and each one and two of them set to what they can be.
func candidates(t *testing.T, s apiext.JSONSchemaProps, value any) []any {
	t.Helper()
	if len(s.Properties) == 0 {
		return variants(t, s)
	}
	base, _ := value.(map[string]any)
	var list []any
	for name := range base {
		list = append(list, with(base, []any{name}, absent))
	}
	type setting struct {
		name  string
		value any
	}
	var settings []setting
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		if len(p.Enum) == 0 && p.Type != "boolean" { // what a rule looks at is whether it is set
			settings = append(settings, setting{name, sample(t, p)})
			continue
		}
		for _, v := range variants(t, p) {
			settings = append(settings, setting{name, v})
		}
	}
	for i, a := range settings {
		list = append(list, with(base, []any{a.name}, a.value))
		for _, b := range settings[i+1:] {
			if a.name != b.name {
				list = append(list, with(with(base, []any{a.name}, a.value), []any{b.name}, b.value))
			}
		}
	}
	return list
}

// variants are values that a schema without its rules admits: of an enum all, else some.
func variants(t *testing.T, s apiext.JSONSchemaProps) []any {
	t.Helper()
	var list []any
	switch {
	case len(s.Enum) > 0:
		for _, e := range s.Enum {
			list = append(list, decoded(t, e.Raw))
		}
	case s.Type == "boolean":
		return []any{true, false}
	case s.Type == "string":
		for _, c := range strs {
			if admits(s, c) {
				list = append(list, c)
			}
		}
	default:
		list = append(list, sample(t, s))
	}
	return list
}

// strs are strings of the forms that the API knows, ordinary ones first.
var strs = []string{
	"x", "1", "0.5", "pvc://claim/file", "pvc://claim", "sha256:" + strings.Repeat("0", 64), "1Gi",
	"0", "0.0", "2", "1e9", "pvc://claim/a/../b", "pvc://claim/.", "2006-01-02T15:04:05Z",
}

func admits(s apiext.JSONSchemaProps, c string) bool {
	n := int64(len(c))
	return (s.Pattern == "" || regexp.MustCompile(s.Pattern).MatchString(c)) &&
		(s.MinLength == nil || n >= *s.MinLength) && (s.MaxLength == nil || n <= *s.MaxLength)
}

// mapKey stands for the keys of maps.
const mapKey = "x"

// sample is the smallest value that a schema without its rules admits, with an item in each list and map.
func sample(t *testing.T, s apiext.JSONSchemaProps) any {
	t.Helper()
	switch {
	case len(s.Enum) > 0:
		return decoded(t, s.Enum[0].Raw)
	case s.XIntOrString:
		return "1"
	case s.Type == "string":
		for _, c := range strs {
			if admits(s, c) {
				return c
			}
		}
		t.Fatalf("no string of strs matches %q: add one", s.Pattern)
	case s.Type == "integer", s.Type == "number":
		n := int64(1)
		if s.Minimum != nil {
			n = max(n, int64(*s.Minimum))
		}
		return n
	case s.Type == "boolean":
		return true
	case s.Type == "array":
		return []any{sample(t, *s.Items.Schema)}
	case s.AdditionalProperties != nil:
		return map[string]any{mapKey: sample(t, *s.AdditionalProperties.Schema)}
	case s.Type == "object":
		m := map[string]any{}
		for _, name := range s.Required {
			m[name] = sample(t, s.Properties[name])
		}
		return m
	}
	t.Fatalf("no sample of %+v", s)
	return nil
}

type violation struct {
	rule    string
	value   any
	message string
}

// violations are one value for each constraint of a schema, other than its rules and what is required
// of its properties.
func violations(s apiext.JSONSchemaProps) []violation {
	var list []violation
	add := func(rule string, value any, message string, args ...any) {
		list = append(list, violation{rule, value, fmt.Sprintf(message, args...)})
	}
	text := func(n int64) string { return strings.Repeat("x", int(n)) }
	switch {
	case s.XIntOrString:
		add("int-or-string", true, "must be of type integer,string")
	case s.Type == "string":
		add("type", int64(7), "must be of type string")
	default:
		add("type", "x", "must be of type %s", s.Type)
	}
	if len(s.Enum) > 0 {
		add("enum", "no-such-value", "Unsupported value")
	}
	if s.Minimum != nil {
		add("minimum", int64(*s.Minimum)-1, "should be greater than or equal to %d", int64(*s.Minimum))
	}
	if s.Maximum != nil {
		add("maximum", int64(*s.Maximum)+1, "should be less than or equal to %d", int64(*s.Maximum))
	}
	if s.Type == "integer" && s.Format == "int32" {
		add("format", int64(1)<<40, "must be of type integer with format int32")
	}
	if s.MinLength != nil && *s.MinLength > 0 {
		add("minLength", text(*s.MinLength-1), "should be at least %d chars long", *s.MinLength)
	}
	if s.MaxLength != nil {
		add("maxLength", text(*s.MaxLength+1), "may not be more than %d bytes", *s.MaxLength)
	}
	if s.Pattern != "" {
		for _, c := range []string{" ", "!", "\n"} {
			if !regexp.MustCompile(s.Pattern).MatchString(c) {
				add("pattern", c, "should match '%s'", s.Pattern)
				break
			}
		}
	}
	items := func(n int64) []any {
		l := make([]any, n)
		for i := range l {
			l[i] = map[string]any{}
			if s.Items.Schema.Type == "string" {
				l[i] = fmt.Sprintf("x%d", i)
			}
		}
		return l
	}
	if s.MinItems != nil && *s.MinItems > 0 {
		add("minItems", items(*s.MinItems-1), "should have at least %d item", *s.MinItems)
	}
	if s.MaxItems != nil {
		add("maxItems", items(*s.MaxItems+1), "must have at most %d item", *s.MaxItems)
	}
	if s.MaxProperties != nil {
		m := map[string]any{}
		for i := range *s.MaxProperties + 1 {
			m[fmt.Sprintf("x%d", i)] = "x"
		}
		add("maxProperties", m, "must have at most %d item", *s.MaxProperties)
	}
	return list
}

// absent, as a value, is none.
var absent any = struct{}{}

// with is a copy of a tree in which the node at a path is another.
func with(tree any, path []any, value any) any {
	if len(path) == 0 {
		return value
	}
	switch k := path[0].(type) {
	case int:
		l := slices.Clone(tree.([]any))
		l[k] = with(l[k], path[1:], value)
		return l
	default:
		m, _ := tree.(map[string]any)
		if m = maps.Clone(m); m == nil {
			m = map[string]any{}
		}
		if v := with(m[k.(string)], path[1:], value); v == absent {
			delete(m, k.(string))
		} else {
			m[k.(string)] = v
		}
		return m
	}
}

func at(tree any, path []any) (value any, there bool) {
	for _, k := range path {
		switch n := tree.(type) {
		case map[string]any:
			if tree, there = n[k.(string)]; !there {
				return nil, false
			}
		case []any:
			tree = n[k.(int)]
		default:
			return nil, false
		}
	}
	return tree, true
}

// field is a path as the API server writes it: spec.data.train[0].uri.
func field(path []any) string {
	var b strings.Builder
	for i, k := range path {
		switch k := k.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", k)
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(k.(string))
		}
	}
	return b.String()
}

func decoded(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return whole(v)
}

// whole makes whole numbers of those that JSON reads as fractions, as the API's own decoder does.
func whole(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	}
	return v
}
