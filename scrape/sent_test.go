package scrape_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

// send makes a request and drops its answer.
func send(t *testing.T, do func(*http.Request) (*http.Response, error), method, address, body string, header ...string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Body.Close()
}

// TestRefererOfARedirect has redirects within a site and to another one: none
// brings a Referer of its own, and the caller's loses its path and query at
// another origin.
func TestRefererOfARedirect(t *testing.T) {
	t.Parallel()
	got := ""
	end := func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Referer") }
	other := newSite(t, end)
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/end", http.StatusFound)
		case "/home":
			http.Redirect(w, r, "/end", http.StatusFound)
		default:
			end(w, r)
		}
	})
	c := newClient(t, options(scrape.Direct()))
	throughHTTPClient := (&http.Client{Transport: c.Transport()}).Do

	given := site.URL + "/list?session=canary"
	for _, tt := range []struct{ path, given, want string }{
		{"/away?session=canary", "", ""},
		{"/home?session=canary", "", ""},
		{"/away", given, site.URL + "/"},
		{"/home", given, given},
	} {
		for name, do := range map[string]func(*http.Request) (*http.Response, error){"Do": c.Do, "http.Client": throughHTTPClient} {
			header := []string{"Referer", tt.given}
			if tt.given == "" {
				header = nil
			}
			got = "none"
			if err := send(t, do, http.MethodGet, site.URL+tt.path, "", header...); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("%s of %s with %q: Referer %q, want %q", name, tt.path, tt.given, got, tt.want)
			}
		}
	}
}

// TestCookiesOfACallersJar has an http.Client with a jar of its own: each cookie is
// sent once, with the value that it was last given.
func TestCookiesOfACallersJar(t *testing.T) {
	t.Parallel()
	var got []string
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Cookie"))
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: r.URL.Path[1:], Path: "/"})
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: newClient(t, options(scrape.Direct())).Transport(), Jar: jar}
	for _, path := range []string{"/1", "/2", "/3"} {
		if err := send(t, client.Do, http.MethodGet, site.URL+path, ""); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"", "sid=1", "sid=2"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("cookies %q, want %q", got, want)
	}
}

// TestAddressesAreEncoded asks for addresses as they stand in pages, at once and
// by a redirect: they are sent as the URL standard of browsers has them.
func TestAddressesAreEncoded(t *testing.T) {
	t.Parallel()
	location, got := "", ""
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if got = r.RequestURI; got == "/start" {
			w.Header()["Location"] = []string{location}
			w.WriteHeader(http.StatusFound)
		}
	})
	c := newClient(t, options(scrape.Direct()))
	for address, want := range map[string]string{
		"/a b?q=ü&n=x y": "/a%20b?q=%C3%BC&n=x%20y", "/ünï": "/%C3%BCn%C3%AF", "/100%": "/100%25", "/%2F%2e?a=%2f": "/%2F%2e?a=%2f",
		"\\back": "/back", "/a#b c": "/a",
	} {
		if _, _, err := get(t, c, " "+site.URL+address); address[0] == '/' && (err != nil || got != want) {
			t.Errorf("%q is sent as %q, want %q: %v", address, got, want, err)
		}
		if strings.Contains(address, "?") {
			if err := send(t, c.Transport().RoundTrip, http.MethodGet, site.URL+address, ""); err != nil || got != want {
				t.Errorf("%q is sent by Transport as %q, want %q: %v", address, got, want, err)
			}
		}
		location = address
		if _, _, err := get(t, c, site.URL+"/start"); err != nil || got != want {
			t.Errorf("a redirect to %q is sent as %q, want %q: %v", address, got, want, err)
		}
	}
}

// TestErrorsOfDoHideTheQuery has requests with a secret in the query fail.
func TestErrorsOfDoHideTheQuery(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	loop := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	})
	opts := options(scrape.Direct())
	opts.Retry.Attempts = -1
	c := newClient(t, opts)
	for _, site := range []string{gone.URL, loop.URL} {
		err := send(t, c.Do, http.MethodPost, site+"/login?token=canary", "")
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "/login") {
			t.Errorf("Do = %v", err)
		}
	}
}

// TestProgramsAreNoBrowsers has requests that a browser's navigation never is: they
// have its name, and not what it says of a navigation.
func TestProgramsAreNoBrowsers(t *testing.T) {
	t.Parallel()
	var got http.Header
	site := newSite(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	c := newClient(t, options(scrape.Direct()))
	for _, tt := range []struct {
		method string
		header []string
		page   bool
	}{
		{http.MethodGet, nil, true},
		{http.MethodPost, nil, false},
		{http.MethodDelete, nil, false},
		{http.MethodGet, []string{"Accept", "application/json"}, false},
		{http.MethodGet, []string{"Authorization", "Bearer t"}, false},
	} {
		body := ""
		if tt.method == http.MethodPost {
			body = "{}"
		}
		if err := send(t, c.Do, tt.method, site.URL, body, tt.header...); err != nil {
			t.Fatal(err)
		}
		navigates := got.Get("Sec-Fetch-Mode") == "navigate" || got.Get("Upgrade-Insecure-Requests") != "" || strings.Contains(got.Get("Accept"), "text/html")
		if navigates != tt.page || !strings.HasPrefix(got.Get("User-Agent"), "Mozilla/5.0 ") {
			t.Errorf("%s %v is sent with %v", tt.method, tt.header, got)
		}
	}
}

// TestSessionOutlastsRotation logs in, and then reads more pages than an identity
// has.
func TestSessionOutlastsRotation(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: "1"})
		} else if _, err := r.Cookie("sid"); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	opts := options(scrape.SOCKS(sockstest.Start(t).Addr))
	opts.Rotation.Every = 3
	c := newClient(t, opts)
	session, err := c.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t, session.Do, http.MethodPost, site.URL+"/login", url.Values{}.Encode()); err != nil {
		t.Fatal(err)
	}
	for page := range 10 {
		if _, _, err := get(t, c, site.URL+"/login"); err != nil { // others rotate meanwhile
			t.Fatal(err)
		}
		res, err := session.Get(t.Context(), site.URL+"/page")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("page %d after the log-in: %s", page, res.Status)
		}
	}
}

// TestPermanentFailuresAreNotTriedAgain has a certificate that nobody trusts, and
// http where https is asked for.
func TestPermanentFailuresAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	var connections atomic.Int64
	untrusted.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	plain := newSite(t, nil)
	c := newClient(t, options(scrape.Direct()))

	for name, address := range map[string]string{"an untrusted certificate": untrusted.URL, "http behind https": strings.Replace(plain.URL, "http:", "https:", 1)} {
		_, _, err := get(t, c, address)
		if failed, ok := errors.AsType[*scrape.Error](err); !ok || failed.Temporary() {
			t.Errorf("%s: Get = %v", name, err)
		}
	}
	if n, s := connections.Load(), c.Stats(); n != 1 || s.Retries != 0 {
		t.Errorf("%d connections, %d retries", n, s.Retries)
	}
}

// stuckCircuit is an egress whose second circuit never comes up.
type stuckCircuit struct{ drawn atomic.Int64 }

func (s *stuckCircuit) Check(context.Context) error { return nil }

func (s *stuckCircuit) Exit(_ context.Context, isolation string) (string, error) {
	return isolation, nil
}

func (s *stuckCircuit) Warm(ctx context.Context, _, _ string) error {
	if s.drawn.Add(1) == 2 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (s *stuckCircuit) DialContext(context.Context, string, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer func() { _ = there.Close() }()
		for in := bufio.NewReader(there); ; {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			if _, err := io.WriteString(there, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	}()
	return here, nil
}

// TestStuckCircuitIsLeft has a circuit that does not come up: the draw of it is
// bounded, and another one takes its place.
func TestStuckCircuitIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts := options(&stuckCircuit{})
		opts.Rotation = scrape.Rotation{Every: 3, Distinct: true, Warm: -1}
		c, err := scrape.New(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 6 {
			began := time.Now()
			if _, _, err := get(t, c, fmt.Sprintf("http://site.example.com/%d", i)); err != nil || time.Since(began) > 15*time.Second {
				t.Errorf("page %d: %v after %v", i, err, time.Since(began))
			}
		}
	})
}
