package runconfig

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for name, c := range map[string]struct {
		change func(c *RunConfig)
		field  string // "" is valid
	}{
		"as it is":               {func(c *RunConfig) {}, ""},
		"version":                {func(c *RunConfig) { c.Version = 2 }, "version"},
		"method":                 {func(c *RunConfig) { c.Method = "PPO" }, "method"},
		"no model":               {func(c *RunConfig) { c.Model = Model{} }, "model"},
		"uri and init":           {func(c *RunConfig) { c.Model.Init = map[string]any{} }, "model"},
		"DPO from init":          {func(c *RunConfig) { c.Model = Model{Init: map[string]any{}} }, "model.init"},
		"init without tokenizer": {func(c *RunConfig) { c.Model = Model{Init: map[string]any{}} }, "model.tokenizer"},
		"digest without uri":     {func(c *RunConfig) { c.Model = Model{Init: map[string]any{}, Source: Source{Digest: digest}} }, "model.digest"},
		"empty tokenizer":        {func(c *RunConfig) { c.Model.Tokenizer = &Tokenizer{} }, "model.tokenizer"},
		"trained and given":      {func(c *RunConfig) { c.Model.Tokenizer = &Tokenizer{Train: &TokenizerTraining{300}} }, "model.tokenizer.train"},
		"small vocabulary":       {func(c *RunConfig) { c.Model.Tokenizer = &Tokenizer{Train: &TokenizerTraining{259}} }, "model.tokenizer.train.vocabSize"},
		"tokenizer digest": {func(c *RunConfig) {
			c.Model.Tokenizer = &Tokenizer{Train: &TokenizerTraining{300}, Source: Source{Digest: digest}}
		}, "model.tokenizer.digest"},
		"tokenizer folder":         {func(c *RunConfig) { c.Model.Tokenizer = &Tokenizer{Source: Source{URI: "x"}} }, "model.tokenizer.uri"},
		"relative path":            {func(c *RunConfig) { c.Model.URI = "models/sft" }, "model.uri"},
		"two slashes":              {func(c *RunConfig) { c.Model.URI = "file://models/sft" }, "model.uri"},
		"https":                    {func(c *RunConfig) { c.Model.URI = "https://example.com/m" }, "model.uri"},
		"no claim":                 {func(c *RunConfig) { c.Model.URI = "pvc:///m" }, "model.uri"},
		"climbing":                 {func(c *RunConfig) { c.Model.URI = "pvc://claim/../m" }, "model.uri"},
		"climbing in disguise":     {func(c *RunConfig) { c.Model.URI = "pvc://claim/%2e%2e/m" }, "model.uri"},
		"query":                    {func(c *RunConfig) { c.Model.URI = "pvc://claim/m?x" }, "model.uri"},
		"broken escape":            {func(c *RunConfig) { c.Model.URI = "file:///%zz" }, "model.uri"},
		"claim":                    {func(c *RunConfig) { c.Model.URI = "pvc://claim/m" }, ""},
		"whole claim":              {func(c *RunConfig) { c.Model.URI = "pvc://claim" }, ""},
		"digest":                   {func(c *RunConfig) { c.Model.Digest = digest }, ""},
		"digest without prefix":    {func(c *RunConfig) { c.Model.Digest = digest[7:] }, "model.digest"},
		"digest in capitals":       {func(c *RunConfig) { c.Model.Digest = strings.ToUpper(digest) }, "model.digest"},
		"reference":                {func(c *RunConfig) { c.Reference = &Source{} }, "reference.uri"},
		"no data":                  {func(c *RunConfig) { c.Data.Train = nil }, "data.train"},
		"data uri":                 {func(c *RunConfig) { c.Data.Train[0].URI = "" }, "data.train[0].uri"},
		"data digest":              {func(c *RunConfig) { c.Data.Train[0].Digest = "x" }, "data.train[0].digest"},
		"data format":              {func(c *RunConfig) { c.Data.Train[0].Format = "csv" }, "data.train[0].format"},
		"data columns":             {func(c *RunConfig) { c.Data.Train[0].Columns = map[string]string{"x": "y"} }, "data.train[0].columns"},
		"eval":                     {func(c *RunConfig) { c.Data.Eval = []Dataset{{URI: "file:///e", Format: "x"}} }, "data.eval[0].format"},
		"eval fraction":            {func(c *RunConfig) { c.Data.EvalFraction = 0.6 }, "data.evalFraction"},
		"eval fraction of NaN":     {func(c *RunConfig) { c.Data.EvalFraction = math.NaN() }, "data.evalFraction"},
		"length":                   {func(c *RunConfig) { c.Data.MaxLength = 1 }, "data.maxLength"},
		"prompt length":            {func(c *RunConfig) { c.Data.MaxPromptLength = c.Data.MaxLength }, "data.maxPromptLength"},
		"loss on":                  {func(c *RunConfig) { c.Data.LossOn = "all" }, "data.lossOn"},
		"no objective":             {func(c *RunConfig) { c.Objective = nil }, "objective"},
		"objective":                {func(c *RunConfig) { c.Objective.Type = "IPO" }, "objective.type"},
		"beta":                     {func(c *RunConfig) { c.Objective.Beta = math.Inf(1) }, "objective.beta"},
		"smoothing":                {func(c *RunConfig) { c.Objective.LabelSmoothing = 0.5 }, "objective.labelSmoothing"},
		"smoothing of NaN":         {func(c *RunConfig) { c.Objective.LabelSmoothing = math.NaN() }, "objective.labelSmoothing"},
		"steps":                    {func(c *RunConfig) { c.Training.MaxSteps = -1 }, "training.maxSteps"},
		"epochs":                   {func(c *RunConfig) { c.Training.Epochs = math.NaN() }, "training.epochs"},
		"batch":                    {func(c *RunConfig) { c.Training.BatchSize = 0 }, "training.batchSize"},
		"micro-batch":              {func(c *RunConfig) { c.Training.MicroBatchSize = 5 }, "training.microBatchSize"},
		"micro-batch beyond batch": {func(c *RunConfig) { c.Training.MicroBatchSize = 64 }, "training.microBatchSize"},
		"learning rate":            {func(c *RunConfig) { c.Training.LearningRate = -1 }, "training.learningRate"},
		"warm-up":                  {func(c *RunConfig) { c.Training.WarmupRatio = 1.1 }, "training.warmupRatio"},
		"weight decay":             {func(c *RunConfig) { c.Training.WeightDecay = math.Inf(1) }, "training.weightDecay"},
		"beta2":                    {func(c *RunConfig) { c.Training.Beta2 = 1 }, "training.beta2"},
		"precision":                {func(c *RunConfig) { c.Training.Precision = "int8" }, "training.precision"},
		"device":                   {func(c *RunConfig) { c.Placement.Device = "tpu" }, "placement.device"},
		"threads":                  {func(c *RunConfig) { c.Placement.Threads = -1 }, "placement.threads"},
		"kept states":              {func(c *RunConfig) { c.Checkpoint.KeepLast = 0 }, "checkpoint.keepLast"},
		"samples":                  {func(c *RunConfig) { c.Evaluation.Samples = -1 }, "evaluation.samples"},
		"no output":                {func(c *RunConfig) { c.Output.URI = "" }, "output.uri"},
		"SFT with objective":       {func(c *RunConfig) { c.Method = SFT }, "objective"},
		"SFT":                      {func(c *RunConfig) { c.Method, c.Objective = SFT, nil }, ""},
		"SFT with reference":       {func(c *RunConfig) { c.Method, c.Objective, c.Reference = SFT, nil, &Source{URI: "file:///r"} }, "reference"},
		"SFT's loss on all":        {func(c *RunConfig) { c.Method, c.Objective, c.Data.LossOn = SFT, nil, "all" }, ""},
	} {
		config := parse(t, minimal)
		c.change(config)
		err := config.Validate()
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
			continue
		}
		// The problem at its field, whatever else follows from the change.
		found := false
		for _, p := range config.problems() {
			found = found || p.field == c.field
		}
		if !found {
			t.Errorf("%s: %v does not name %s", name, err, c.field)
		}
	}
}
