// Package build compiles the programs that a local cluster runs, each at most once for the same sources:
// the result lies in a cache folder named by a hash of all that goes into it. It must not know what the
// programs are for.
package build
