package storagetest

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Repo is a repository of a Hub.
type Repo struct {
	// Commits are the files at each commit; Branches lead to one.
	Commits  map[string]map[string][]byte
	Branches map[string]string
	// Gated asks for the Hub's token.
	Gated bool
}

// Hub speaks as much of the hub's API as a reader needs: revisions, trees in pages of two, and files, of which those from
// LFS bytes on are at another address.
type Hub struct {
	*httptest.Server
	// CDN is where large files are.
	CDN *httptest.Server
	// Repos are by their kind and name, as models/org/name.
	Repos map[string]Repo
	Token string
	LFS   int
	// Leaked says that the token came to the CDN.
	Leaked bool
}

// NewHub starts a hub.
func NewHub(t testing.TB) *Hub {
	h := &Hub{Repos: map[string]Repo{}, LFS: 1024, Token: "hf_" + SecretKey}
	h.CDN = httptest.NewServer(http.HandlerFunc(h.cdn))
	t.Cleanup(h.CDN.Close)
	api, files := http.NewServeMux(), http.NewServeMux()
	api.HandleFunc("GET /api/{kind}/{org}/{name}/revision/{revision}", h.revision)
	api.HandleFunc("GET /api/{kind}/{org}/{name}/tree/{commit}/{path...}", h.tree)
	api.HandleFunc("GET /api/{kind}/{org}/{name}/tree/{commit}", h.tree)
	files.HandleFunc("GET /{org}/{name}/resolve/{commit}/{path...}", h.file)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/"):
			api.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/datasets/"):
			r = r.WithContext(context.WithValue(r.Context(), datasets{}, true))
			http.StripPrefix("/datasets", files).ServeHTTP(w, r)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// Commit is a commit's hash, 40 hex digits, that follows from a word.
func Commit(word string) string {
	sum := sha1.Sum([]byte(word))
	return hex.EncodeToString(sum[:])
}

func (h *Hub) repo(w http.ResponseWriter, r *http.Request, kind string) (Repo, bool) {
	repo, ok := h.Repos[kind+"/"+r.PathValue("org")+"/"+r.PathValue("name")]
	token := r.Header.Get("Authorization")
	switch {
	case token != "" && token != "Bearer "+h.Token:
		refuse(w, http.StatusUnauthorized, "")
	case !ok && token == "":
		refuse(w, http.StatusUnauthorized, "RepoNotFound")
	case !ok:
		refuse(w, http.StatusNotFound, "RepoNotFound")
	case repo.Gated && token == "":
		refuse(w, http.StatusForbidden, "GatedRepo")
	default:
		return repo, true
	}
	return repo, false
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Error-Code", code)
	w.WriteHeader(status)
}

func (h *Hub) revision(w http.ResponseWriter, r *http.Request) {
	repo, ok := h.repo(w, r, r.PathValue("kind"))
	if !ok {
		return
	}
	commit, ok := repo.Branches[r.PathValue("revision")]
	if !ok {
		refuse(w, http.StatusNotFound, "RevisionNotFound")
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"id": r.PathValue("org") + "/" + r.PathValue("name"), "sha": commit})
}

func (h *Hub) tree(w http.ResponseWriter, r *http.Request) {
	repo, ok := h.repo(w, r, r.PathValue("kind"))
	if !ok {
		return
	}
	var entries []map[string]any
	prefix := r.PathValue("path")
	for name, content := range repo.Commits[r.PathValue("commit")] {
		if prefix != "" && !strings.HasPrefix(name, prefix+"/") {
			continue
		}
		git := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...))
		e := map[string]any{"type": "file", "path": name, "size": len(content), "oid": hex.EncodeToString(git[:])}
		if len(content) >= h.LFS {
			sum := sha256.Sum256(content)
			pointer := fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n", sum, len(content))
			git := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(pointer)), pointer...))
			e["oid"] = hex.EncodeToString(git[:])
			e["lfs"] = map[string]any{"oid": hex.EncodeToString(sum[:]), "size": len(content), "pointerSize": len(pointer)}
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		refuse(w, http.StatusNotFound, "EntryNotFound")
		return
	}
	entries = append(entries, map[string]any{"type": "directory", "path": "folder", "size": 0, "oid": Commit("folder")})
	slices.SortFunc(entries, func(a, b map[string]any) int { return strings.Compare(a["path"].(string), b["path"].(string)) })
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	to := min(from+2, len(entries))
	if to < len(entries) {
		q := r.URL.Query()
		q.Set("cursor", strconv.Itoa(to))
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, h.URL, r.URL.EscapedPath(), q.Encode()))
	}
	_ = json.NewEncoder(w).Encode(entries[from:to])
}

// datasets marks a request for a dataset's file.
type datasets struct{}

func (h *Hub) file(w http.ResponseWriter, r *http.Request) {
	kind := "models"
	if r.Context().Value(datasets{}) != nil {
		kind = "datasets"
	}
	repo, ok := h.repo(w, r, kind)
	if !ok {
		return
	}
	content, ok := repo.Commits[r.PathValue("commit")][r.PathValue("path")]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound")
		return
	}
	if len(content) >= h.LFS {
		// As the real one's, the address is signed: whoever has it may read.
		q := url.Values{"key": {kind + "/" + r.PathValue("org") + "/" + r.PathValue("name")}, "commit": {r.PathValue("commit")}, "path": {r.PathValue("path")}, "Signature": {SecretKey}}
		http.Redirect(w, r, h.CDN.URL+"/blob?"+q.Encode(), http.StatusFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func (h *Hub) cdn(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		h.Leaked = true
	}
	q := r.URL.Query()
	content, ok := h.Repos[q.Get("key")].Commits[q.Get("commit")][q.Get("path")]
	if !ok || q.Get("Signature") != SecretKey {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
