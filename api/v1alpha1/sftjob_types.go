package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// SFTJob fine-tunes a language model on demonstrations, or trains a small one from scratch: the
// first stage of every alignment pipeline (InstructGPT, arXiv:2203.02155, section 3.1).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=sft,categories=alignment
// +kubebuilder:printcolumn:name="PHASE",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="STEP",type=integer,JSONPath=`.status.progress.step`
// +kubebuilder:printcolumn:name="PCT",type=integer,JSONPath=`.status.progress.percent`
// +kubebuilder:printcolumn:name="ETA",type=string,JSONPath=`.status.progress.eta`
// +kubebuilder:printcolumn:name="LOSS",type=string,JSONPath=`.status.metrics.loss`
// +kubebuilder:printcolumn:name="EVAL-LOSS",type=string,JSONPath=`.status.metrics.eval_loss`
// +kubebuilder:printcolumn:name="TOK/S",type=integer,priority=1,JSONPath=`.status.progress.tokensPerSecond`
// +kubebuilder:printcolumn:name="MESSAGE",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be at most 50 lower-case letters, digits and -, beginning with a letter: pods are named after it"
type SFTJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec SFTJobSpec `json:"spec"`
	// Status begins with a generation that is none: what was just applied is not taken for ready.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status StageStatus `json:"status,omitzero"`
}

// SFTJobSpec is what to train.
// +kubebuilder:validation:XValidation:rule="!has(self.training.microBatchSize) || has(self.training.batchSize) || 32 % self.training.microBatchSize == 0",fieldPath=".training.microBatchSize",message="must divide batchSize, which is 32 if not set"
// +kubebuilder:validation:XValidation:rule="!has(self.training.lora) || !has(self.model.init)",fieldPath=".training.lora",message="adapts a checkpoint: goes without model.init"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.maxKL)",fieldPath=".stop.maxKL",message="there is no reference that a KL could be measured to"
// +kubebuilder:validation:XValidation:rule="!has(self.stop) || !has(self.stop.minRewardAccuracy)",fieldPath=".stop.minRewardAccuracy",message="there are no pairs whose order could be right or wrong"
type SFTJobSpec struct {
	// Model is what training starts from.
	Model InitialModel `json:"model"`
	// LossOn counts the response's tokens, or all: the prompt's too.
	// +kubebuilder:validation:Enum=response;all
	// +kubebuilder:default=response
	// +optional
	LossOn string `json:"lossOn,omitempty"`
	// Packing lays several examples out in one row where they fit, without attention between them: memory and
	// speed, not the result.
	// +optional
	Packing   bool `json:"packing,omitempty"`
	StageSpec `json:",inline"`
}

// InitialModel is a checkpoint, or an architecture to initialise at random.
// +kubebuilder:validation:XValidation:rule="!has(self.from) || self.from.kind != 'RewardModelJob'",fieldPath=".from.kind",message="a reward model is no policy"
// +kubebuilder:validation:XValidation:rule="[has(self.from), has(self.uri), has(self.init)].filter(x, x).size() == 1",message="set exactly one of from, uri and init"
// +kubebuilder:validation:XValidation:rule="!has(self.digest) || has(self.uri)",message="digest goes with uri; a stage's own digest is used with from"
// +kubebuilder:validation:XValidation:rule="!has(self.base) || has(self.uri)",message="base goes with uri; what a stage's adapter goes on is known"
type InitialModel struct {
	// From is a stage whose checkpoint to use. It may be applied later than this resource.
	// +optional
	From *StageReference `json:"from,omitempty"`
	// URI is a folder with config.json, safetensors and tokenizer.json.
	// +optional
	URI URI `json:"uri,omitempty"`
	// Digest of the folder's manifest.json, verified before anything is loaded.
	// +optional
	Digest Digest `json:"digest,omitempty"`
	// Base is what an adapter in PEFT's format goes on, if that is what the folder has.
	// +optional
	Base *AdapterBase `json:"base,omitempty"`
	// Init is a new model.
	// +optional
	Init *ModelInit `json:"init,omitempty"`
}

// ModelInit is a new model with random weights, drawn by the seed.
type ModelInit struct {
	// Config is a Hugging Face config.json, such as {model_type: llama, hidden_size: 128, ...}.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	Config runtime.RawExtension `json:"config"`
	// Tokenizer of the new model.
	Tokenizer Tokenizer `json:"tokenizer"`
}

// Tokenizer is one that exists, or one to train.
// +kubebuilder:validation:XValidation:rule="has(self.uri) != has(self.trainVocabSize)",message="set exactly one of uri and trainVocabSize"
type Tokenizer struct {
	// URI is a folder with tokenizer.json.
	// +optional
	URI URI `json:"uri,omitempty"`
	// TrainVocabSize trains a byte-level BPE tokenizer of this many tokens on the training data.
	// +kubebuilder:validation:Minimum=260
	// +kubebuilder:validation:Maximum=1048576
	// +optional
	TrainVocabSize int32 `json:"trainVocabSize,omitempty"`
}

// SFTJobList is a list of SFTJobs.
//
// +kubebuilder:object:root=true
type SFTJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SFTJob `json:"items"`
}

// StageKind implements Stage.
func (j *SFTJob) StageKind() StageKind { return SFTJobKind }

// StageSpec implements Stage.
func (j *SFTJob) StageSpec() *StageSpec { return &j.Spec.StageSpec }

// StageStatus implements Stage.
func (j *SFTJob) StageStatus() *StageStatus { return &j.Status }

// Upstreams implements Stage.
func (j *SFTJob) Upstreams() []Upstream {
	return upstream(nil, RoleModel, "spec.model.from", j.Spec.Model.From)
}

// Stages implements StageList.
func (l *SFTJobList) Stages() []Stage {
	list := make([]Stage, len(l.Items))
	for i := range l.Items {
		list[i] = &l.Items[i]
	}
	return list
}
