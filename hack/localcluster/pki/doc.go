// Package pki makes the certificates of a cluster that lives as long as a test: one authority, a leaf per
// identity, and the key that signs service-account tokens. It only computes; files are the caller's business.
package pki
