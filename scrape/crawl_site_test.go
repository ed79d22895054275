package scrape_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// asked is a site that keeps what was asked for.
type asked struct {
	mu    sync.Mutex
	paths []string
	pages map[string]http.HandlerFunc // by path
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.paths = append(a.paths, r.Host+r.URL.RequestURI())
	a.mu.Unlock()
	if page, ok := a.pages[r.URL.Path]; ok {
		page(w, r)
		return
	}
	http.NotFound(w, r)
}

// html serves a page of HTML with links.
func html(head string, links ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!DOCTYPE html><html><head><title>x</title>%s</head><body>\n", head)
		for _, link := range links {
			fmt.Fprintln(w, link)
		}
	}
}

// redirect leads elsewhere.
func redirect(to string) http.HandlerFunc { return status(http.StatusFound, "Location", to) }

// visits crawls from one seed and returns the paths for which the function was
// called, with the status. Links are lines that begin with a / or with http.
func visits(t *testing.T, c *scrape.Client, seed string, opts *scrape.CrawlOptions) []string {
	t.Helper()
	var mu sync.Mutex
	var list []string
	err := c.Crawl(t.Context(), []scrape.Request{{URL: seed}}, opts, func(v *scrape.Visit) error {
		line := strings.TrimPrefix(v.Request.URL, "http://")
		_, line, _ = strings.Cut(line, "/")
		if v.Err != nil {
			line += " error"
		} else if v.Response.StatusCode != http.StatusOK {
			line += fmt.Sprint(" ", v.Response.StatusCode)
		}
		mu.Lock()
		list = append(list, "/"+line)
		mu.Unlock()
		if v.Err != nil {
			return scrape.ErrSkip
		}
		page, err := io.ReadAll(v.Response.Body)
		for line := range strings.Lines(string(page)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") || strings.HasPrefix(line, "http") || strings.HasPrefix(line, "./") {
				v.Add(line)
			}
		}
		return err
	})
	if err != nil {
		t.Errorf("Crawl = %v", err)
	}
	slices.Sort(list)
	return list
}

func TestCrawlOfSites(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		pages map[string]http.HandlerFunc
		opts  scrape.CrawlOptions
		want  []string // calls of the function
		asked int      // requests for pages
	}{
		{"two ways to one page", map[string]http.HandlerFunc{
			"/": html("", "/old", "/new", "/older"), "/old": redirect("/new"), "/older": redirect("/old"), "/new": html("", "/"),
		}, scrape.CrawlOptions{Workers: 1}, []string{"/", "/new"}, 7},
		{"redirects alone lead to a page", map[string]http.HandlerFunc{
			"/": html("", "/a", "/b"), "/a": redirect("/c"), "/b": redirect("/c"), "/c": html("", "/c"),
		}, scrape.CrawlOptions{Workers: 1}, []string{"/", "/a"}, 5},
		{"a page that wants a cookie first", map[string]http.HandlerFunc{
			"/": func(w http.ResponseWriter, r *http.Request) {
				if _, err := r.Cookie("ok"); err != nil {
					http.Redirect(w, r, "/cookie", http.StatusFound)
					return
				}
				html("", "/a")(w, r)
			},
			"/cookie": func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "ok", Value: "1"})
				http.Redirect(w, r, "/", http.StatusFound)
			},
			"/a": html(""),
		}, scrape.CrawlOptions{}, []string{"/", "/a"}, 4},
		{"a redirect out of scope", map[string]http.HandlerFunc{
			"/": html("", "/out", "/excluded"), "/out": redirect("http://elsewhere.example.com/"), "/excluded": redirect("/x/1"), "/x/1": html(""),
		}, scrape.CrawlOptions{Exclude: []string{"/x/"}}, []string{"/", "/excluded 302", "/out 302"}, 3},
		{"a loop of redirects", map[string]http.HandlerFunc{
			"/": html("", "/loop"), "/loop": redirect("/loop"),
		}, scrape.CrawlOptions{}, []string{"/", "/loop error"}, 12},
		{"nofollow in the header", map[string]http.HandlerFunc{
			"/": status(200, "X-Robots-Tag", "noindex, nofollow"),
		}, scrape.CrawlOptions{}, []string{"/"}, 1},
		{"nofollow in the page", map[string]http.HandlerFunc{
			"/": html(`<META NAME="Robots" CONTENT="index,NoFollow">`, "/a"), "/a": html(""),
		}, scrape.CrawlOptions{}, []string{"/"}, 1},
		{"none, passed over", map[string]http.HandlerFunc{
			"/": html(`<meta name=robots content=none>`, "/a"), "/a": html(""),
		}, scrape.CrawlOptions{IgnoreNoFollow: true}, []string{"/", "/a"}, 2},
		{"nofollow for another agent", map[string]http.HandlerFunc{
			"/": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Robots-Tag", "otherbot: noindex, nofollow")
				html(`<meta name="otherbot" content="nofollow">`, "/a")(w, r)
			},
			"/a": html(""),
		}, scrape.CrawlOptions{}, []string{"/", "/a"}, 2},
		{"nofollow behind the head is none", map[string]http.HandlerFunc{
			"/": html(`</head><body><meta name="robots" content="nofollow">`, "/a"), "/a": html(""),
		}, scrape.CrawlOptions{}, []string{"/", "/a"}, 2},
		{"a base", map[string]http.HandlerFunc{
			"/": html(`<base href="/sub/">`, "./a"), "/sub/a": html(""),
		}, scrape.CrawlOptions{}, []string{"/", "/sub/a"}, 2},
		{"ids of sessions, by the canonical address", map[string]http.HandlerFunc{
			"/": html(`<link rel="canonical" href="/">`, "/p?sid=1", "/p?sid=2"),
			"/p": func(w http.ResponseWriter, r *http.Request) {
				html(`<link rel='alternate canonical' href='/p'>`, "/p?sid="+r.FormValue("sid")+"x", "/p")(w, r)
			},
		}, scrape.CrawlOptions{Canonical: true, Workers: 1}, []string{"/", "/p?sid=1"}, 4},
		{"a canonical address counts for nothing unless asked", map[string]http.HandlerFunc{
			"/": html(`<link rel="canonical" href="/">`, "/a", "/b"), "/a": html(`<link rel="canonical" href="/">`), "/b": html(`<link rel="canonical" href="/a">`),
		}, scrape.CrawlOptions{}, []string{"/", "/a", "/b"}, 3},
		{"ids of sessions, rewritten", map[string]http.HandlerFunc{
			"/": html("", "/p?sid=1", "/p?sid=2&q=1", "/p?q=1"), "/p": html("", "/p?sid=9"),
		}, scrape.CrawlOptions{Rewrite: func(u *url.URL) {
			q := u.Query()
			q.Del("sid")
			u.RawQuery = q.Encode()
		}}, []string{"/", "/p", "/p?q=1"}, 3},
		{"addresses that grow", map[string]http.HandlerFunc{
			"/": func(w http.ResponseWriter, r *http.Request) {
				html("", "/?"+r.URL.RawQuery+strings.Repeat("x", 400))(w, r)
			},
		}, scrape.CrawlOptions{Include: nil, MaxPages: 50}, nil, 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			site := &asked{pages: tc.pages}
			server := newSite(t, site.ServeHTTP)
			c := newClient(t, options(scrape.Direct()))
			got := visits(t, c, server.URL, &tc.opts)
			if diff := cmp.Diff(tc.want, got); tc.want != nil && diff != "" {
				t.Errorf("visits (-want +got):\n%s", diff)
			}
			if len(site.paths) != tc.asked {
				t.Errorf("%d requests, want %d: %q", len(site.paths), tc.asked, site.paths)
			}
		})
	}
}

// TestCrawlTellsOfThePage: what a page says of itself.
func TestCrawlTellsOfThePage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("<!-- padding -->", 10_000)
	for _, tc := range []struct {
		name, header, link, page, agent string
		noIndex, noFollow               bool
		canonical                       string
	}{
		{name: "nothing", page: "<p>x"},
		{name: "header", header: "NOINDEX", page: "x", noIndex: true},
		{name: "one of several agents", header: "a: noindex, b: nofollow", agent: "b", page: "x", noFollow: true},
		{name: "a word with a value is no agent", header: "unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", page: "x", noIndex: true},
		{name: "Link", link: `</style.css>; rel="preload", <https://example.com/a>; title="x"; rel=canonical`, page: "x", canonical: "https://example.com/a"},
		{name: "element", page: `<head><link rel=canonical href="//example.com/b?q=a b"></head>`, canonical: "http://example.com/b?q=a%20b"},
		{name: "not in a script", page: `<head><script>"<link rel=canonical href=/x>"</script><meta name=robots content=noindex>`, noIndex: true},
		{name: "not in a comment", page: `<!-- <meta name=robots content=noindex> -->`},
		{name: "no address", page: `<link rel=canonical href="javascript:1">`},
		{name: "too far away", page: long + `<meta name=robots content=noindex>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				if tc.header != "" {
					w.Header().Set("X-Robots-Tag", tc.header)
				}
				if tc.link != "" {
					w.Header().Set("Link", tc.link)
				}
				fmt.Fprint(w, tc.page)
			})
			opts := options(scrape.Direct())
			opts.Robots.Agent = tc.agent
			c := newClient(t, opts)
			err := c.Crawl(t.Context(), []scrape.Request{{URL: server.URL}}, nil, func(v *scrape.Visit) error {
				if v.NoIndex() != tc.noIndex || v.NoFollow() != tc.noFollow || v.Canonical() != tc.canonical {
					t.Errorf("noindex %v, nofollow %v, canonical %q", v.NoIndex(), v.NoFollow(), v.Canonical())
				}
				page, err := io.ReadAll(v.Response.Body)
				if string(page) != tc.page {
					t.Errorf("the body has %d bytes, want %d", len(page), len(tc.page))
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCrawlOfASeedThatMoved: the host that a seed leads to is in scope if it is
// of the same site and the caller named none.
func TestCrawlOfASeedThatMoved(t *testing.T) {
	t.Parallel()
	proxy := sockstest.Start(t)
	var port string
	pages := map[string]http.HandlerFunc{
		"/a": html(""), "/b": html(""),
		"/": func(w http.ResponseWriter, r *http.Request) {
			switch r.Host {
			case "shop.example.com:" + port:
				http.Redirect(w, r, "http://www.example.com:"+port+"/", http.StatusMovedPermanently)
			case "other.example.com:" + port:
				http.Redirect(w, r, "http://example.org:"+port+"/", http.StatusMovedPermanently)
			default:
				html("", "/a", "http://shop.example.com:"+port+"/b", "http://example.org:"+port+"/")(w, r)
			}
		},
	}
	server := newSite(t, (&asked{pages: pages}).ServeHTTP)
	port = portOf(server.URL)
	for _, tc := range []struct {
		seed  string
		hosts []string
		want  []string
	}{
		{"shop.example.com", nil, []string{"/", "/a", "/b"}},
		{"shop.example.com", []string{"shop.example.com:" + port}, []string{"/ 301"}},
		{"other.example.com", nil, []string{"/ 301"}},
	} {
		c := newClient(t, options(scrape.SOCKS(proxy.Addr)))
		dir := t.TempDir()
		opts := &scrape.CrawlOptions{Hosts: tc.hosts, Dir: dir, MaxPages: 2}
		got := visits(t, c, "http://"+tc.seed+":"+port, opts)
		opts.MaxPages = 0
		got = append(got, visits(t, c, "http://"+tc.seed+":"+port, opts)...) // goes on where the limit was
		slices.Sort(got)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s, hosts %q (-want +got):\n%s", tc.seed, tc.hosts, diff)
		}
	}
}

func portOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Port()
}

func TestCrawlSitemaps(t *testing.T) {
	t.Parallel()
	packed := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			var out bytes.Buffer
			z := gzip.NewWriter(&out)
			fmt.Fprint(z, text)
			_ = z.Close() // to memory
			_, _ = w.Write(out.Bytes())
		}
	}
	serve := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	const begin = `<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">`
	page := html("")
	for _, tc := range []struct {
		name  string
		pages map[string]http.HandlerFunc
		want  []string
		asked int
	}{
		{"none", map[string]http.HandlerFunc{"/": page}, []string{"/"}, 3},
		{"/sitemap.xml", map[string]http.HandlerFunc{
			"/": page, "/sitemap.xml": serve("\ufeff" + begin + "<url><loc>\n /a?x=1&amp;y=2 </loc><image:image><image:loc>/i</image:loc></image:image></url><url><loc><![CDATA[/b]]></loc></url><url><loc>http://elsewhere.example.com/</loc></url><url><loc>/</loc></url></urlset>"), "/a": page, "/b": page,
		}, []string{"/", "/a?x=1&y=2", "/b"}, 5},
		{"an index of packed ones, named by robots.txt", map[string]http.HandlerFunc{
			"/": page, "/robots.txt": serve("Sitemap: /index.xml\nUser-agent: *\nDisallow: /b\n"),
			"/index.xml": serve("<sitemapindex><sitemap><loc>/1.xml.gz</loc><lastmod>2026-01-01</lastmod></sitemap><sitemap><loc>/2.txt</loc></sitemap><sitemap><loc>/index.xml</loc></sitemap></sitemapindex>"),
			"/1.xml.gz":  packed(begin + "<url><loc>/a</loc></url><url><loc>/b</loc></url></urlset>"),
			"/2.txt":     serve("http://" + hostOfSite + "/c\n\n# no address\n"), "/a": page, "/b": page, "/c": page,
		}, []string{"/", "/a", "/b error", "/c"}, 7},
		{"an index in an index is not followed", map[string]http.HandlerFunc{
			"/": page, "/sitemap.xml": serve("<sitemapindex><sitemap><loc>/2.xml</loc></sitemap></sitemapindex>"),
			"/2.xml": serve("<sitemapindex><sitemap><loc>/3.xml</loc></sitemap></sitemapindex>"),
		}, []string{"/"}, 4},
		{"cut short", map[string]http.HandlerFunc{
			"/": page, "/sitemap.xml": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "10000")
				fmt.Fprint(w, begin, "<url><loc>/a</loc></url><url><lo")
			}, "/a": page,
		}, []string{"/", "/a"}, 4},
		{"broken", map[string]http.HandlerFunc{
			"/": page, "/robots.txt": serve("Sitemap: /1\nSitemap: ftp://x/\nSitemap: http://%zz\nSitemap: /2\n"), "/1": status(503), "/2": serve("\x1f\x8b no gzip"),
		}, []string{"/"}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			site := &asked{pages: tc.pages}
			server := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				site.ServeHTTP(&named{w, r.Host}, r)
			})
			opts := options(scrape.Direct())
			opts.Robots = scrape.Robots{}
			opts.Retry.Attempts = -1
			c := newClient(t, opts)
			got := visits(t, c, server.URL, &scrape.CrawlOptions{Sitemaps: true})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("visits (-want +got):\n%s", diff)
			}
			if len(site.paths) != tc.asked {
				t.Errorf("%d requests, want %d: %q", len(site.paths), tc.asked, site.paths)
			}
		})
	}
}

// hostOfSite stands for the site's own host in what it serves.
const hostOfSite = "host.of.site"

// named writes the host in place of hostOfSite.
type named struct {
	http.ResponseWriter
	host string
}

// Write writes.
func (n *named) Write(p []byte) (int, error) {
	_, err := n.ResponseWriter.Write(bytes.ReplaceAll(p, []byte(hostOfSite), []byte(n.host)))
	return len(p), err
}

// TestCrawlSitemapResumes: pages of a large sitemap that were not fetched are
// known the next time, and the sitemap is not read again.
func TestCrawlSitemapResumes(t *testing.T) {
	t.Parallel()
	pages := 12_000 // more than wait in memory
	var text strings.Builder
	for i := range pages {
		fmt.Fprintf(&text, "<url><loc>/p/%d</loc></url>", i)
	}
	site := &asked{pages: map[string]http.HandlerFunc{"/": html(""), "/sitemap.xml": func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<urlset>", text.String(), "</urlset>")
	}}}
	server := newSite(t, site.ServeHTTP)
	c := newClient(t, options(scrape.Direct()))
	dir := t.TempDir()
	seeds := []scrape.Request{{URL: server.URL}}
	var last scrape.Progress
	opts := &scrape.CrawlOptions{Sitemaps: true, Dir: dir, MaxPages: 100, OnProgress: func(p scrape.Progress) { last = p }}
	visit := func(v *scrape.Visit) error { return v.Err }
	for _, most := range []int{100, 200, 300} {
		opts.MaxPages = most
		if err := c.Crawl(t.Context(), seeds, opts, visit); err != nil {
			t.Fatal(err)
		}
	}
	if last.Done != 300 || last.Limit != "MaxPages 300" || last.HostDone != 100 {
		t.Errorf("%+v", last)
	}
	counts := map[string]int{}
	for _, path := range site.paths {
		counts[path]++
	}
	for path, n := range counts {
		if n > 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	if len(counts) != 301 {
		t.Errorf("%d addresses, want 300 pages and a sitemap", len(counts))
	}
}

// TestCrawlMaxElapsed: a host that waits does not hold up the end.
func TestCrawlMaxElapsed(t *testing.T) {
	t.Parallel()
	server := newSite(t, status(http.StatusTooManyRequests, "Retry-After", "60"))
	opts := options(scrape.Direct())
	opts.Retry = scrape.Retry{Attempts: 3, Max: 2 * time.Minute}
	c := newClient(t, opts)
	began := time.Now()
	err := c.Crawl(t.Context(), []scrape.Request{{URL: server.URL}}, &scrape.CrawlOptions{MaxElapsed: 300 * time.Millisecond}, func(*scrape.Visit) error {
		return errors.New("was called")
	})
	if took := time.Since(began); err != nil || took > testenv.Within(20*time.Second, 40*time.Second) {
		t.Errorf("Crawl = %v after %v", err, took)
	}
}

// TestARobotsTxtThatHangsKeepsOneWorker: the pages of other hosts are fetched
// while a robots.txt does not come.
func TestARobotsTxtThatHangsKeepsOneWorker(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			<-release
		}
	})
	other := newSite(t, func(http.ResponseWriter, *http.Request) {})
	opts := options(scrape.Direct())
	opts.Robots = scrape.Robots{}
	c := newClient(t, opts)
	var seeds []scrape.Request
	for i := range 8 {
		seeds = append(seeds, scrape.Request{URL: fmt.Sprintf("%s/%d", slow.URL, i)})
	}
	for i := range 8 {
		seeds = append(seeds, scrape.Request{URL: fmt.Sprintf("%s/%d", other.URL, i)})
	}
	var mu sync.Mutex
	done := 0
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	timer := time.AfterFunc(testenv.Within(20*time.Second, time.Minute), func() {
		mu.Lock()
		defer mu.Unlock()
		if done < 8 {
			t.Errorf("%d of 8 pages of the other host", done)
		}
		free()
	})
	defer timer.Stop()
	err := c.Crawl(t.Context(), seeds, &scrape.CrawlOptions{Workers: 4}, func(v *scrape.Visit) error {
		mu.Lock()
		defer mu.Unlock()
		if done++; done == 8 {
			free()
		}
		return v.Err
	})
	if err != nil || done != 16 {
		t.Errorf("Crawl = %v, %d of 16 pages", err, done)
	}
}
