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
		"method":                 {func(c *RunConfig) { c.Method = "GRPO" }, "method"},
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
		"hub":                      {func(c *RunConfig) { c.Model.URI = "hf://org/name@refs%2Fpr%2F1/sub" }, ""},
		"hub dataset":              {func(c *RunConfig) { c.Data.Train[0].URI = "hf://datasets/org/name/x.jsonl" }, ""},
		"hub without a name":       {func(c *RunConfig) { c.Model.URI = "hf://name" }, "model.uri"},
		"hub, empty revision":      {func(c *RunConfig) { c.Model.URI = "hf://org/name@/x" }, "model.uri"},
		"buckets":                  {func(c *RunConfig) { c.Model.URI, c.Output.URI = "gs://bucket/x", "azblob://container/y" }, ""},
		"no bucket":                {func(c *RunConfig) { c.Model.URI = "s3:///x" }, "model.uri"},
		"bucket with a query":      {func(c *RunConfig) { c.Model.URI = "s3://bucket/x?endpoint=http://10.0.0.1" }, "model.uri"},
		"bucket with a user":       {func(c *RunConfig) { c.Model.URI = "s3://key:secret@bucket/x" }, "model.uri"},
		"output to a hub":          {func(c *RunConfig) { c.Output.URI = "hf://org/name" }, "output.uri"},
		"cache limit":              {func(c *RunConfig) { c.Placement.CacheLimit = -1 }, "placement.cacheLimit"},
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
		"objective":                {func(c *RunConfig) { c.Objective.Type = "ORPO" }, "objective.type"},
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
		"negative nodes":           {func(c *RunConfig) { c.Placement.Nodes = -1 }, "placement.nodes"},
		"negative processes":       {func(c *RunConfig) { c.Placement.ProcessesPerNode = -1 }, "placement.processesPerNode"},
		"processes of one node":    {func(c *RunConfig) { c.Placement.ProcessesPerNode = 4 }, ""},
		"nodes apart":              {func(c *RunConfig) { c.Placement.Nodes = 2 }, "placement.rendezvous"},
		"nodes together":           {func(c *RunConfig) { c.Placement.Nodes, c.Placement.Rendezvous = 2, "a-0.a:29500" }, ""},
		"rendezvous without port":  {func(c *RunConfig) { c.Placement.Rendezvous = "a-0.a" }, "placement.rendezvous"},
		"rendezvous without host":  {func(c *RunConfig) { c.Placement.Rendezvous = ":29500" }, "placement.rendezvous"},
		"rendezvous at port 0":     {func(c *RunConfig) { c.Placement.Rendezvous = "a:0" }, "placement.rendezvous"},
		"rendezvous at port 65536": {func(c *RunConfig) { c.Placement.Rendezvous = "a:65536" }, "placement.rendezvous"},
		"sharded":                  {func(c *RunConfig) { c.Placement.Sharding = ShardingFull }, ""},
		"sharded in part":          {func(c *RunConfig) { c.Placement.Sharding = "Half" }, "placement.sharding"},
		"kept states":              {func(c *RunConfig) { c.Checkpoint.KeepLast = 0 }, "checkpoint.keepLast"},
		"samples":                  {func(c *RunConfig) { c.Evaluation.Samples = -1 }, "evaluation.samples"},
		"no output":                {func(c *RunConfig) { c.Output.URI = "" }, "output.uri"},
		"SFT with objective":       {func(c *RunConfig) { c.Method = SFT }, "objective"},
		"SFT":                      {func(c *RunConfig) { c.Method, c.Objective = SFT, nil }, ""},
		"SFT with reference":       {func(c *RunConfig) { c.Method, c.Objective, c.Reference = SFT, nil, &Source{URI: "file:///r"} }, "reference"},
		"SFT's loss on all":        {func(c *RunConfig) { c.Method, c.Objective, c.Data.LossOn = SFT, nil, "all" }, ""},
		"gamma for DPO":            {func(c *RunConfig) { c.Objective.Gamma = ptr(1.0) }, "objective.gamma"},
		"beta for ORPO":            {func(c *RunConfig) { objective(c, SimPO, Objective{Type: "ORPO", Beta: 1}) }, "objective.beta"},
		"ORPO":                     {func(c *RunConfig) { objective(c, SimPO, Objective{Type: "ORPO", Lambda: ptr(0.0)}) }, ""},
		"SimPO with a reference":   {func(c *RunConfig) { objective(c, SimPO, Objective{}); c.Reference = &Source{URI: "file:///r"} }, "reference"},
		"two gammas":               {func(c *RunConfig) { objective(c, SimPO, Objective{Gamma: ptr(1.0), GammaBetaRatio: ptr(0.5)}) }, "objective.gammaBetaRatio"},
		"no gamma":                 {func(c *RunConfig) { objective(c, SimPO, Objective{Gamma: ptr(0.0), LengthNormalize: ptr(false)}) }, ""},
		"negative lambda":          {func(c *RunConfig) { objective(c, SimPO, Objective{Type: "CPO", Lambda: ptr(-1.0)}) }, "objective.lambda"},
		"IPO":                      {func(c *RunConfig) { objective(c, DPO, Objective{Type: "IPO", IPOReduction: "mean"}) }, ""},
		"IPO's reduction":          {func(c *RunConfig) { objective(c, DPO, Objective{Type: "IPO", IPOReduction: "max"}) }, "objective.ipoReduction"},
		"Robust without a noise":   {func(c *RunConfig) { objective(c, DPO, Objective{Type: "Robust", LabelSmoothing: 0.5}) }, "objective.labelSmoothing"},
		"KTO of one": {func(c *RunConfig) {
			objective(c, DPO, Objective{Type: "KTO"})
			c.Training.BatchSize, c.Training.MicroBatchSize = 1, 1
		}, "training.batchSize"},
		"reward model":             {func(c *RunConfig) { objective(c, RewardModel, Objective{}) }, ""},
		"demonstrations for DPO":   {func(c *RunConfig) { c.Data.Demonstrations = []Dataset{{URI: "file:///d", Format: "auto"}} }, "data.demonstrations"},
		"pretraining for DPO":      {func(c *RunConfig) { c.Data.Pretraining = []Dataset{{URI: "file:///d", Format: "auto"}} }, "data.pretraining"},
		"ppo for DPO":              {func(c *RunConfig) { c.PPO = &PPOSettings{} }, "ppo"},
		"LoRA":                     {func(c *RunConfig) { lora(c, LoRA{}) }, ""},
		"LoRA of PPO":              {func(c *RunConfig) { ppo(c, PPOSettings{}); lora(c, LoRA{Rank: 8, UseRSLoRA: true}) }, ""},
		"LoRA's rank":              {func(c *RunConfig) { lora(c, LoRA{Rank: -1}) }, "training.lora.rank"},
		"LoRA's alpha":             {func(c *RunConfig) { lora(c, LoRA{Alpha: math.NaN()}) }, "training.lora.alpha"},
		"LoRA's dropout":           {func(c *RunConfig) { lora(c, LoRA{Dropout: 1}) }, "training.lora.dropout"},
		"LoRA's dropout in PPO":    {func(c *RunConfig) { ppo(c, PPOSettings{}); lora(c, LoRA{Dropout: 0.1}) }, "training.lora.dropout"},
		"LoRA of a module twice":   {func(c *RunConfig) { lora(c, LoRA{TargetModules: []string{"q_proj", "q_proj"}}) }, "training.lora.targetModules"},
		"LoRA of no module":        {func(c *RunConfig) { lora(c, LoRA{TargetModules: []string{""}}) }, "training.lora.targetModules"},
		"LoRA of all and one":      {func(c *RunConfig) { lora(c, LoRA{TargetModules: []string{AllLinear, "q_proj"}}) }, "training.lora.targetModules"},
		"LoRA publishes":           {func(c *RunConfig) { lora(c, LoRA{Publish: "Both"}) }, "training.lora.publish"},
		"LoRA and frozen layers":   {func(c *RunConfig) { lora(c, LoRA{}); c.Training.FreezeLayers = 1 }, "training.freezeLayers"},
		"base":                     {func(c *RunConfig) { c.Model.Base = &Source{URI: "file:///b"} }, ""},
		"base without a place":     {func(c *RunConfig) { c.Model.Base = &Source{} }, "model.base.uri"},
		"base of a base":           {func(c *RunConfig) { c.Model.Base = &Source{URI: "file:///b", Base: &Source{URI: "file:///c"}} }, "model.base.base"},
		"PPO":                      {func(c *RunConfig) { ppo(c, PPOSettings{}) }, ""},
		"PPO without reward model": {func(c *RunConfig) { ppo(c, PPOSettings{}); c.PPO.RewardModel = Source{} }, "ppo.rewardModel.uri"},
		"PPO's minibatch":          {func(c *RunConfig) { ppo(c, PPOSettings{MinibatchSize: 100}) }, "ppo.minibatchSize"},
		"PPO's micro-batch":        {func(c *RunConfig) { ppo(c, PPOSettings{MinibatchSize: 64}); c.Training.MicroBatchSize = 128 }, "training.microBatchSize"},
		"ptx without data":         {func(c *RunConfig) { ppo(c, PPOSettings{PTXCoefficient: 1}) }, "data.pretraining"},
		"PPO with an objective":    {func(c *RunConfig) { ppo(c, PPOSettings{}); c.Objective = &Objective{Type: "DPO"} }, "objective"},
		"PPO's responses":          {func(c *RunConfig) { ppo(c, PPOSettings{MaxNewTokens: 512}) }, "ppo.maxNewTokens"},
		"EMA":                      {func(c *RunConfig) { ppo(c, PPOSettings{EMADecay: 1}) }, "ppo.emaDecay"},
		"greatest KL":              {func(c *RunConfig) { held(c); c.Stop.MaxKL = ptr(10.0) }, ""},
		"greatest KL of 0":         {func(c *RunConfig) { held(c); c.Stop.MaxKL = ptr(0.0) }, "stop.maxKL"},
		"greatest KL of NaN":       {func(c *RunConfig) { held(c); c.Stop.MaxKL = ptr(math.NaN()) }, "stop.maxKL"},
		"greatest KL of nothing":   {func(c *RunConfig) { c.Stop.MaxKL = ptr(10.0) }, "stop.maxKL"},
		"greatest KL of PPO":       {func(c *RunConfig) { ppo(c, PPOSettings{}); c.Stop.MaxKL = ptr(10.0) }, ""},
		"greatest KL of SFT":       {func(c *RunConfig) { sft(c); c.Stop.MaxKL = ptr(10.0) }, "stop.maxKL"},
		"greatest KL of SimPO":     {func(c *RunConfig) { held(c); objective(c, SimPO, Objective{}); c.Stop.MaxKL = ptr(10.0) }, "stop.maxKL"},
		"greatest KL of a reward":  {func(c *RunConfig) { held(c); objective(c, RewardModel, Objective{}); c.Stop.MaxKL = ptr(10.0) }, "stop.maxKL"},
		"accuracy":                 {func(c *RunConfig) { held(c); c.Stop.MinRewardAccuracy = ptr(0.5) }, ""},
		"accuracy in percent":      {func(c *RunConfig) { held(c); c.Stop.MinRewardAccuracy = ptr(50.0) }, "stop.minRewardAccuracy"},
		"accuracy of nothing":      {func(c *RunConfig) { c.Stop.MinRewardAccuracy = ptr(0.5) }, "stop.minRewardAccuracy"},
		"accuracy on eval files": {func(c *RunConfig) {
			c.Data.Eval = []Dataset{{URI: "file:///e", Format: "auto"}}
			c.Stop.MinRewardAccuracy = ptr(0.5)
		}, ""},
		"accuracy of a reward": {func(c *RunConfig) {
			held(c)
			objective(c, RewardModel, Objective{})
			c.Stop.MinRewardAccuracy = ptr(0.5)
		}, ""},
		"accuracy of SimPO": {func(c *RunConfig) { held(c); objective(c, SimPO, Objective{}); c.Stop.MinRewardAccuracy = ptr(0.5) }, ""},
		"accuracy of SFT":   {func(c *RunConfig) { sft(c); c.Stop.MinRewardAccuracy = ptr(0.5) }, "stop.minRewardAccuracy"},
		"accuracy of PPO":   {func(c *RunConfig) { held(c); ppo(c, PPOSettings{}); c.Stop.MinRewardAccuracy = ptr(0.5) }, "stop.minRewardAccuracy"},
		"accuracy of KTO": {func(c *RunConfig) {
			held(c)
			objective(c, DPO, Objective{Type: "KTO"})
			c.Stop.MinRewardAccuracy = ptr(0.5)
		}, "stop.minRewardAccuracy"},
		"greatest loss":        {func(c *RunConfig) { sft(c); c.Stop.MaxLoss, c.Stop.AfterSteps = ptr(-1.0), 5 }, ""},
		"endless loss":         {func(c *RunConfig) { c.Stop.MaxLoss = ptr(math.Inf(1)) }, "stop.maxLoss"},
		"rules before the run": {func(c *RunConfig) { c.Stop.MaxLoss, c.Stop.AfterSteps = ptr(1.0), -1 }, "stop.afterSteps"},
		"no rule":              {func(c *RunConfig) { c.Stop.AfterSteps = 5 }, "stop.afterSteps"},
		"negative KL":          {func(c *RunConfig) { ppo(c, PPOSettings{KLCoefficient: ptr(-1.0)}) }, "ppo.klCoefficient"},
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

func ptr[T any](v T) *T { return &v }

// objective makes c a run of another method, with that objective's defaults.
func objective(c *RunConfig, m Method, o Objective) {
	c.Method, c.Objective = m, &o
	c.SetDefaults()
}

func held(c *RunConfig) { c.Data.EvalFraction = 0.1 }

func sft(c *RunConfig) {
	held(c)
	c.Method, c.Objective = SFT, nil
}

func ppo(c *RunConfig, s PPOSettings) {
	c.Method, c.Objective, c.PPO = PPO, nil, &s
	c.PPO.RewardModel.URI = "file:///rm"
	c.Training.BatchSize, c.Training.MicroBatchSize = 512, 0
	c.SetDefaults()
}

// The ratio is another spelling of the same loss.
func TestGammaBetaRatio(t *testing.T) {
	absolute, ratio := parse(t, minimal), parse(t, minimal)
	objective(absolute, SimPO, Objective{Beta: 2.5, Gamma: ptr(1.25)})
	objective(ratio, SimPO, Objective{Beta: 2.5, GammaBetaRatio: ptr(0.5)})
	if a, r := hash(t, absolute), hash(t, ratio); a != r {
		t.Errorf("hashes %s and %s", a, r)
	}
}

func lora(c *RunConfig, l LoRA) {
	c.Training.LoRA = &l
	c.SetDefaults()
}
