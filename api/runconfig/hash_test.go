package runconfig

import (
	"reflect"
	"testing"
)

// A run hash names published checkpoints for ever: these files must keep parsing and
// hashing to these values. Add files; never edit one or its hash.
func TestGoldenHashes(t *testing.T) {
	for path, want := range map[string]string{
		"testdata/v1-sft.yaml":         "dfb302ae1751e388275ee7ee5e21e1a7a0ffd168cb9d2588249371eb2d4c2b2e",
		"testdata/v1-dpo.yaml":         "05c7121f84dd9b659f66e3f3d978cf6115e549c68599104cd352012b10388cfe",
		"testdata/v1-rewardmodel.yaml": "1c1a56c4ac4bc6905c3419d5df953a83d76016d8cae0ee653f32faec721cf2c5",
		"testdata/v1-ppo.yaml":         "e2a2765a0b87bbf42d1a3625619d783247e5788ddd7009c1293f43fc16b4b33d",
		"testdata/v1-simpo.yaml":       "381bcd53fcdfba79b8f6609c62367cd434e240056414cf480de5508a1e4c61a8",
		"testdata/v1-dpo-lora.yaml":    "5c2647be35b03b4d686d273d7dc10698fd70b3588560f4968ca3d4a5ac067443",
		"testdata/v1-dpo-stop.yaml":    "05c7121f84dd9b659f66e3f3d978cf6115e549c68599104cd352012b10388cfe", // of v1-dpo.yaml
	} {
		c, err := Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := c.Hash(); err != nil || got != want {
			t.Errorf("%s: hash %s, %v; want %s", path, got, err, want)
		}
		b, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if again := parse(t, string(b)); !reflect.DeepEqual(again, c) {
			t.Errorf("%s: written and read it is\n%+v\nwant\n%+v", path, again, c)
		}
	}
}

func hash(t *testing.T, c *RunConfig) string {
	t.Helper()
	h, err := c.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func load(t *testing.T) *RunConfig {
	t.Helper()
	c, err := Load("testdata/v1-sft.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Training.LearningRate != 5e-4 || c.Data.Train[0].Columns["prompt"] != "declaration" || c.Model.Init["vocab_size"] != 2048 || c.Placement.Mounts["models"] != "/mnt/claims/models" {
		t.Fatalf("read %+v", c)
	}
	return c
}

func TestWhatEntersTheHash(t *testing.T) {
	digest := "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	for name, c := range map[string]struct {
		change  func(c *RunConfig)
		changes bool
	}{
		"name":   {func(c *RunConfig) { c.Name = "x" }, false},
		"output": {func(c *RunConfig) { c.Output = Output{URI: "file:///x", RunHash: "y"} }, false},
		"placement": {func(c *RunConfig) {
			c.Placement = Placement{Device: "cuda", Threads: 9, Nodes: 2, ProcessesPerNode: 8, Sharding: ShardingFull}
		}, false},
		"checkpoint":             {func(c *RunConfig) { c.Checkpoint.EverySteps = 7 }, false},
		"stop rules":             {func(c *RunConfig) { c.Stop = Stop{MaxLoss: ptr(3.0), AfterSteps: 7} }, false},
		"micro-batch":            {func(c *RunConfig) { c.Training.MicroBatchSize = 2 }, false},
		"log steps":              {func(c *RunConfig) { c.Training.LogSteps = 2 }, false},
		"place of a digest":      {func(c *RunConfig) { c.Data.Train[0].URI = "file:///elsewhere" }, false},
		"place without a digest": {func(c *RunConfig) { c.Data.Train[1].URI = "file:///elsewhere" }, true},
		"digest":                 {func(c *RunConfig) { c.Data.Train[0].Digest = digest }, true},
		"eval digest":            {func(c *RunConfig) { c.Data.Eval[0].Digest = digest }, true},
		"order of data":          {func(c *RunConfig) { d := c.Data.Train; d[0], d[1] = d[1], d[0] }, true},
		"columns":                {func(c *RunConfig) { c.Data.Train[0].Columns["prompt"] = "x" }, true},
		"method":                 {func(c *RunConfig) { c.Method = DPO }, true},
		"seed":                   {func(c *RunConfig) { c.Seed++ }, true},
		"architecture":           {func(c *RunConfig) { c.Model.Init["hidden_size"] = 64 }, true},
		"tokenizer":              {func(c *RunConfig) { c.Model.Tokenizer.Train.VocabSize++ }, true},
		"reference":              {func(c *RunConfig) { c.Reference = &Source{URI: "file:///r"} }, true},
		"activation checkpoints": {func(c *RunConfig) { c.Training.ActivationCheckpointing = true }, false},
		"demonstrations":         {func(c *RunConfig) { c.Data.Demonstrations = []Dataset{{URI: "file:///d"}} }, true},
		"reward model":           {func(c *RunConfig) { c.PPO = &PPOSettings{RewardModel: Source{URI: "file:///r"}} }, true},
		"adapters":               {func(c *RunConfig) { c.Training.LoRA = &LoRA{} }, true},
		"base":                   {func(c *RunConfig) { c.Model.Base = &Source{URI: "file:///b"} }, true},
		"learning rate":          {func(c *RunConfig) { c.Training.LearningRate *= 1 + 1e-15 }, true},
		"batch size":             {func(c *RunConfig) { c.Training.BatchSize *= 2 }, true},
	} {
		config := load(t)
		before := hash(t, config)
		c.change(config)
		if changed := hash(t, config) != before; changed != c.changes {
			t.Errorf("%s: the hash changes: %v, want %v", name, changed, c.changes)
		}
	}
}

func TestAdaptersInTheHash(t *testing.T) {
	of := func(change func(c *RunConfig)) string {
		c := load(t)
		c.Model = Model{Source: Source{URI: "file:///a", Base: &Source{URI: "file:///b", Digest: "sha256:1"}}}
		c.Training.LoRA = &LoRA{}
		change(c)
		return hash(t, c)
	}
	bare := of(func(*RunConfig) {})
	for name, test := range map[string]struct {
		change  func(c *RunConfig)
		changes bool
	}{
		"defaults":          {func(c *RunConfig) { *c.Training.LoRA = LoRA{Rank: 16, Alpha: 32, Publish: PublishMerged} }, false},
		"rank":              {func(c *RunConfig) { c.Training.LoRA.Rank = 8 }, true},
		"alpha":             {func(c *RunConfig) { c.Training.LoRA.Alpha = 16 }, true},
		"scale":             {func(c *RunConfig) { c.Training.LoRA.UseRSLoRA = true }, true},
		"dropout":           {func(c *RunConfig) { c.Training.LoRA.Dropout = 0.1 }, true},
		"modules":           {func(c *RunConfig) { c.Training.LoRA.TargetModules = []string{AllLinear} }, true},
		"publish":           {func(c *RunConfig) { c.Training.LoRA.Publish = PublishAdapter }, true},
		"place of the base": {func(c *RunConfig) { c.Model.Base.URI = "file:///c" }, false},
		"base":              {func(c *RunConfig) { c.Model.Base.Digest = "sha256:2" }, true},
	} {
		if changed := of(test.change) != bare; changed != test.changes {
			t.Errorf("%s: the hash changes: %v, want %v", name, changed, test.changes)
		}
	}
	c := load(t)
	c.Training.LoRA = &LoRA{}
	if hash(t, c); c.Training.LoRA.Rank != 0 {
		t.Errorf("Hash changed its value to %+v", *c.Training.LoRA)
	}
}

// The operator hashes what it rendered, the trainer what it read: with the defaults filled
// in or not, it is one run.
func TestHashIsTheSameWithAndWithoutDefaults(t *testing.T) {
	bare := &RunConfig{
		Version: 1, Method: DPO, Seed: 1,
		Model:     Model{Source: Source{URI: "file:///m"}},
		Data:      Data{Train: []Dataset{{URI: "file:///d"}}},
		Objective: &Objective{},
		Output:    Output{URI: "file:///o"},
	}
	got := hash(t, bare)
	if want := hash(t, parse(t, minimal)); got != want {
		t.Errorf("bare %s, with defaults %s", got, want)
	}
	if bare.Data.Train[0].Format != "" || bare.Objective.Type != "" {
		t.Error("Hash changed its value")
	}
}

func TestHashDoesNotChangeItsValue(t *testing.T) {
	c := load(t)
	hash(t, c)
	if want := load(t); !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}
