// Package storage finds a run's files, digests them and writes them so that a reader
// never sees half of one.
//
// It knows URIs and bytes, not what is in a file: it must not import another package of
// runtime.
package storage
