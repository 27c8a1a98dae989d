// Package remote opens hf://, s3://, gs:// and azblob:// URIs.
//
// It is apart from package storage because the clients of the object stores are large: only the trainer's main imports
// it, and passes Opener.Open on.
package remote
