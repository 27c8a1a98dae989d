package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	gs "cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

var queries = regexp.MustCompile(`(https?://[^\s?"]+)\?[^\s"]*`)

// bucket is a folder or file of an object store. Paths are relative to its key.
type bucket struct {
	opener Opener
	blobs  *blob.Bucket
	scheme string
	key    string // without slashes around it
}

func (o Opener) bucket(ctx context.Context, scheme, name, key string) (*bucket, error) {
	b := &bucket{opener: o, scheme: scheme, key: key}
	var err error
	switch scheme {
	case "s3":
		b.blobs, err = o.aws(ctx, name)
	case "gs":
		b.blobs, err = o.google(ctx, name)
	default:
		b.blobs, err = azure(ctx, name)
	}
	if err != nil {
		return nil, o.redact(&storage.AccessError{Missing: missing[scheme], Err: err})
	}
	return b, nil
}

// aws is not opened by its URL: gocloud's opener sets a retryer of its own, whatever AWS_MAX_ATTEMPTS says.
func (o Opener) aws(ctx context.Context, name string) (*blob.Bucket, error) {
	config, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithDefaultRegion("us-east-1"))
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(config, func(so *s3.Options) {
		// A server of one's own seldom has a name for each bucket.
		so.UsePathStyle = o.Getenv("AWS_ENDPOINT_URL")+o.Getenv("AWS_ENDPOINT_URL_S3") != ""
	})
	return s3blob.OpenBucket(ctx, client, name, &s3blob.Options{RequestChecksumCalculation: config.RequestChecksumCalculation})
}

// google takes the credentials' content too, because a Secret becomes variables more easily than a file.
func (o Opener) google(ctx context.Context, name string) (*blob.Bucket, error) {
	var options []option.ClientOption
	if text := o.Getenv("GOOGLE_CREDENTIALS_JSON"); text != "" {
		options = append(options, option.WithAuthCredentialsJSON(option.ServiceAccount, []byte(text)))
	}
	client, err := gs.NewClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	// Of itself it tries again without end, and it is storage.Retry that says how often. The chunks of a large file are
	// tried again for half a minute all the same.
	client.SetRetry(gs.WithPolicy(gs.RetryNever))
	return gcsblob.OpenBucket(ctx, nil, name, &gcsblob.Options{Client: client})
}

// azure is not opened by its URL either: gocloud's opener reads the environment once in a process.
func azure(ctx context.Context, name string) (*blob.Bucket, error) {
	service, err := azureblob.NewServiceURL(azureblob.NewDefaultServiceURLOptions())
	if err != nil {
		return nil, err
	}
	client, err := azureblob.NewDefaultClient(service, azureblob.ContainerName(name))
	if err != nil {
		return nil, err
	}
	return azureblob.OpenBucket(ctx, client, nil)
}

// missing says what a store wants to see.
var missing = map[string]string{
	"s3":     "set spec.storage.secretName to a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that may do this, or give the pod's service account that right",
	"gs":     "set spec.storage.secretName to a Secret with GOOGLE_CREDENTIALS_JSON that may do this, or give the pod's service account that right",
	"azblob": "set spec.storage.secretName to a Secret with AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN that may do this",
	"hf":     "set spec.storage.secretName to a Secret with a HF_TOKEN that may read it",
}

func (b *bucket) List(ctx context.Context) (list []storage.Object, err error) {
	if b.key != "" {
		a, err := b.blobs.Attributes(ctx, b.key)
		if err == nil {
			return []storage.Object{{Path: path.Base(b.key), Sole: true, Size: a.Size, Version: version(a.ModTime, a.Size)}}, nil
		}
		if gcerrors.Code(err) != gcerrors.NotFound {
			return nil, b.explain(err)
		}
	}
	prefix := b.name("")
	it := b.blobs.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return list, nil // they come in the order of their names
		}
		if err != nil {
			return nil, b.explain(err)
		}
		name := strings.TrimPrefix(o.Key, prefix)
		if name == "" || strings.HasSuffix(name, "/") || !fs.ValidPath(name) { // what consoles make to show a folder
			continue
		}
		list = append(list, storage.Object{Path: name, Size: o.Size, Version: version(o.ModTime, o.Size)})
	}
}

// version is all that every store says of a file in a list and with its content.
func version(modified time.Time, size int64) string {
	return fmt.Sprintf("%s %d", modified.UTC().Truncate(time.Second).Format(time.RFC3339), size)
}

func (b *bucket) name(p string) string {
	if b.key == "" {
		return p
	}
	return b.key + "/" + p
}

func (b *bucket) Read(ctx context.Context, o storage.Object, offset, length int64) (io.ReadCloser, error) {
	key := b.name(o.Path)
	if o.Sole {
		key = b.key
	}
	r, err := b.blobs.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, b.explain(err)
	}
	if o.Version != "" && version(r.ModTime(), r.Size()) != o.Version {
		r.Close()
		return nil, storage.ErrChanged
	}
	return reader{r, b}, nil
}

// reader explains its errors too.
type reader struct {
	*blob.Reader
	bucket *bucket
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.bucket.explain(err)
	}
	return n, err
}

// minPart and maxParts bound the parts of a large file: S3 allows 10,000 of them.
const (
	minPart  = 16 << 20
	maxParts = 9000
)

func (b *bucket) Put(ctx context.Context, name string, content io.ReadSeeker, size int64, create bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := &exactly{Reader: content, left: size, cancel: cancel}
	// Not by a Writer: gocloud's for Azure panics when it is closed after a failure.
	err := b.blobs.Upload(ctx, b.name(name), body, &blob.WriterOptions{
		BufferSize: int(max(minPart, size/maxParts)), MaxConcurrency: 4, IfNotExist: create, ContentType: "application/octet-stream",
	})
	if body.err != nil {
		err = body.err
	}
	return b.explain(err)
}

// exactly is a file's content, which must have as many bytes as the file had.
type exactly struct {
	io.Reader
	left   int64
	cancel func() // nothing is written by who reads less: not every client heeds a reader's error
	err    error
}

func (r *exactly) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.left -= int64(n)
	if r.left < 0 || errors.Is(err, io.EOF) && r.left > 0 {
		err = fmt.Errorf("has another size than before: %w", storage.ErrChanged)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
		r.cancel()
	}
	return n, err
}

func (b *bucket) Delete(ctx context.Context, name string) error {
	err := b.blobs.Delete(ctx, b.name(name))
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return b.explain(err)
}

// explain makes of a store's error one that says whether trying again helps, and what to do.
func (b *bucket) explain(err error) error {
	if err == nil {
		return nil
	}
	status, code := httpStatus(err), gcerrors.Code(err)
	switch {
	case errors.Is(err, storage.ErrChanged), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case code == gcerrors.FailedPrecondition || status == http.StatusPreconditionFailed || status == http.StatusConflict:
		err = fmt.Errorf("%w: %w", storage.ErrExists, err)
	case code == gcerrors.PermissionDenied || status == http.StatusUnauthorized || status == http.StatusForbidden || noCredentials(err):
		err = &storage.AccessError{Missing: missing[b.scheme], Err: err} // before NotFound, which gocloud makes of Google's 403
	case code == gcerrors.NotFound:
		err = &storage.Permanent{Err: fmt.Errorf("%w: %w", fs.ErrNotExist, err)}
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests:
	case status >= 400 && status < 500:
		if expired(err) {
			err = &storage.AccessError{Missing: missing[b.scheme], Err: err}
		} else {
			err = &storage.Permanent{Err: err}
		}
	}
	return b.opener.redact(err)
}

// noCredentials says whether a client found nothing to sign a request with, or nothing that signs. There are no types for it.
func noCredentials(err error) bool {
	text := err.Error()
	return strings.Contains(text, "get credentials") || strings.Contains(text, "failed to retrieve credentials") || strings.Contains(text, "failed to parse private key")
}

// expired is what S3 answers, with status 400, to a session that is over.
func expired(err error) bool {
	var api interface{ ErrorCode() string }
	return errors.As(err, &api) && (api.ErrorCode() == "ExpiredToken" || api.ErrorCode() == "InvalidToken" || api.ErrorCode() == "TokenRefreshRequired")
}

// httpStatus is what a server answered; 0 if none did.
func httpStatus(err error) int {
	var aws interface{ HTTPStatusCode() int }
	var azure *azcore.ResponseError
	var gs *googleapi.Error
	switch {
	case errors.As(err, &azure):
		return azure.StatusCode
	case errors.As(err, &gs):
		return gs.Code
	case errors.As(err, &aws):
		return aws.HTTPStatusCode()
	}
	return 0
}
