// Package storagetest has what remote storage is tested with: servers of the object stores, a hub that speaks the hub's
// API, and a proxy that does to them what networks do.
package storagetest
