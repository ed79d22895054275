package web_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/web"
)

func handler(p web.Page) http.Handler {
	return web.NewHandler(func(context.Context) web.Page { return p }, nil)
}

func ask(h http.Handler, method, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec
}

func document(t *testing.T, p web.Page) *goquery.Document {
	t.Helper()
	rec := ask(handler(p), http.MethodGet, "/")
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	doc, err := goquery.NewDocumentFromReader(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	h := handler(sample())
	for name, tc := range map[string]struct {
		method, path string
		status       int
	}{
		"page":             {"GET", "/", 200},
		"head of the page": {"HEAD", "/", 200},
		"post to the page": {"POST", "/", 405},
		"another page":     {"GET", "/other", 404},
		"no asset":         {"GET", "/assets/none.css", 404},
		"asset unhashed":   {"GET", "/assets/page.css", 404},
		"folder of assets": {"GET", "/assets/", 404},
		"template":         {"GET", "/templates/page.gohtml", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if rec := ask(h, tc.method, tc.path); rec.Code != tc.status {
				t.Errorf("status %d, want %d", rec.Code, tc.status)
			}
		})
	}
}

// TestPolicy: the page allows itself its own two files, and has nothing that
// the policy would forbid.
func TestPolicy(t *testing.T) {
	t.Parallel()
	rec := ask(handler(sample()), http.MethodGet, "/")
	want := http.Header{
		"Content-Type":                 {"text/html; charset=utf-8"},
		"Cache-Control":                {"no-store"},
		"Vary":                         {"Accept-Encoding"},
		"X-Content-Type-Options":       {"nosniff"},
		"X-Frame-Options":              {"DENY"},
		"Referrer-Policy":              {"no-referrer"},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"},
	}
	if diff := cmp.Diff(want, rec.Header()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	page := rec.Body.String()
	for _, never := range []*regexp.Regexp{
		regexp.MustCompile(`<script[^>]*>[^<]`), regexp.MustCompile(`<style`), regexp.MustCompile(`\sstyle=`),
		regexp.MustCompile(`<[^>]+\son[a-z]+=`), regexp.MustCompile(`javascript:`),
	} {
		if got := never.FindString(page); got != "" {
			t.Errorf("the page holds %q", got)
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	h := handler(web.Page{})
	page := ask(h, http.MethodGet, "/").Body.String()
	got := map[string]string{}
	for _, path := range regexp.MustCompile(`assets/[^"]+`).FindAllString(page, -1) {
		path = "/" + path
		rec := ask(h, http.MethodGet, path)
		if rec.Code != http.StatusOK || rec.Body.Len() == 0 {
			t.Errorf("%s: status %d, %d bytes", path, rec.Code, rec.Body.Len())
		}
		if cache := rec.Header().Get("Cache-Control"); cache != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", path, cache)
		}
		got[path[strings.LastIndex(path, "."):]] = rec.Header().Get("Content-Type")
	}
	want := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("types of the assets (-want +got):\n%s", diff)
	}
}

// TestNothingYet: each part says so where there is nothing to show.
func TestNothingYet(t *testing.T) {
	t.Parallel()
	doc := document(t, web.Page{})
	var got []string
	doc.Find(".empty").Each(func(_ int, s *goquery.Selection) { got = append(got, s.Text()) })
	want := []string{
		"Nothing has been checked yet.",
		"No items yet. They appear with the first run.",
		"No run yet. The first one begins by itself; “Scrape now” asks for one.",
		"No receiver is configured.",
		"No request has left yet.",
		"No request has left yet.",
		"No configuration to show.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := doc.Find("table").Length(); n > 0 {
		t.Errorf("%d tables without rows", n)
	}
}

// TestOutsideTextStaysText: what comes from the shop, the mail and the log
// makes no element and no link that runs.
func TestOutsideTextStaysText(t *testing.T) {
	t.Parallel()
	doc := document(t, sample())
	if n := doc.Find("script").Length(); n != 1 {
		t.Errorf("%d script elements, want the page's own", n)
	}
	if n := doc.Find("main b").Not(".advice b").Length(); n > 0 {
		t.Errorf("%d elements from a category", n)
	}
	doc.Find("main a, form").Each(func(_ int, s *goquery.Selection) {
		to := s.AttrOr("href", s.AttrOr("action", ""))
		if !strings.HasPrefix(to, "#") && to != "scrape" && to != "api/items" && !strings.HasPrefix(to, "http://127.0.0.1:41907/") {
			t.Errorf("link to %q", to)
		}
	})
	doc.Find("[href], [src], [action]").Each(func(_ int, s *goquery.Selection) {
		if to := s.AttrOr("href", "") + s.AttrOr("src", "") + s.AttrOr("action", ""); strings.HasPrefix(to, "/") {
			t.Errorf("%q leads out of the path that a proxy puts the service below", to)
		}
	})
	if text := doc.Find("#notifications").Text(); !strings.Contains(text, "<script>alert(document.cookie)</script>") {
		t.Error("the mail's text is not shown as it was sent")
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	page := ask(handler(sample()), http.MethodGet, "/").Body.String()
	if strings.Contains(page, "hunter2") {
		t.Error("the value of a secret is on the page")
	}
	doc := document(t, sample())
	got := map[string]string{}
	doc.Find("#config tbody tr").Each(func(_ int, s *goquery.Selection) {
		cells := s.Find("td")
		got[s.Find("th .mono").Text()] = cells.Eq(0).Text() + " | " + cells.Eq(1).Find(".mono").Text()
	})
	want := map[string]string{
		"mode":                    "dev | env APP_MODE",
		"address":                 "127.0.0.1:8080 | default",
		"scrape.rotate_every":     "25 | config/config.yaml:12:17",
		"scrape.user_agents_file": "config/user-agents.txt | default",
		"scrape.timeout":          "30s | flag -scrape.timeout",
		"notify.mail.password":    "secret, set | /run/secrets/notify.mail.password",
		"notify.slack.webhook":    "secret, not set | default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// TestIDs: what the script and the labels find by id is there, and once.
func TestIDs(t *testing.T) {
	t.Parallel()
	doc := document(t, sample())
	ids := map[string]int{}
	doc.Find("[id]").Each(func(_ int, s *goquery.Selection) { ids[s.AttrOr("id", "")]++ })
	for id, n := range ids {
		if n != 1 {
			t.Errorf("id %q occurs %d times", id, n)
		}
	}
	doc.Find("[aria-labelledby], a[href^='#']").Each(func(_ int, s *goquery.Selection) {
		for id := range strings.FieldsSeq(s.AttrOr("aria-labelledby", strings.TrimPrefix(s.AttrOr("href", ""), "#"))) {
			if ids[id] == 0 {
				t.Errorf("nothing has the id %q", id)
			}
		}
	})
	doc.Find("details, [data-live]").Each(func(_ int, s *goquery.Selection) {
		if s.AttrOr("id", "") == "" {
			t.Errorf("an element that the script follows has no id: %.60s", s.Text())
		}
	})
}

// TestPlots: each item with a price has a plot with a title, a description and
// sound path data.
func TestPlots(t *testing.T) {
	t.Parallel()
	p := sample()
	doc := document(t, p)
	if n := doc.Find("#items .plotcard svg").Length(); n != 6 {
		t.Errorf("%d plots above the table, want 6", n)
	}
	if n := doc.Find("#all-items tbody tr").Length(); n != len(p.Items) {
		t.Errorf("%d rows, want %d", n, len(p.Items))
	}
	if n := doc.Find("#all-items svg").Length(); n != len(p.Items)-1 {
		t.Errorf("%d small plots, want %d: all but that without a price", n, len(p.Items)-1)
	}
	path := regexp.MustCompile(`^M[0-9.]+ [0-9.]+(H[0-9.]+|V[0-9.]+|l-?[0-9]+ [0-9]+)+$`)
	doc.Find("#items svg").Each(func(_ int, s *goquery.Selection) {
		if s.Find("title").Text() == "" && s.AttrOr("aria-label", "") == "" {
			t.Error("a plot has no title")
		}
		s.Find("path").Each(func(_ int, s *goquery.Selection) {
			if d := s.AttrOr("d", ""); !path.MatchString(d) {
				t.Errorf("path data %q", d)
			}
		})
	})
}

func TestGzip(t *testing.T) {
	t.Parallel()
	plain := ask(handler(sample()), http.MethodGet, "/").Body.String()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Accept-Encoding", "br, gzip;q=0.8")
	rec := httptest.NewRecorder()
	handler(sample()).ServeHTTP(rec, req)
	if got := rec.Header().Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding %q, want gzip", got)
	}
	if n := rec.Body.Len(); n > len(plain)/5 {
		t.Errorf("%d bytes of %d", n, len(plain))
	}
	z, err := gzip.NewReader(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "deflate, gzip": true, "gzip;q=0": false, "gzip; q=0.000": false,
		"gzip ; q=0.001": true, "gzip;q=1": true, "identity": false, "x-gzip": false, "*": false, "br, gzip;Q=0.5": true,
	} {
		if got := web.AcceptsGzip([]string{header}); got != want {
			t.Errorf("acceptsGzip(%q) = %v, want %v", header, got, want)
		}
	}
}

// TestBounds: the page stays light whatever the service has seen, and says
// what it leaves out.
func TestBounds(t *testing.T) {
	t.Parallel()
	var p web.Page
	p.Log.Received = &web.Received{}
	for i := range 5000 {
		name := fmt.Sprintf("%04d", i)
		it := web.Item{ID: name, Name: name, Gone: i%10 == 0, History: []web.Price{{Time: sampleNow, Cents: 1}}}
		if i%2 == 0 {
			it.History = append(it.History, web.Price{Time: sampleNow.Add(time.Duration(i) * time.Second), Cents: 2})
		}
		p.Items = append(p.Items, it)
		p.Runs = append(p.Runs, web.Run{ID: name})
		p.Exits = append(p.Exits, web.Exit{Address: name})
		p.Agents = append(p.Agents, web.Agent{Name: name})
		p.Caught = append(p.Caught, web.Caught{ID: name})
		p.Log.Received.Last = append(p.Log.Received.Last, web.Line{Message: name})
	}
	before := len(p.Log.Received.Last)
	rec := ask(handler(p), http.MethodGet, "/")
	if n := rec.Body.Len(); n > 512<<10 {
		t.Errorf("the page has %d bytes", n)
	}
	if n := len(p.Log.Received.Last); n != before {
		t.Errorf("the caller's lines were cut to %d", n)
	}
	doc, err := goquery.NewDocumentFromReader(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(doc.Text()), " ")
	for _, want := range []string{"5,000 2,500 changed, 500 gone", "The 200 that changed last", "And 4,990 more.", "And 4,950 more."} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if got := doc.Find("#all-items tbody th").First().Text(); got != "4998" {
		t.Errorf("the table begins with %s, want the item that changed last, 4998", got)
	}
}

// TestWellFormed: every element is closed, which an HTML parser would forgive.
func TestWellFormed(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]web.Page{"full": sample(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dec := xml.NewDecoder(ask(handler(p), http.MethodGet, "/").Body)
			dec.Strict = false
			dec.AutoClose = []string{"meta", "link", "img"}
			dec.Entity = xml.HTMLEntity
			var open []string
			for {
				token, err := dec.RawToken()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch e := token.(type) {
				case xml.StartElement:
					if !strings.Contains(" meta link img ", " "+e.Name.Local+" ") {
						open = append(open, e.Name.Local)
					}
				case xml.EndElement:
					if len(open) == 0 || open[len(open)-1] != e.Name.Local {
						t.Fatalf("</%s> at %d closes %q", e.Name.Local, dec.InputOffset(), open)
					}
					open = open[:len(open)-1]
				}
			}
			if len(open) > 0 {
				t.Errorf("not closed: %q", open)
			}
		})
	}
}

func TestNewHandlerWithoutPage(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("NewHandler(nil, nil) did not panic")
		}
	}()
	web.NewHandler(nil, slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)))
}
