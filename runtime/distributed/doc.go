// Package distributed is how the processes of a run work together.
//
// A Group is the ranks of a run and their collectives, which are libtorch's own (c10d: Gloo between
// CPUs, NCCL between GPUs). A Launcher starts the ranks of one machine, watches them, and tells the
// launchers of the others, through c10d's store, when one is lost.
//
// It knows no model and no loss; it must not import another package of the runtime than tensor.
package distributed
