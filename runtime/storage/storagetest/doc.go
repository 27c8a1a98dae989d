// Package storagetest has what remote storage is tested with: a real S3 server's process, a hub that speaks the hub's
// API, and a proxy that does to both what networks do.
package storagetest
