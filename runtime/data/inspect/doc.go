// Package inspect says what is in a run's data before the run is paid for: how many examples there are and
// how long, what is cut or dropped, what is wrong with which line, and what an example looks like to the
// model, with what is trained on marked.
//
// It encodes by the functions of runtime/data that training uses. It is pure Go and must not import
// runtime/tensor.
package inspect
