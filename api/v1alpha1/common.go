package v1alpha1

// Decimal is a number written as a string, such as "0.1" or "5e-7".
// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$`
// +kubebuilder:validation:MaxLength=24
type Decimal string

// Digest is a SHA-256 as "sha256:" and 64 hex digits.
// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
// +kubebuilder:validation:MaxLength=71
type Digest string

// URI is a file or folder in a PersistentVolumeClaim of the resource's namespace, pvc://claim/path; of an object store, s3://, gs:// or
// azblob://bucket/path; or of a hub's repository, hf://org/name@revision/path or hf://datasets/org/name@revision/path.
// +kubebuilder:validation:Pattern=`^(((pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?|(s3|gs|azblob)://[a-z0-9]([-a-z0-9._]*[a-z0-9])?)(/[A-Za-z0-9._=+@,-]+)+)|(hf://(datasets/)?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._%-]+)?(/[A-Za-z0-9._=+@,-]+)*))$`
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule="!self.matches('/[.][.]?(/|$)')",message="has a . or .. in its path"
type URI string

// DataURI is a file or folder, as a URI is: pvc://claim/path, s3://, gs:// or azblob://bucket/path, or
// hf://datasets/org/name@revision/path; or a pattern of files: * in its last part stands for any characters.
// +kubebuilder:validation:Pattern=`^(((pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?|(s3|gs|azblob)://[a-z0-9]([-a-z0-9._]*[a-z0-9])?)(/[A-Za-z0-9._=+@,*-]+)+)|(hf://(datasets/)?[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[A-Za-z0-9._%-]+)?(/[A-Za-z0-9._=+@,*-]+)*))$`
// +kubebuilder:validation:MaxLength=1024
// +kubebuilder:validation:XValidation:rule="!self.matches('/[.][.]?(/|$)')",message="has a . or .. in its path"
// +kubebuilder:validation:XValidation:rule="!self.matches('[*].*/')",message="may have * in its last part only"
type DataURI string

// StageReference names a stage. Its checkpoint is used once it is trained.
// +kubebuilder:validation:XValidation:rule="!has(self.claim) || has(self.__namespace__)",fieldPath=".claim",message="goes with namespace"
type StageReference struct {
	Kind StageKind `json:"kind"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	Name string `json:"name"`
	// Namespace of the stage, which must list this one in its sharedWith. Default: this resource's own.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`
	// Claim of this resource's namespace through which the stage's files are read, when that is in
	// another namespace and publishes to a claim: two volumes of one file server, say. A pod mounts claims of its own
	// namespace only. The files are verified by digest.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Claim string `json:"claim,omitempty"`
}

// NamespaceName is the name of a namespace.
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
// +kubebuilder:validation:MaxLength=63
type NamespaceName string

// CheckpointSource is a checkpoint: of another stage, or a Hugging Face folder.
// +kubebuilder:validation:XValidation:rule="has(self.from) != has(self.uri)",message="set exactly one of from and uri"
// +kubebuilder:validation:XValidation:rule="!has(self.digest) || has(self.uri)",message="digest goes with uri; a stage's own digest is used with from"
// +kubebuilder:validation:XValidation:rule="!has(self.base) || has(self.uri)",message="base goes with uri; what a stage's adapter goes on is known"
type CheckpointSource struct {
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
}

// AdapterBase is the checkpoint that an adapter goes on.
type AdapterBase struct {
	// URI is a folder with config.json and safetensors.
	URI URI `json:"uri"`
	// Digest of the folder's manifest.json, verified before anything is loaded.
	// +optional
	Digest Digest `json:"digest,omitempty"`
}

// StageSpec is what all kinds have in common.
// +kubebuilder:validation:XValidation:rule="!has(self.pod) || !has(self.pod.tolerations) || !has(self.podTemplate) || !has(self.podTemplate.spec) || !has(self.podTemplate.spec.tolerations)",fieldPath=".podTemplate.spec.tolerations",message="would replace pod.tolerations: set one of them"
type StageSpec struct {
	// Data to train and evaluate on.
	Data Data `json:"data"`
	// Training is the optimisation: length, batch, learning rate.
	// +kubebuilder:default={}
	// +optional
	Training Training `json:"training,omitzero"`
	// Evaluation on held-out data, while training and at its end.
	// +kubebuilder:default={}
	// +optional
	Evaluation Evaluation `json:"evaluation,omitzero"`
	// Checkpoint says how often state to resume from is saved.
	// +kubebuilder:default={}
	// +optional
	Checkpoint Checkpoint `json:"checkpoint,omitzero"`
	// Seed drives initialisation, shuffling, dropout and sampling.
	// +kubebuilder:default=42
	// +kubebuilder:validation:Minimum=0
	// +optional
	Seed int64 `json:"seed"`
	// Output is where the checkpoint is published.
	Output Output `json:"output"`
	// Storage is how files outside of claims are reached. Nothing in it changes the result.
	// +optional
	Storage Storage `json:"storage,omitzero"`
	// Suspend ends the run's pod, which saves its state; false lets it go on from there.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// Retrain says what becomes of a run when spec or inputs change so that it would be another one:
	// Never keeps it, and the condition Stale says so; OnChange trains anew.
	// +kubebuilder:validation:Enum=Never;OnChange
	// +kubebuilder:default=Never
	// +optional
	Retrain RetrainPolicy `json:"retrain,omitempty"`
	// Stop are rules that end a run which is not worth going on with.
	// +optional
	Stop Stop `json:"stop,omitzero"`
	// ActiveDeadlineSeconds bounds the time in which the run has pods, suspensions excluded. A run that
	// exceeds it saves its state and fails; it goes on from there when the deadline is raised.
	// +kubebuilder:validation:Minimum=1
	// +optional
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`
	// TTLSecondsAfterFinished deletes the run's Job, and with it pods and logs, so long after its end.
	// This resource stays: other stages refer to it.
	// +kubebuilder:validation:Minimum=0
	// +optional
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
	// SharedWith are the namespaces whose stages may use this one's checkpoint.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	SharedWith []NamespaceName `json:"sharedWith,omitempty"`
	// MaxRestarts is how often a failed pod is replaced; the new one resumes. Disruptions (a drained
	// node, a preemption) do not count, and invalid input or a diverged run is never tried again.
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	MaxRestarts int32 `json:"maxRestarts"`
	// Pod is where and with what the trainer runs. Nothing in it changes the result.
	// +kubebuilder:default={}
	// +optional
	Pod Pod `json:"pod,omitzero"`
	// PodTemplate is merged over the trainer's pod, as by a strategic merge patch.
	// +optional
	PodTemplate PodTemplate `json:"podTemplate,omitzero"`
}

// Storage is how files of object stores and hubs are reached, and where they are kept.
type Storage struct {
	// SecretName is a Secret of this namespace whose keys become the trainer's environment variables: HF_TOKEN,
	// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, GOOGLE_CREDENTIALS_JSON, AZURE_STORAGE_ACCOUNT and so on.
	// The operator never reads it.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretName string `json:"secretName,omitempty"`
	// CacheClaim is a PersistentVolumeClaim of this namespace that keeps what was fetched; runs may share it. Default: a
	// volume of the pod's own, which goes with it.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	CacheClaim string `json:"cacheClaim,omitempty"`
	// CacheGiB bounds what is kept; what was not used for the longest time goes first. Default: what the volume holds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	// +optional
	CacheGiB int32 `json:"cacheGiB,omitempty"`
}

// RetrainPolicy is Never or OnChange.
type RetrainPolicy string

// The policies.
const (
	RetrainNever    RetrainPolicy = "Never"
	RetrainOnChange RetrainPolicy = "OnChange"
)

// Data is what a stage trains and evaluates on.
// +kubebuilder:validation:XValidation:rule="!has(self.maxPromptLength) || self.maxPromptLength < self.maxLength",fieldPath=".maxPromptLength",message="must be less than maxLength"
// +kubebuilder:validation:XValidation:rule="!(has(self.eval) && has(self.evalFraction))",fieldPath=".evalFraction",message="goes without eval: the held-out data is either a part of train or files of its own"
// +kubebuilder:validation:XValidation:rule="!has(self.eval) || self.eval.all(d, !has(d.weight))",fieldPath=".eval",message="takes no weight: all of it is evaluated"
type Data struct {
	// Train are read one after another, then shuffled by the seed.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Train []Dataset `json:"train"`
	// Eval are held-out files.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Eval []Dataset `json:"eval,omitempty"`
	// EvalFraction of the training examples is held out, when there is no eval.
	// +kubebuilder:validation:XValidation:rule="double(self) <= 0.5",message="must be at most 0.5"
	// +optional
	EvalFraction Decimal `json:"evalFraction,omitempty"`
	// MaxLength of an example, prompt and response, in tokens.
	// +kubebuilder:default=512
	// +kubebuilder:validation:Minimum=2
	// +optional
	MaxLength int32 `json:"maxLength,omitempty"`
	// MaxPromptLength in tokens; longer prompts lose their beginning. Default: half of maxLength where an
	// example is too long.
	// +kubebuilder:validation:Minimum=1
	// +optional
	MaxPromptLength int32 `json:"maxPromptLength,omitempty"`
}

// Dataset is a file of examples, or several: JSON lines or a JSON array, gzipped or not, or Parquet.
type Dataset struct {
	// URI of a file, a folder, whose data files in it and below are taken, or a pattern.
	URI DataURI `json:"uri"`
	// Weight says how often each example comes in an epoch: "2" is twice, "0.25" is for a quarter of them, others
	// each epoch. Default: "1".
	// +kubebuilder:validation:XValidation:rule="double(self) > 0.0 && double(self) <= 1000.0",message="must be greater than 0 and at most 1000"
	// +optional
	Weight Decimal `json:"weight,omitempty"`
	// Digest of the file as it is stored, verified before training; of several, that of their list (docs/data.md).
	// +optional
	Digest Digest `json:"digest,omitempty"`
	// Format of the examples. Default: auto, which tells it from the columns of the first line. (Not the
	// schema's default: GitOps tools compare a list as a whole, and would find it changed.)
	// +kubebuilder:validation:Enum=auto;text;prompt;prompt-completion;messages;preference;unpaired-preference;ranked;hh;alpaca;sharegpt;tldr-comparison
	// +optional
	Format string `json:"format,omitempty"`
	// Columns maps the names text, prompt, completion, messages, chosen, rejected, label, responses, ranks, instruction, input, output, conversations to the file's own.
	// +kubebuilder:validation:MaxProperties=13
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['text', 'prompt', 'completion', 'messages', 'chosen', 'rejected', 'label', 'responses', 'ranks', 'instruction', 'input', 'output', 'conversations'])",message="keys must be among text, prompt, completion, messages, chosen, rejected, label, responses, ranks, instruction, input, output, conversations"
	// +optional
	Columns map[string]ColumnName `json:"columns,omitempty"`
}

// ColumnName is the name of a column in a file.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
type ColumnName string

// Output is where a stage publishes.
type Output struct {
	// URI is a folder of a claim or an object store: pvc://claim or pvc://claim/folder, s3://, gs:// or azblob://bucket/folder. The run's own folder below it is
	// <namespace>/<name>-<the kind's short name>/<the first 12 digits of the run's hash>.
	// +kubebuilder:validation:Pattern=`^(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?|(s3|gs|azblob)://[a-z0-9]([-a-z0-9._]*[a-z0-9])?)(/[A-Za-z0-9._=+@,-]+)*$`
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.matches('/[.][.]?(/|$)')",message="has a . or .. in its path"
	URI string `json:"uri"`
	// DeletionPolicy says what becomes of the files, published checkpoints and saved states of all runs,
	// when this resource is deleted.
	// +kubebuilder:validation:Enum=Retain;Delete
	// +kubebuilder:default=Retain
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy is Retain or Delete.
type DeletionPolicy string

// The policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)
