// Package corpus makes the demo's training data from the Go toolchain's own source: the
// declarations of the standard library and their doc comments.
//
// A demonstration is a declaration and the first sentence of its comment. A preference is that
// sentence against one that breaks Go's convention that a comment begins with the name it is
// about: the sentence without the name, or the sentence of another declaration.
//
// The data depends on the source tree and a seed only. The package imports the standard library
// alone.
package corpus
