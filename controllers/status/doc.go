// Package status decides what a stage's status says: previous status, inputs, Job, pod, progress
// and result -> conditions. It is pure: the clock is passed in, and equal arguments give an
// equal status, so that nothing is written when nothing changed.
//
// What a trainer reports comes from a container that anyone may have built, so it is
// bounded and cleaned here before it is believed.
//
// The package imports the API and k8s.io/api; no client.
package status
