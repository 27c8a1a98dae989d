package remote

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// Opener opens URIs with the credentials of an environment. The variables are those that each store's own tools read:
// HF_TOKEN and HF_ENDPOINT, AWS_*, GOOGLE_APPLICATION_CREDENTIALS and STORAGE_EMULATOR_HOST, AZURE_STORAGE_*; and
// GOOGLE_CREDENTIALS_JSON, which is the content of the former's file. The clients of AWS and Azure read the process's
// own environment.
type Opener struct {
	Getenv func(string) string
}

// secrets are the variables whose values no message may hold.
var secrets = []string{
	"HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_CREDENTIALS_JSON",
	"AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING",
}

// Open returns the file or folder of a URI. Nothing is read yet but what says which revision of a hub's repository it is.
// What it returns is a storage.Bucket for s3://, gs:// and azblob://.
func (o Opener) Open(ctx context.Context, uri string) (storage.Remote, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrURI, err)
	}
	path := strings.Trim(u.Path, "/")
	switch {
	case u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return nil, fmt.Errorf("%w: %s: want scheme, host and path only; write ? as %%3F and # as %%23", storage.ErrURI, uri)
	case u.Host == "":
		return nil, fmt.Errorf("%w: %s: names no bucket or repository", storage.ErrURI, uri)
	}
	switch u.Scheme {
	case "hf":
		h, err := newHub(o, u)
		if err != nil {
			return nil, err
		}
		return h, h.resolve(ctx)
	case "s3", "gs", "azblob":
		return o.bucket(ctx, u.Scheme, u.Host, path)
	}
	return nil, fmt.Errorf("%w: %s: want hf://, s3://, gs:// or azblob://", storage.ErrURI, uri)
}

// redacted is an error without what its message must not hold: the values of secrets, and what follows ? in a URL, where
// signatures are.
type redacted struct {
	message string
	err     error
}

func (e *redacted) Error() string { return e.message }
func (e *redacted) Unwrap() error { return e.err }

func (o Opener) redact(err error) error {
	if err == nil {
		return nil
	}
	message := queries.ReplaceAllString(err.Error(), "$1?...")
	for _, name := range secrets {
		if v := o.Getenv(name); len(v) > 3 {
			message = strings.ReplaceAll(message, v, "<"+name+">")
		}
	}
	if message == err.Error() {
		return err
	}
	return &redacted{message, err}
}
