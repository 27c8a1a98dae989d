package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alignment-dev/alignment-operator/runtime/storage"
)

// Hub is the hub's address unless HF_ENDPOINT names another.
const Hub = "https://huggingface.co"

// hub is a repository of a model hub at one commit, or a file or folder in it.
type hub struct {
	opener     Opener
	endpoint   *url.URL
	kind, repo string // models or datasets; organisation/name
	revision   string // as it was asked for
	commit     string
	path       string
	client     *http.Client
	retry      storage.Retry
}

var (
	repoName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// newHub reads hf://org/name[@revision][/path] or hf://datasets/org/name[@revision][/path]. A slash in a revision is %2F.
func newHub(o Opener, u *url.URL) (*hub, error) {
	fail := func(why string) (*hub, error) {
		return nil, fmt.Errorf("%w: %s: %s", storage.ErrURI, u, why)
	}
	if u.User != nil || u.Port() != "" {
		return fail("want hf://org/name@revision/path")
	}
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	h := &hub{opener: o, kind: "models"}
	org := u.Host
	if org == "datasets" {
		h.kind, org, parts = "datasets", parts[0], parts[1:]
	}
	if len(parts) == 0 || parts[0] == "" {
		return fail("want an organisation and a name: hf://org/name@revision/path")
	}
	name, revision, has := strings.Cut(parts[0], "@")
	if has && revision == "" {
		return fail("has an empty revision")
	}
	h.revision = cmp.Or(revision, "main")
	var err error
	if h.revision, err = url.PathUnescape(h.revision); err != nil {
		return fail(err.Error())
	}
	if h.path, err = url.PathUnescape(strings.Join(parts[1:], "/")); err != nil {
		return fail(err.Error())
	}
	if !repoName.MatchString(org) || !repoName.MatchString(name) || slices.Contains(strings.Split(h.path, "/"), "..") {
		return fail("want hf://org/name@revision/path")
	}
	h.repo = org + "/" + name
	if h.endpoint, err = url.Parse(cmp.Or(o.Getenv("HF_ENDPOINT"), Hub)); err != nil || h.endpoint.Host == "" {
		return nil, fmt.Errorf("%w: HF_ENDPOINT: want https://host", storage.ErrURI)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	transport.ResponseHeaderTimeout = 30 * time.Second
	h.client = &http.Client{Transport: transport, CheckRedirect: redirect}
	return h, nil
}

// redirect follows to where large files are, without the token: its own rule would also show it to a subdomain and to
// another port.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("more than 5 redirects")
	}
	if req.URL.Host != via[0].URL.Host {
		req.Header.Del("Authorization")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect away from https")
	}
	return nil
}

// Commit is the hash of the commit that all files are of.
func (h *hub) Commit() string { return h.commit }

// resolve finds the commit of the revision, so that all that is read is of one.
func (h *hub) resolve(ctx context.Context) error {
	if commitName.MatchString(h.revision) {
		h.commit = h.revision
		return nil
	}
	var answer struct {
		SHA string `json:"sha"`
	}
	err := h.get(ctx, h.api("revision", h.revision), &answer, nil)
	if err == nil && !commitName.MatchString(answer.SHA) {
		err = fmt.Errorf("hf://%s@%s: the hub names %.50q as its commit", h.repo, h.revision, answer.SHA)
	}
	h.commit = answer.SHA
	return err
}

// api is an address of the hub's API for the repository; every element is escaped.
func (h *hub) api(elements ...string) *url.URL {
	return h.address(append([]string{"api", h.kind, h.repoOrg(), h.repoName()}, elements...)...)
}

func (h *hub) repoOrg() string  { return path.Dir(h.repo) }
func (h *hub) repoName() string { return path.Base(h.repo) }

func (h *hub) address(elements ...string) *url.URL {
	for i, e := range elements {
		elements[i] = url.PathEscape(e)
	}
	return h.endpoint.JoinPath(elements...)
}

// maxPages bounds a list: the hub sends 1,000 files a page.
const maxPages = 1000

// List reads the tree of the path. The hub promises the SHA-256 of a large file and, as Git does, the SHA-1 of a small one.
func (h *hub) List(ctx context.Context) (list []storage.Object, err error) {
	folder := h.path
	sole := false
	for {
		entries, err := h.tree(ctx, folder)
		if errors.Is(err, fs.ErrNotExist) && folder != "" && !sole {
			// It may be a file, which its folder's tree has.
			sole = true
			if folder = path.Dir(folder); folder == "." {
				folder = ""
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			o := storage.Object{Path: strings.TrimPrefix(strings.TrimPrefix(e.Path, h.path), "/"), Size: e.Size, Version: e.OID, Digest: "git:" + e.OID}
			if e.LFS != nil {
				o.Size, o.Version, o.Digest = e.LFS.Size, e.LFS.OID, "sha256:"+e.LFS.OID
			}
			switch {
			case e.Type != "file":
				continue
			case e.Path == h.path:
				o.Path, o.Sole = path.Base(h.path), true
				return []storage.Object{o}, nil
			case sole:
				continue
			}
			list = append(list, o)
		}
		if sole {
			return nil, nil
		}
		slices.SortFunc(list, func(a, b storage.Object) int { return cmp.Compare(a.Path, b.Path) })
		return list, nil
	}
}

type treeEntry struct {
	Type string `json:"type"`
	OID  string `json:"oid"`
	Size int64  `json:"size"`
	Path string `json:"path"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

func (h *hub) tree(ctx context.Context, folder string) (list []treeEntry, err error) {
	elements := []string{"tree", h.commit}
	if folder != "" {
		elements = append(elements, strings.Split(folder, "/")...)
	}
	next := h.api(elements...)
	next.RawQuery = "recursive=true"
	for range maxPages {
		var page []treeEntry
		var header http.Header
		if err := h.get(ctx, next, &page, &header); err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Size < 0 || !clean(e.Path) {
				return nil, fmt.Errorf("hf://%s: the hub lists %.100q with %d bytes", h.repo, e.Path, e.Size)
			}
		}
		list = append(list, page...)
		to := nextPage.FindStringSubmatch(header.Get("Link"))
		if to == nil {
			return list, nil
		}
		u, err := next.Parse(to[1])
		if err != nil || u.Host != h.endpoint.Host || u.Scheme != h.endpoint.Scheme { // the token goes there
			return nil, fmt.Errorf("hf://%s: the hub's next page is elsewhere", h.repo)
		}
		next = u
	}
	return nil, fmt.Errorf("hf://%s has more than %d pages of files", h.repo, maxPages)
}

// clean says whether a path that the hub sent stays in a folder.
func clean(p string) bool { return p != "." && fs.ValidPath(p) && !strings.ContainsRune(p, 0) }

var nextPage = regexp.MustCompile(`<([^>]+)>; *rel="next"`)

func (h *hub) Read(ctx context.Context, o storage.Object, offset, length int64) (io.ReadCloser, error) {
	elements := strings.Split(h.repo, "/")
	if h.kind == "datasets" {
		elements = append([]string{"datasets"}, elements...)
	}
	elements = append(elements, "resolve", h.commit)
	file := path.Join(h.path, o.Path)
	if o.Sole {
		file = h.path
	}
	elements = append(elements, strings.Split(file, "/")...)
	r, err := h.do(ctx, h.address(elements...), func(r *http.Request) {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
		r.Header.Set("Accept-Encoding", "identity")
	})
	if err != nil {
		return nil, err
	}
	switch r.StatusCode {
	case http.StatusPartialContent:
		var from int64
		if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != offset {
			r.Body.Close()
			return nil, fmt.Errorf("asked for bytes from %d on, got %q", offset, r.Header.Get("Content-Range"))
		}
	default: // all of it
		if _, err := io.CopyN(io.Discard, r.Body, offset); err != nil {
			r.Body.Close()
			return nil, h.opener.redact(err)
		}
	}
	return body{r.Body, h.opener}, nil
}

type body struct {
	io.ReadCloser
	opener Opener
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.opener.redact(err)
	}
	return n, err
}

// maxAnswer bounds what is read of an answer of the API.
const maxAnswer = 32 << 20

// get reads JSON.
func (h *hub) get(ctx context.Context, u *url.URL, into any, header *http.Header) error {
	return h.retry.Do(ctx, func() (bool, error) {
		r, err := h.do(ctx, u, func(r *http.Request) {})
		if err != nil {
			return false, err
		}
		defer r.Body.Close()
		if header != nil {
			*header = r.Header
		}
		if err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(into); err != nil {
			return false, fmt.Errorf("hf://%s: read the hub's answer: %w", h.repo, err)
		}
		return true, nil
	})
}

// do sends one request.
func (h *hub) do(ctx context.Context, u *url.URL, change func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if token := h.opener.Getenv("HF_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("User-Agent", "alignment-trainer")
	change(req)
	r, err := h.client.Do(req)
	if err != nil {
		return nil, h.opener.redact(err)
	}
	if r.StatusCode == http.StatusOK || r.StatusCode == http.StatusPartialContent {
		return r, nil
	}
	r.Body.Close()
	// The hub's word for what is wrong. Without a right to see a repository, it does not say that there is one.
	word := r.Header.Get("X-Error-Code")
	err = fmt.Errorf("hf://%s@%s: %s answers %s %s", h.repo, h.revision, u.Host, r.Status, word)
	switch {
	case r.StatusCode == http.StatusNotFound:
		return nil, &storage.Permanent{Err: fmt.Errorf("%w: %w, or HF_TOKEN may not see it", err, fs.ErrNotExist)}
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		return nil, &storage.AccessError{Missing: missing["hf"], Err: err}
	case r.StatusCode < 500 && r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusRequestTimeout:
		return nil, &storage.Permanent{Err: err}
	}
	return nil, err
}
