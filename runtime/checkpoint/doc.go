// Package checkpoint reads and writes what a run leaves behind: tensors in safetensors
// files, a published folder with its manifest, and the state a run resumes from.
//
// It knows names, shapes and bytes of tensors, not what a model is: it is pure Go and must
// not import tensor, model or train.
package checkpoint
