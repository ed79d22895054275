package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed templates/*.gohtml
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// policy lets the page load its own files, talk to its own origin and post
// its form there; nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Handler serves the page and its assets. Make one with [NewHandler]. Safe for
// concurrent use as far as its page function is.
type Handler struct {
	mux    *http.ServeMux
	page   func(context.Context) Page
	log    *slog.Logger
	tmpl   *template.Template
	assets map[string]asset  // by path
	names  map[string]string // by name, the path with the content's hash in it
}

type asset struct {
	contentType string
	body        []byte
}

// NewHandler returns a handler for GET / and for the page's assets under
// /assets/; every other path is answered 404. It calls page once per request,
// with the request's context. Nil logger means no log. It panics where page is
// nil.
func NewHandler(page func(context.Context) Page, logger *slog.Logger) *Handler {
	if page == nil {
		panic("web: NewHandler: page is nil")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{mux: http.NewServeMux(), page: page, log: logger, assets: map[string]asset{}, names: map[string]string{}}
	h.tmpl = template.Must(template.New("page").Funcs(funcs()).ParseFS(templateFiles, "templates/*.gohtml"))
	h.loadAssets()
	h.mux.HandleFunc("GET /{$}", h.servePage)
	h.mux.HandleFunc("GET /assets/{name}", h.serveAsset)
	return h
}

// ServeHTTP is for [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func funcs() template.FuncMap {
	return template.FuncMap{
		"span": span, "count": count[int64], "countInt": count[int], "size": size, "money": money,
		"stamp": stamp, "clock": clock, "moment": moment, "plural": plural, "slug": slug, "shortAgent": shortAgent,
	}
}

// loadAssets names each file by its content, so that a browser may keep it for
// ever and a new build is seen at once. The files are part of the binary:
// their absence is a mistake in the build.
func (h *Handler) loadAssets() {
	types := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		panic(fmt.Sprintf("web: embedded assets: %v", err))
	}

	for _, e := range entries {
		body, err := fs.ReadFile(assetFiles, path.Join("assets", e.Name()))
		if err != nil {
			panic(fmt.Sprintf("web: embedded asset %s: %v", e.Name(), err))
		}
		ext := path.Ext(e.Name())
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		h.assets[hashed] = asset{types[ext], body}
		h.names[e.Name()] = "assets/" + hashed
	}
}

func (h *Handler) servePage(w http.ResponseWriter, r *http.Request) {
	p := h.page(r.Context())
	h.write(w, r, http.StatusOK, "page", newView(&p, h.names))
}

// write renders a template as the answer.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var buf bytes.Buffer
	// Into a buffer first: a page that cannot be rendered must not begin
	// with 200.
	if err := h.tmpl.ExecuteTemplate(&buf, name, data); err != nil {
		h.log.ErrorContext(r.Context(), "render status page", "template", name, "error", err)
		http.Error(w, "The status page could not be rendered; the log says why.", http.StatusInternalServerError)
		return
	}

	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", policy)
	head.Set("Cache-Control", "no-store")
	head.Set("Vary", "Accept-Encoding")
	secure(head)

	if !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		w.WriteHeader(status)
		_, _ = w.Write(buf.Bytes()) // a reader who left is no error of ours
		return
	}

	// A tenth of the size, as a reader's browser asks every few seconds.
	head.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		panic(fmt.Sprintf("web: gzip: %v", err)) // for a level that does not exist
	}

	_, _ = z.Write(buf.Bytes()) // as above
	_ = z.Close()               // as above
}

// acceptsGzip reports whether the lines of an Accept-Encoding header name
// gzip and do not rule it out with q=0 (RFC 9110 §12.5.3).
func acceptsGzip(header []string) bool {
	for part := range strings.SplitSeq(strings.Join(header, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		q, found := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
		return !found || strings.Trim(q, "0.") != ""
	}
	return false
}

func (h *Handler) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := h.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	head := w.Header()
	head.Set("Content-Type", a.contentType)
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	secure(head)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

func secure(head http.Header) {
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// shortAgent names the browser and the platform of a user agent for a narrow
// column; the full value stands beside it.
func shortAgent(agent string) string {
	// The order matters: Edge and Opera call themselves Chrome too, and
	// Chrome calls itself Safari.
	browsers := []struct{ token, name string }{
		{"Edg/", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"CriOS/", "Chrome"},
		{"FxiOS/", "Firefox"},
		{"Chrome/", "Chrome"},
		{"Firefox/", "Firefox"},
		{"Version/", "Safari"},
	}

	platforms := []struct{ token, name string }{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"Windows", "Windows"},
		{"Macintosh", "macOS"},
		{"CrOS", "ChromeOS"},
		{"Linux", "Linux"},
	}

	name := ""
	for _, b := range browsers {
		if _, after, ok := strings.Cut(agent, b.token); ok {
			version, _, _ := strings.Cut(after, ".")
			if len(version) > 4 {
				version = ""
			}
			name = strings.TrimSpace(b.name + " " + version)
			break
		}
	}

	if name == "" {
		product, _, _ := strings.Cut(agent, " ")
		return product
	}

	for _, p := range platforms {
		if strings.Contains(agent, p.token) {
			return name + ", " + p.name
		}
	}

	return name
}
