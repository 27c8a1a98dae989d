package controllers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/alignment-dev/alignment-operator/api/runconfig"
	"github.com/alignment-dev/alignment-operator/api/v1alpha1"
	"github.com/alignment-dev/alignment-operator/controllers"
	"github.com/alignment-dev/alignment-operator/controllers/desired"
)

// What a pod answers is whatever runs in it wants to say: here it speaks TCP by itself.
func TestProgressOfAHostilePod(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	endless := func(w io.Writer, chunk string) {
		for {
			if _, err := io.WriteString(w, chunk); err != nil {
				return // the reader has hung up
			}
		}
	}
	for name, c := range map[string]struct {
		answer func(io.Writer)
		want   string
	}{
		"a body without an end": {func(w io.Writer) { _, _ = io.WriteString(w, ok+"\r\n"); endless(w, strings.Repeat(" ", 1<<16)) }, "more than 65536 bytes"},
		"a gigabyte, announced": {func(w io.Writer) {
			_, _ = io.WriteString(w, ok+"Content-Length: 1073741824\r\n\r\n")
			endless(w, strings.Repeat("x", 1<<16))
		}, "more than 65536 bytes"},
		"headers without an end":         {func(w io.Writer) { _, _ = io.WriteString(w, ok); endless(w, "X-A: "+strings.Repeat("a", 1000)+"\r\n") }, "header"},
		"a header without an end":        {func(w io.Writer) { _, _ = io.WriteString(w, ok+"X-A: "); endless(w, strings.Repeat("a", 1<<16)) }, "header"},
		"interim answers without an end": {func(w io.Writer) { endless(w, "HTTP/1.1 103 Early Hints\r\n\r\n") }, ""},
		"a byte a second": {func(w io.Writer) {
			_, _ = io.WriteString(w, ok+"\r\n{")
			for {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				time.Sleep(200 * time.Millisecond)
			}
		}, "imeout"},
		"no answer":           {func(io.Writer) { time.Sleep(4 * time.Second) }, "imeout"},
		"not HTTP":            {func(w io.Writer) { _, _ = io.WriteString(w, "SSH-2.0-OpenSSH_9.9\r\n") }, "malformed"},
		"less than announced": {func(w io.Writer) { _, _ = io.WriteString(w, ok+"Content-Length: 90\r\n\r\n{}") }, "unexpected EOF"},
		"to another place": {func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/latest/meta-data\r\n\r\n")
		}, "307"},
		"to a file": {func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 301 X\r\nLocation: file:///etc/passwd\r\n\r\n") }, "301"},
		"another protocol": {func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		}, "101"},
		"a number too large":   {body(ok, `{"step":1e400}`), "cannot unmarshal"},
		"a step in words":      {body(ok, `{"step":"9"}`), "cannot unmarshal"},
		"a fraction of a step": {body(ok, `{"step":1.5}`), "cannot unmarshal"},
		"a list":               {body(ok, `[]`), "cannot unmarshal"},
		"metrics in words":     {body(ok, `{"metrics":{"loss":"low"}}`), "cannot unmarshal"},
		"depth":                {body(ok, strings.Repeat(`{"a":`, 12000)), "max depth"},
		"two answers":          {body(ok, `{"step":1}{"step":2}`), "invalid character"},
		"nothing":              {body(ok, ``), "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					c.answer(conn)
				}
			}()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			p, err := controllers.NewProgressReader(l.Addr().(*net.TCPAddr).Port).Read(t.Context(), &corev1.Pod{Status: corev1.PodStatus{PodIP: "127.0.0.1"}})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want an error with %q", p, err, c.want)
			}
			if took := time.Since(start); took > 10*time.Second { // two seconds are its limit; the machine may be slow
				t.Errorf("the operator waited %s", took)
			}
			if live := int64(after.HeapAlloc) - int64(before.HeapAlloc); live > 256<<20 {
				t.Errorf("%d bytes more are in use", live)
			}
		})
	}
}

func body(head, text string) func(io.Writer) {
	return func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%sContent-Length: %d\r\n\r\n%s", head, len(text), text)
	}
}

// An answer that is JSON of the right types, and a lie in each field: what gets into the status is
// bounded, and the API server takes it.
func TestForgedProgress(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "forged")
	create(t, s)
	metrics := map[string]float64{"loss": 1.5, "x y": 1, "\u001b[31mred": 1, "{{ .Values }}": 1, "a\nb": 1, strings.Repeat("k", 64): 1}
	for i := range 500 {
		metrics[fmt.Sprintf("m%d", i)] = 1e308
	}
	b, err := json.Marshal(runconfig.Progress{
		Phase: "Done\nReady: True", Step: 1 << 62, TotalSteps: -1, Epoch: 1e300, Percent: 1e9, ETASeconds: 1e300, TokensPerSecond: -1e300,
		ResumedFrom: -7, Metrics: metrics, Message: strings.Repeat("\x00\u202e", 1000),
	})
	if err != nil {
		t.Fatal(err)
	}
	const ip = "127.0.9.1"
	trainer.set(ip, string(b))
	startAt(t, pod(t, s), ip)
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if len(s.Status.Metrics) == 0 {
			return fmt.Errorf("the answer is not there yet: %+v", s.Status)
		}
		return nil
	})
	p := s.Status.Progress
	if s.Status.Phase != v1alpha1.PhaseRunning || p.Phase != "" || p.Step != 0 || p.TotalSteps != 0 || p.Percent != 0 || p.Epoch != "" || p.ETASeconds != 0 || p.TokensPerSecond != 0 || p.ResumedFrom != 0 {
		t.Errorf("phase %s, progress %+v", s.Status.Phase, p)
	}
	if len(s.Status.Metrics) > 64 || s.Status.Metrics["loss"] != "1.5" {
		t.Errorf("%d metrics, loss %q", len(s.Status.Metrics), s.Status.Metrics["loss"])
	}
	clean(t, s)
	trainer.set(ip, `{"phase":"Training","step":7,"totalSteps":70}`) // and it goes on
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if s.Status.Progress.Step != 7 {
			return fmt.Errorf("progress is %+v", s.Status.Progress)
		}
		return nil
	})
}

// clean fails for a status that would mislead the one who reads it on a terminal.
func clean(t *testing.T, stage v1alpha1.Stage) {
	t.Helper()
	b, err := json.Marshal(stage.StageStatus())
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 64<<10 {
		t.Errorf("the status has %d bytes", len(b))
	}
	var texts func(v reflect.Value)
	texts = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			if i := strings.IndexFunc(v.String(), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || strings.ContainsRune(v.String(), unicode.ReplacementChar) {
				t.Errorf("the status has %q", v.String())
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				texts(k)
				texts(v.MapIndex(k))
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				texts(v.Index(i))
			}
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				texts(v.Elem())
			}
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[metav1.Time]() {
				return
			}
			for i := range v.NumField() {
				texts(v.Field(i))
			}
		}
	}
	texts(reflect.ValueOf(stage.StageStatus()))
}

// Last words that a trainer of this project would never write. None of them makes a stage trained, and
// what they say stays within its bounds.
func TestForgedResults(t *testing.T) {
	ns := namespace(t)
	good := func(t *testing.T, s v1alpha1.Stage, change func(map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(result(t, s, "a")), &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	output := func(v any) func(*testing.T, v1alpha1.Stage) string {
		return func(t *testing.T, s v1alpha1.Stage) string {
			return good(t, s, func(m map[string]any) { m["output"] = v })
		}
	}
	set := func(k string, v any) func(*testing.T, v1alpha1.Stage) string {
		return func(t *testing.T, s v1alpha1.Stage) string { return good(t, s, func(m map[string]any) { m[k] = v }) }
	}
	text := func(s string) func(*testing.T, v1alpha1.Stage) string {
		return func(*testing.T, v1alpha1.Stage) string { return s }
	}
	control := "\u001b[2J\u001b[31mReady\u202e" + strings.Repeat("\u0007", 500) + strings.Repeat("x", 2000)
	for name, c := range map[string]struct {
		code    int
		message func(*testing.T, v1alpha1.Stage) string
	}{
		"no-digest":       {0, output(map[string]any{"uri": "pvc://models/x"})},
		"path-as-digest":  {0, output(map[string]any{"uri": "pvc://models/x", "digest": "sha256:../../../../etc/passwd"})},
		"output-is-list":  {0, output([]string{"pvc://models/x"})},
		"other-run":       {0, set("runHash", strings.Repeat("0", 64))},
		"hash-in-capital": {0, set("runHash", strings.Repeat("A", 64))},
		"not-json":        {0, text("<html>ok</html>")},
		"empty":           {0, text("")},
		"null":            {0, text("null")},
		"two-documents":   {0, text(`{"exitCode":0}{"exitCode":0}`)},
		"huge-step":       {0, set("step", 1e300)},
		"depth":           {0, text(strings.Repeat(`{"output":`, 400))},
		"claims-success":  {2, set("exitCode", 0)},
		"control":         {2, set("message", control)},
		"reason-lies":     {2, set("reason", "Succeeded\nReady=True")},
		"raw-control":     {2, text(control)},
		"invalid-utf8":    {3, text("\xff\xfe\xfd" + strings.Repeat("\xc3(", 100))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sft(ns, name)
			create(t, s)
			p := pod(t, s)
			start(t, p)
			message := strings.ToValidUTF8(c.message(t, s), "?") // as the API's JSON carries it
			end(t, p, c.code, message[:min(len(message), runconfig.TerminationLimit)])
			eventually(t, func() error {
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
					return err
				}
				if s.Status.Phase != v1alpha1.PhaseFailed {
					return fmt.Errorf("phase %s: %+v", s.Status.Phase, s.Status.Conditions)
				}
				return nil
			})
			if meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionTrained) || s.Status.Output != nil {
				t.Errorf("a forged result is believed: %+v", s.Status)
			}
			clean(t, s)
		})
	}
}

// A lookup that tells of a checkpoint is believed under the same conditions; else the stage trains.
func TestForgedLookups(t *testing.T) {
	ns := namespace(t)
	for name, message := range map[string]func(hash string) string{
		"other-run": func(string) string {
			return `{"exitCode":0,"adopted":true,"runHash":"` + strings.Repeat("0", 64) + `","output":{"uri":"pvc://models/x","digest":"` + digest("a") + `"}}`
		},
		"no-digest": func(hash string) string {
			return `{"exitCode":0,"adopted":true,"runHash":"` + hash + `","output":{"uri":"pvc://models/x","digest":"../x"}}`
		},
		"no-output": func(hash string) string { return `{"exitCode":0,"adopted":true,"runHash":"` + hash + `"}` },
		"not-json":  func(string) string { return "\u001b[31madopted: true" },
		"empty":     func(string) string { return "" },
	} {
		s := sft(ns, name)
		stage := s.DeepCopy()
		if err := admin.Create(t.Context(), stage, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		run, err := rendered(stage)
		if err != nil {
			t.Fatal(err)
		}
		published.Store(ns+"/"+name, message(run.Hash))
		create(t, s)
		pod(t, s) // it trains
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			t.Fatal(err)
		}
		if meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionTrained) || s.Status.Output != nil {
			t.Errorf("%s: a forged lookup is believed: %+v", name, s.Status)
		}
		clean(t, s)
	}
}

// A result may name any folder and any input: the status has those that the operator had decided on.
func TestResultNamesNoPlaces(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "elsewhere")
	create(t, s)
	p := pod(t, s)
	start(t, p)
	var m map[string]any
	if err := json.Unmarshal([]byte(result(t, s, "a")), &m); err != nil {
		t.Fatal(err)
	}
	m["output"] = map[string]any{"uri": "file:///etc", "digest": digest("a")}
	m["inputs"] = []any{
		map[string]any{"role": "model", "uri": "pvc://stolen/model", "digest": digest("e")},
		map[string]any{"role": "train", "uri": "pvc://data/train.jsonl", "digest": "sha256:not"},
		map[string]any{"role": "\u001b[31m", "uri": "\n", "digest": digest("f")},
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	end(t, p, runconfig.ExitDone, string(b))
	got := becomes(t, s, v1alpha1.PhaseSucceeded, v1alpha1.ConditionTrained, v1alpha1.ReasonSucceeded)
	if want := job(t, s).Annotations[desired.AnnotationOutput]; got.Output.URI != want {
		t.Errorf("output is %s, want %s", got.Output.URI, want)
	}
	for _, in := range got.Inputs {
		if in.Digest != "" || in.URI != "pvc://models/base" && in.URI != "pvc://data/train.jsonl" {
			t.Errorf("input %+v is the trainer's word", in)
		}
	}
	clean(t, s)
}

// Only the pods of a stage's own Job are asked and listened to, not one that bears their labels.
func TestImpostor(t *testing.T) {
	ns := namespace(t)
	s := sft(ns, "real")
	create(t, s)
	p := pod(t, s)
	const ip, theirs = "127.0.9.2", "127.0.9.3"
	trainer.set(ip, `{"phase":"Training","step":1,"totalSteps":9}`)
	trainer.set(theirs, `{"phase":"Training","step":8,"totalSteps":9}`)
	startAt(t, p, ip)
	impostor := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "zzz", Labels: p.Labels}, Spec: *p.Spec.DeepCopy()}
	impostor.Spec.NodeName = ""
	create(t, impostor)
	startAt(t, impostor, theirs)
	becomes(t, s, v1alpha1.PhaseRunning, v1alpha1.ConditionReady, v1alpha1.ReasonTraining)
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if s.Status.Progress == nil {
			return fmt.Errorf("no progress yet")
		}
		return nil
	})
	end(t, impostor, runconfig.ExitDone, result(t, s, "e"))
	time.Sleep(2 * progressInterval)
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
		t.Fatal(err)
	}
	if s.Status.Phase != v1alpha1.PhaseRunning || s.Status.Progress.Step != 1 {
		t.Errorf("the impostor is believed: phase %s, progress %+v", s.Status.Phase, s.Status.Progress)
	}
}

// hostileTexts are what someone tries who hopes for a template, a shell or a lax parser.
var hostileTexts = []string{
	"{{ .Values.secret }}", "${HOME}", "$(cat /etc/passwd)", "$(POD_IP)", "`id`", "; rm -rf /", "a\n  uri: pvc://other/x", "a: {b", "- x", "? x",
	"# x", "*anchor", "&anchor x", "!!python/object/apply:os.system [id]", "<<", "---", "...\n---\nversion: 2", "%YAML 1.2", "'", `"`, `\`, `\u0000`,
	"\x00", "\x1b[31m", "\t", "\r\n", "\u2028", "\u0085", "\ufeff", "\u202e", "null", "~", "yes", "1e3", "0o7", "0x1", ".inf", ".NaN", "2001-01-01", "=", "|", ">", "@", " x ",
	strings.Repeat("x", 256), "é", "日本", "😀",
}

// Whatever a text field has, the trainer reads the same text, and nothing else of the file changes.
func TestHostileTextInTheRunConfig(t *testing.T) {
	ns := namespace(t)
	for _, text := range hostileTexts {
		stage := stored(t, ns, validSFT).(*v1alpha1.SFTJob)
		stage.Spec.Data.Train[0].Columns = map[string]v1alpha1.ColumnName{"prompt": v1alpha1.ColumnName(text), "completion": "x"}
		raw, err := json.Marshal(map[string]any{"model_type": "llama", text: text, "deep": []any{map[string]any{text: text}}})
		if err != nil {
			t.Fatal(err)
		}
		stage.Spec.Model = v1alpha1.InitialModel{Init: &v1alpha1.ModelInit{Tokenizer: v1alpha1.Tokenizer{TrainVocabSize: 300}}}
		stage.Spec.Model.Init.Config.Raw = raw
		object := stage.DeepCopy()
		object.ResourceVersion = ""
		object.UID = ""
		if err := admin.Create(t.Context(), object, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
			t.Errorf("%q is refused: %v", text, err) // then this test would prove nothing of it
		}
		run, err := rendered(stage)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		c, err := runconfig.Parse("run.yaml", []byte(run.ConfigMap.Data["run.yaml"]))
		if err != nil {
			t.Errorf("%q: the trainer cannot read it: %v", text, err)
			continue
		}
		if hash, err := c.Hash(); err != nil || hash != run.Hash {
			t.Errorf("%q: the trainer's hash is %s, the operator's %s (%v)", text, hash, run.Hash, err)
		}
		if c.Data.Train[0].Columns["prompt"] != text || c.Model.Init[text] != text {
			t.Errorf("%q: the trainer reads %q and %v", text, c.Data.Train[0].Columns["prompt"], c.Model.Init)
		}
		for _, job := range jobs(t, stage) {
			spec := podOf(t, ns, job).Spec
			spec.Volumes = nil // claims' names
			b, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			quoted, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > 5 && strings.Contains(string(b), strings.Trim(string(quoted), `"`)) {
				t.Errorf("%q gets into the pod: %s", text, b)
			}
		}
	}
}

// A URI leads to a place below its claim's mount, or is refused at apply.
func TestHostileURIs(t *testing.T) {
	ns := namespace(t)
	w := &walker{t: t, kind: v1alpha1.SFTJobKind}
	for _, uri := range []string{
		"pvc://data/../models/x", "pvc://data/a/../../x", "pvc://data/..", "pvc://data/.", "pvc://data/a/./b", "pvc://../x", "pvc://data/%2e%2e/x", "pvc://data/..%2fx",
		"pvc://data/a\\..\\b", "pvc://data//etc", "pvc:///etc/passwd", "pvc://data:80/x", "pvc://user@data/x", "pvc://data/x?y", "pvc://data/x#y", "pvc://Data/x",
		"pvc://data/x\x00", "pvc://data/x\n", "pvc://data/x y", "pvc://data/${HOME}", "pvc://data/$(id)", "pvc://data/{{x}}", "pvc://data/\u2025/x", "pvc://data/~root",
		"file:///etc/passwd", "http://169.254.169.254/x", "//data/x", "data/x", " pvc://data/x", "PVC://data/x", "pvc://-data/x", "pvc://data./x", "pvc://" + strings.Repeat("x", 3000) + "/y",
	} {
		for _, path := range [][]any{
			{"spec", "model", "uri"}, {"spec", "data", "train", 0, "uri"}, {"spec", "output", "uri"},
		} {
			object := with(parsed(t, validSFT), []any{"metadata", "namespace"}, ns)
			causes, err := w.apply(with(object, path, uri).(map[string]any))
			if err == nil || !slices.ContainsFunc(causes, func(c metav1.StatusCause) bool { return c.Field == field(path) }) {
				t.Errorf("%s: %q: %v, want a refusal of the field", field(path), uri, err)
			}
		}
		stage := stored(t, ns, validSFT).(*v1alpha1.SFTJob)
		stage.Spec.Data.Train[0].URI = v1alpha1.DataURI(uri)
		run, err := rendered(stage) // by someone who gets around the schema
		if err != nil {
			continue
		}
		for _, c := range podOf(t, ns, run.Job).Spec.Containers {
			for _, m := range c.VolumeMounts {
				if strings.HasPrefix(m.MountPath, runconfig.MountRoot) && strings.Count(m.MountPath, "/") != 3 || strings.Contains(m.MountPath, "..") {
					t.Errorf("%q is mounted at %s", uri, m.MountPath)
				}
			}
		}
	}
}

// A stage's name becomes names, labels and paths; the API server lets no other than plain ones in.
func TestHostileNames(t *testing.T) {
	ns := namespace(t)
	for _, name := range []string{"..", ".", "a/b", "a.b", "a_b", "A", "1a", "-a", "a-", "a b", "a\nb", "{{x}}", "${X}", "$(x)", "a%2fb", "é", strings.Repeat("a", 51)} {
		s := sft(ns, name)
		if err := admin.Create(t.Context(), s, client.DryRunAll); err == nil {
			t.Errorf("%q is admitted", name)
		}
	}
}
