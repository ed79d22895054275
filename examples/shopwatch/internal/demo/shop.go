package demo

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed shop
var shopFiles embed.FS

// ShopOptions holds the settings of a [Shop]. The zero value is ready to use.
type ShopOptions struct {
	Addr    string        // loopback address to listen on. Defaults to 127.0.0.1:0.
	Step    time.Duration // between price changes. Defaults to 12s; negative is refused.
	PerPage int           // items on a page. Defaults to 6; negative means all on one.
	Delay   time.Duration // before each answer, as a distant server has. Defaults to none.
	Logger  *slog.Logger  // nil means no log
}

// Shop is a small shop site: a catalogue in pages, one listing per category, a
// page per item, with schema.org microdata, robots.txt and a site map. All
// methods are safe for concurrent use.
type Shop struct {
	opts     ShopOptions
	opened   time.Time
	tmpl     *template.Template
	requests atomic.Int64
	*server
}

// StartShop opens the shop: its prices begin to move now. ctx bounds the start
// only. Nil opts means all defaults.
func StartShop(ctx context.Context, opts *ShopOptions) (*Shop, error) {
	s := &Shop{opened: time.Now()}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Step < 0 || s.opts.Delay < 0 {
		return nil, fmt.Errorf("demo: start shop: Step %v, Delay %v: must not be negative", s.opts.Step, s.opts.Delay)
	}

	if s.opts.Step == 0 {
		s.opts.Step = 12 * time.Second
	}

	switch {
	case s.opts.PerPage == 0:
		s.opts.PerPage = 6
	case s.opts.PerPage < 0:
		s.opts.PerPage = len(stock)
	}

	s.opts.Logger = orDiscard(s.opts.Logger)
	s.tmpl = template.Must(template.New("").Funcs(template.FuncMap{"euro": euro, "decimal": decimal}).
		ParseFS(shopFiles, "shop/*.gohtml"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.catalogue)
	mux.HandleFunc("GET /page/{n}", s.catalogue)
	mux.HandleFunc("GET /category/{category}", s.catalogue)

	mux.HandleFunc("GET /category/{category}/page/{n}", s.catalogue)
	mux.HandleFunc("GET /item/{slug}", s.item)
	mux.HandleFunc("GET /basket", s.basket)
	mux.HandleFunc("GET /robots.txt", s.robots)
	mux.HandleFunc("GET /sitemap.xml", s.sitemap)
	mux.HandleFunc("GET /shop.css", s.file)
	mux.HandleFunc("GET /icon.svg", s.file)

	var err error
	s.server, err = startServer(ctx, "shop", s.opts.Addr, s.count(mux), s.opts.Logger)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is the address that the shop listens on.
func (s *Shop) Addr() string { return s.addr }

// URL is the address of the catalogue's first page.
func (s *Shop) URL() string { return "http://" + s.addr + "/" }

// Requests is how many requests the shop has had.
func (s *Shop) Requests() int64 { return s.requests.Load() }

// Close shuts the shop and waits for its requests for at most 2 s. It may be
// called more than once.
func (s *Shop) Close() error { return s.close() }

func (s *Shop) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.opts.Delay > 0 {
			select {
			case <-time.After(s.opts.Delay):
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Shop) now() []Product { return At(time.Since(s.opened), s.opts.Step) }

// listing is the data of a page of the catalogue or of a category.
type listing struct {
	Title      string
	Categories []link
	Products   []Product
	Pages      []link
	Prev, Next string
	From, To   int
	Total      int
}

type link struct {
	Name, URL string
	Current   bool
}

func (s *Shop) catalogue(w http.ResponseWriter, r *http.Request) {
	products := s.now()
	base, title := "", "All products"

	if category := r.PathValue("category"); category != "" {
		products = slices.DeleteFunc(products, func(p Product) bool { return strings.ToLower(p.Category) != category })
		if len(products) == 0 {
			s.missing(w)
			return
		}
		base, title = "/category/"+category, products[0].Category
	}

	pages := max(1, (len(products)+s.opts.PerPage-1)/s.opts.PerPage)
	n := 1

	if text := r.PathValue("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > pages {
			s.missing(w)
			return
		}
	}

	from := (n - 1) * s.opts.PerPage
	to := min(from+s.opts.PerPage, len(products))
	l := listing{Title: title, Products: products[from:to], From: from + 1, To: to, Total: len(products)}

	address := func(n int) string {
		if n == 1 {
			return base + "/"
		}
		return base + "/page/" + strconv.Itoa(n)
	}

	if base != "" {
		plain := address
		address = func(n int) string { return strings.TrimSuffix(plain(n), "/") }
	}
	for i := 1; i <= pages; i++ {
		l.Pages = append(l.Pages, link{strconv.Itoa(i), address(i), i == n})
	}

	if n > 1 {
		l.Prev = address(n - 1)
	}
	if n < pages {
		l.Next = address(n + 1)
	}
	l.Categories = categories(title)

	s.render(w, http.StatusOK, "listing", l)
}

func categories(current string) []link {
	links := []link{{"All products", "/", current == "All products"}}
	for i, p := range stock {
		if i == 0 || stock[i-1].category != p.category {
			links = append(links, link{p.category, "/category/" + strings.ToLower(p.category), current == p.category})
		}
	}
	return links
}

func (s *Shop) item(w http.ResponseWriter, r *http.Request) {
	for _, p := range s.now() {
		if p.Slug == r.PathValue("slug") {
			s.render(w, http.StatusOK, "item", struct {
				Title      string
				Categories []link
				Product
			}{p.Name, categories(p.Category), p})
			return
		}
	}
	s.missing(w)
}

func (s *Shop) basket(w http.ResponseWriter, _ *http.Request) {
	s.render(w, http.StatusOK, "basket", listing{Title: "Basket", Categories: categories("")})
}

func (s *Shop) missing(w http.ResponseWriter) {
	s.render(w, http.StatusNotFound, "missing", listing{Title: "Not found", Categories: categories("")})
}

func (s *Shop) render(w http.ResponseWriter, status int, name string, data any) {
	var buf bytes.Buffer
	if err := s.tmpl.ExecuteTemplate(&buf, name, data); err != nil {
		s.opts.Logger.Error("render shop page", "page", name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // a reader who left is no error of ours
}

func (s *Shop) robots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "User-agent: *\nAllow: /\nDisallow: /basket\n\nSitemap: %ssitemap.xml\n", s.URL())
}

func (s *Shop) sitemap(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n")
	for _, p := range s.now() {
		fmt.Fprintf(&b, "<url><loc>%sitem/%s</loc></url>\n", s.URL(), p.Slug)
	}
	b.WriteString("</urlset>\n")
	_, _ = w.Write([]byte(b.String()))
}

// file serves one of the shop's own files.
func (s *Shop) file(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, shopFiles, "shop"+r.URL.Path)
}

func euro(cents int64) string { return "€" + decimal(cents) }

func decimal(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
