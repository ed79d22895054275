package diskcache_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFreshness(t *testing.T) {
	t.Parallel()
	const (
		none = "served from the cache"
		cond = "asked whether it holds"
		full = "fetched anew"
	)
	for _, tc := range []struct {
		name   string
		answer []string
		ask    []string // of the second request
		want   string
	}{
		{"max-age", []string{"Cache-Control: max-age=60"}, nil, none},
		{"max-age on a second line", []string{"Cache-Control: public", "Cache-Control: max-age=60"}, nil, none},
		{"max-age in capitals", []string{"Cache-Control: MAX-AGE=60"}, nil, none},
		{"max-age, huge", []string{"Cache-Control: max-age=99999999999999"}, nil, none},
		{"max-age, broken", []string{"Cache-Control: max-age=soon", "Etag: \"1\""}, nil, full},
		{"max-age, negative", []string{"Cache-Control: max-age=-1", "Etag: \"1\""}, nil, full},
		{"max-age 0", []string{"Cache-Control: max-age=0", "Etag: \"1\""}, nil, cond},
		{"max-age used up by Age", []string{"Cache-Control: max-age=60", "Age: 61", "Etag: \"1\""}, nil, cond},
		{"max-age used up by Date", []string{"Cache-Control: max-age=60", "Date: " + ago(2*time.Minute), "Etag: \"1\""}, nil, cond},
		{"Date to come", []string{"Cache-Control: max-age=60", "Date: " + ago(-time.Hour)}, nil, none},
		{"Date broken", []string{"Cache-Control: max-age=60", "Date: yesterday"}, nil, none},
		{"s-maxage before max-age", []string{"Cache-Control: max-age=0, s-maxage=60"}, nil, none},
		{"s-maxage 0", []string{"Cache-Control: max-age=60, s-maxage=0", "Etag: \"1\""}, nil, cond},
		{"Expires", []string{"Expires: " + ago(-time.Minute), "Date: " + ago(0)}, nil, none},
		{"Expires without Date", []string{"Expires: " + ago(-time.Minute)}, nil, none},
		{"Expires past", []string{"Expires: " + longAgo, "Etag: \"1\""}, nil, cond},
		{"Expires 0", []string{"Expires: 0", "Etag: \"1\""}, nil, cond},
		{"max-age before Expires", []string{"Expires: " + longAgo, "Cache-Control: max-age=60"}, nil, none},
		{"ETag alone", []string{"Etag: \"1\""}, nil, cond},
		{"weak ETag", []string{"Etag: W/\"1\""}, nil, cond},
		{"Last-Modified alone", []string{"Last-Modified: " + longAgo}, nil, cond},
		{"nothing", nil, nil, full},
		{"no-cache", []string{"Cache-Control: no-cache, max-age=60", "Etag: \"1\""}, nil, cond},
		{"no-cache with fields", []string{`Cache-Control: no-cache="x-y", max-age=60`, "Etag: \"1\""}, nil, cond},
		{"no-store", []string{"Cache-Control: no-store, max-age=60", "Etag: \"1\""}, nil, full},
		{"private", []string{"Cache-Control: private, max-age=60", "Etag: \"1\""}, nil, full},
		{"private with fields", []string{`Cache-Control: private="set-cookie", max-age=60`}, nil, full},
		{"Set-Cookie", []string{"Set-Cookie: a=b", "Cache-Control: max-age=60", "Etag: \"1\""}, nil, full},
		{"Vary *", []string{"Vary: *", "Cache-Control: max-age=60", "Etag: \"1\""}, nil, full},
		{"request no-cache", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Cache-Control: no-cache"}, cond},
		{"request Pragma", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Pragma: no-cache"}, cond},
		{"request no-store", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Cache-Control: no-store"}, full},
		{"request max-age 0", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Cache-Control: max-age=0"}, cond},
		{"request max-age", []string{"Cache-Control: max-age=60", "Age: 30", "Etag: \"1\""}, []string{"Cache-Control: max-age=20"}, cond},
		{"request max-age, young enough", []string{"Cache-Control: max-age=60", "Age: 10", "Etag: \"1\""}, []string{"Cache-Control: max-age=20"}, none},
		{"request min-fresh", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Cache-Control: min-fresh=120"}, cond},
		{"request max-stale", []string{"Cache-Control: max-age=60", "Age: 70", "Etag: \"1\""}, []string{"Cache-Control: max-stale=20"}, none},
		{"request max-stale, too stale", []string{"Cache-Control: max-age=60", "Age: 90", "Etag: \"1\""}, []string{"Cache-Control: max-stale=20"}, cond},
		{"request max-stale, any", []string{"Cache-Control: max-age=60", "Age: 9000", "Etag: \"1\""}, []string{"Cache-Control: max-stale"}, none},
		{"request max-stale against must-revalidate", []string{"Cache-Control: max-age=60, must-revalidate", "Age: 70", "Etag: \"1\""}, []string{"Cache-Control: max-stale=20"}, cond},
		{"request broken", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Cache-Control: max-age=x"}, full},
		{"request with cookies", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Cookie: a=b"}, full},
		{"request with credentials", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Authorization: Basic eA=="}, full},
		{"request with a range", []string{"Cache-Control: max-age=60", "Etag: \"1\""}, []string{"Range: bytes=0-1"}, full},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := &site{answer: func(req *http.Request, _ int) (int, http.Header, string) {
				if etag := req.Header.Get("If-None-Match"); etag != "" || req.Header.Get("If-Modified-Since") != "" {
					return http.StatusNotModified, fields("Etag: " + etag), ""
				}
				return http.StatusOK, fields(tc.answer...), "page"
			}}
			c := open(t, t.TempDir(), nil)
			ask(t, c, s, address)
			res, body, stored := ask(t, c, s, address, tc.ask...)
			got := full
			switch {
			case s.requests() == 1:
				got = none
				if res.Header.Get("Age") == "" {
					t.Error("a stored answer without Age")
				}
			case len(s.seen[1].Header["If-None-Match"])+len(s.seen[1].Header["If-Modified-Since"]) > 0:
				got = cond
			}
			if got != tc.want || stored != (got != full) || body != "page" || res.StatusCode != http.StatusOK {
				t.Errorf("%s (stored %v, status %d, %q), want %s", got, stored, res.StatusCode, body, tc.want)
			}
		})
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(req *http.Request, n int) (int, http.Header, string) {
		if n == 1 {
			return http.StatusOK, fields(`Etag: "1"`, "Content-Type: text/plain", "X-Seen: first", "X-Kept: yes", "Age: 5", "Cache-Control: max-age=0"), "page"
		}
		if req.Header.Get("If-None-Match") != `"1"` {
			t.Errorf("request %d asks for %q", n, req.Header.Get("If-None-Match"))
		}
		return http.StatusNotModified, fields(`Etag: W/"1"`, "Content-Type: text/html", "X-Seen: again", "Cache-Control: max-age=60", "Content-Length: 0"), ""
	}}
	dir := t.TempDir()
	c := open(t, dir, nil)
	ask(t, c, s, address)
	want := fields(`Etag: W/"1"`, "Content-Type: text/plain", "X-Seen: again", "X-Kept: yes", "Cache-Control: max-age=60")
	res, body, stored := ask(t, c, s, address)
	if diff := cmp.Diff(want, res.Header); diff != "" || body != "page" || !stored || res.StatusCode != http.StatusOK || res.ContentLength != 4 {
		t.Errorf("confirmed answer: %d %q %v, header (-want +got):\n%s", res.StatusCode, body, stored, diff)
	}
	// What the 304 said holds from now on, for another process too.
	want.Set("Age", "0")
	res, body, stored = ask(t, open(t, dir, nil), s, address)
	if diff := cmp.Diff(want, res.Header); diff != "" || body != "page" || !stored || s.requests() != 2 {
		t.Errorf("after it: %q %v with %d requests, header (-want +got):\n%s", body, stored, s.requests(), diff)
	}
}

func TestNotConfirmed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first, second []string
		status        int
		want          string
		requests      int
	}{
		"a new version":         {[]string{`Etag: "1"`}, []string{`Etag: "2"`}, 200, "new", 2},
		"304 of another":        {[]string{`Etag: "1"`}, []string{`Etag: "2"`}, 304, "new", 3},
		"304 of another date":   {[]string{"Last-Modified: " + longAgo}, []string{"Last-Modified: " + ago(0)}, 304, "new", 3},
		"304 without validator": {[]string{`Etag: "1"`}, nil, 304, "page", 2},
		"gone":                  {[]string{`Etag: "1"`}, nil, 410, "new", 2},
		"an error":              {[]string{`Etag: "1"`}, nil, 500, "new", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{answer: func(_ *http.Request, n int) (int, http.Header, string) {
				switch n {
				case 1:
					return 200, fields(tc.first...), "page"
				case 2:
					if tc.status == 304 {
						return 304, fields(tc.second...), ""
					}
					return tc.status, fields(tc.second...), "new"
				}
				return 200, nil, "new"
			}}
			c := open(t, t.TempDir(), nil)
			ask(t, c, s, address)
			if _, body, _ := ask(t, c, s, address); body != tc.want || s.requests() != tc.requests {
				t.Errorf("%q after %d requests, want %q after %d", body, s.requests(), tc.want, tc.requests)
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{
		200: true, 203: true, 301: true, 302: true, 307: true, 308: true, 404: true, 410: true,
		204: false, 206: false, 401: false, 403: false, 429: false, 500: false, 503: false,
	} {
		s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
			return status, fields("Cache-Control: max-age=60", "Location: /elsewhere", "Etag: \"1\""), "page"
		}}
		c := open(t, t.TempDir(), nil)
		ask(t, c, s, address)
		if res, _, stored := ask(t, c, s, address); stored != want || res.StatusCode != status {
			t.Errorf("%d: stored %v, want %v", status, stored, want)
		}
	}
}

func TestVary(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(req *http.Request, n int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=60", "Vary: accept-language, Accept-Encoding", "Vary: User-Agent"),
			fmt.Sprint(req.Header.Get("Accept-Language"), " for ", req.UserAgent())
	}}
	c := open(t, t.TempDir(), nil)
	for range 2 {
		for _, language := range []string{"de", "en"} {
			for _, agent := range []string{"one", "two"} {
				// Accept-Encoding makes no difference: bodies are decoded.
				_, body, _ := ask(t, c, s, address, "Accept-Language: "+language, "User-Agent: "+agent, fmt.Sprint("Accept-Encoding: ", s.requests()))
				if want := language + " for " + agent; body != want {
					t.Errorf("%q, want %q", body, want)
				}
			}
		}
	}
	if s.requests() != 4 {
		t.Errorf("%d requests for 4 variants", s.requests())
	}
	// A fifth takes the place of one of them.
	for range 2 {
		ask(t, c, s, address, "Accept-Language: fr", "User-Agent: three")
	}
	if s.requests() != 5 {
		t.Errorf("%d requests after a fifth variant, want 5", s.requests())
	}
}

func TestUnsafeMethodInvalidates(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(req *http.Request, _ int) (int, http.Header, string) {
		if req.Method != http.MethodGet {
			return map[string]int{"/fails": 500}[req.URL.Path] + map[string]int{"/a": 204}[req.URL.Path], nil, ""
		}
		return 200, fields("Cache-Control: max-age=60"), "page"
	}}
	c := open(t, t.TempDir(), nil)
	for _, tc := range []struct {
		method, path string
		want         bool
	}{{"POST", "/a", false}, {"DELETE", "/a", false}, {"HEAD", "/a", true}, {"OPTIONS", "/a", true}, {"POST", "/fails", true}} {
		ask(t, c, s, "http://a.example"+tc.path)
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://a.example"+tc.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, stored, err := c.RoundTrip(req, s.send); err != nil || stored {
			t.Errorf("%s = %v, %v", tc.method, stored, err)
		}
		if _, _, stored := ask(t, c, s, "http://a.example"+tc.path); stored != tc.want {
			t.Errorf("after %s %s: stored %v, want %v", tc.method, tc.path, stored, tc.want)
		}
	}
}

func TestOnlyIfCached(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=60"), "page"
	}}
	c := open(t, t.TempDir(), nil)
	if res, _, _ := ask(t, c, s, address, "Cache-Control: only-if-cached"); res.StatusCode != http.StatusGatewayTimeout || s.requests() != 0 {
		t.Errorf("nothing stored: %d after %d requests, want 504 after none", res.StatusCode, s.requests())
	}
	ask(t, c, s, address)
	if res, _, stored := ask(t, c, s, address, "Cache-Control: only-if-cached"); res.StatusCode != http.StatusOK || !stored {
		t.Errorf("stored: %d", res.StatusCode)
	}
}

// TestVaryChanges: of two stored answers that fit, the newer one is given.
func TestVaryChanges(t *testing.T) {
	t.Parallel()
	for name, varies := range map[string][]string{"to and fro": {"X-A", "X-B", "X-A"}, "away": {"X-A", "X-B"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &site{answer: func(_ *http.Request, n int) (int, http.Header, string) {
				return 200, fields("Cache-Control: max-age=60", "Vary: "+varies[n-1]), fmt.Sprint("version ", n)
			}}
			c := open(t, t.TempDir(), nil)
			for range varies {
				ask(t, c, s, address, "X-A: 1", "X-B: 1", "Cache-Control: no-cache")
			}
			if _, body, stored := ask(t, c, s, address, "X-A: 1", "X-B: 1"); body != fmt.Sprint("version ", len(varies)) || !stored {
				t.Errorf("%q, stored %v", body, stored)
			}
		})
	}
}

// TestCookiesOfTheSender: what was sent counts, not what was asked.
func TestCookiesOfTheSender(t *testing.T) {
	t.Parallel()
	s := &site{answer: func(*http.Request, int) (int, http.Header, string) {
		return 200, fields("Cache-Control: max-age=60"), "page"
	}}
	c := open(t, t.TempDir(), nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, _, err := c.RoundTrip(req, func(req *http.Request) (*http.Response, error) {
		res, err := s.send(req)
		if err == nil {
			res.Request = req.Clone(req.Context())
			res.Request.Header = fields("Cookie: session=1")
		}
		return res, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	if _, _, stored := ask(t, c, s, address); stored {
		t.Error("an answer to a request with cookies was stored")
	}
}
