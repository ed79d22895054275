package safehttp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/safehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRule(t *testing.T) {
	t.Parallel()
	secret := safehttp.Rule{Secret: true, OptOut: "AllowPlainHTTP"}
	for _, r := range []struct {
		rule safehttp.Rule
		url  string
		want string // a part of the error, or nothing
	}{
		{secret, "https://a.example/in?x=1", ""},
		{secret, "http://127.0.0.1:80/", ""},
		{secret, "http://[::1]/", ""},
		{secret, "http://localhost:1/", ""},
		{secret, "HTTP://a.example/", "a secret would travel in clear to http://a.example: write https, or set AllowPlainHTTP"},
		{secret, "http://localhost.a.example/", "in clear"},
		{secret, "http://127.0.0.1.a.example/", "in clear"},
		{secret, "http://10.0.0.1/", "in clear"},
		{secret, "http://127.1/", "in clear"},
		{secret, "http://127.0.0.1@a.example/", "carries a user"},
		{secret, `http://127.0.0.1\@a.example/`, "no URL"},
		{safehttp.Rule{}, "http://a.example/", ""},
		{safehttp.Rule{Secret: true, AllowPlain: true}, "http://a.example/", ""},
		{safehttp.Rule{}, "ftp://a.example/", "neither http nor https"},
		{safehttp.Rule{}, "a.example/", "neither http nor https"},
		{safehttp.Rule{}, "https:///x", "no host"},
		{safehttp.Rule{}, "https://:443/x", "no host"},
		{safehttp.Rule{}, "https://a.example:99999/x", "port 99999"},
		{safehttp.Rule{}, "https://a.example:0/x", "port 0"},
		{safehttp.Rule{}, "https://a.example:65535/x", ""},
		{safehttp.Rule{}, "https://user:pass-canary@a.example/", "https://a.example carries a user"},
		{safehttp.Rule{}, "https://a.example/%zz?token=pass-canary", "no URL"},
		{secret, "http://a.example/pass-canary?token=pass-canary", "in clear"},
	} {
		_, err := r.rule.Parse(r.url)
		if (err == nil) != (r.want == "") || err != nil && !strings.Contains(err.Error(), r.want) {
			t.Errorf("Parse(%q) = %v, want %q", r.url, err, r.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("Parse shows a secret: %v", err)
		}
		if plain := strings.Contains(r.want, "in clear"); errors.Is(err, safehttp.ErrPlain) != plain {
			t.Errorf("Parse(%q) = %v, matches ErrPlain: %v", r.url, err, !plain)
		}
	}
}

// receiver notes what reaches a server.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func receive(t *testing.T, start func(http.Handler) *httptest.Server, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = start(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, req.Header.Get("X-Vault-Token")+" "+string(body))
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

// TestRedirects is the table of attacks by a server that is asked with a
// secret.
func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := receive(t, httptest.NewServer, nil)
	secureElsewhere := receive(t, httptest.NewTLSServer, nil)
	_, port, err := net.SplitHostPort(elsewhere.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	for _, r := range []struct {
		name      string
		status    int
		to        string
		redirects safehttp.Redirects
		secure    bool // the first server speaks TLS
		want      string
		arrives   bool
	}{
		{"another port, 307", 307, elsewhere.URL, safehttp.Redirects{Setting: "RedirectHosts"}, false, "another host: if it is yours, list it in RedirectHosts", false},
		{"another port, 302", 302, elsewhere.URL, safehttp.Redirects{}, false, "another host", false},
		{"another address", 308, "http://127.0.0.2:" + port, safehttp.Redirects{}, false, "another host", false},
		{"another name", 307, "http://localhost:" + port, safehttp.Redirects{}, false, "another host", false},
		{"listed", 307, elsewhere.URL, safehttp.Redirects{Hosts: []string{"127.0.0.1"}}, false, "", true},
		{"listed with port", 307, elsewhere.URL, safehttp.Redirects{Hosts: []string{"127.0.0.1:" + port}}, false, "", true},
		{"listed with another port", 307, elsewhere.URL, safehttp.Redirects{Hosts: []string{"127.0.0.1:1"}}, false, "another host", false},
		{"listed as a suffix", 307, "http://localhost:" + port, safehttp.Redirects{Hosts: []string{"host"}}, false, "another host", false},
		{"https to http", 307, elsewhere.URL, safehttp.Redirects{Hosts: []string{"127.0.0.1"}, AllowPlain: true}, true, "not asked by http", false},
		{"https elsewhere", 307, secureElsewhere.URL, safehttp.Redirects{}, true, "another host", false},
		{"https listed", 307, secureElsewhere.URL, safehttp.Redirects{Hosts: []string{"127.0.0.1"}}, true, "", true},
		{"http off this machine", 307, "http://vault.example/", safehttp.Redirects{Hosts: []string{"vault.example"}}, false, "in clear", false},
		{"user in it", 307, "http://u:p@127.0.0.1:" + port, safehttp.Redirects{Hosts: []string{"127.0.0.1"}}, false, "user or password", false},
		{"another scheme", 307, "ftp://127.0.0.1/", safehttp.Redirects{Hosts: []string{"127.0.0.1"}}, false, "neither http nor https", false},
		{"none followed", 307, elsewhere.URL, safehttp.Redirects{Max: -1, Hosts: []string{"127.0.0.1"}}, false, "", false},
	} {
		t.Run(r.name, func(t *testing.T) {
			start := httptest.NewServer
			if r.secure {
				start = httptest.NewTLSServer
			}
			first := receive(t, start, func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, r.to, r.status) })
			before := len(elsewhere.seen()) + len(secureElsewhere.seen())
			var log bytes.Buffer
			r.redirects.Logger = slog.New(slog.NewTextHandler(&log, nil))
			base := first.Client()
			base.Timeout = 10 * time.Second
			client := safehttp.NewClient(base, r.redirects)

			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, first.URL, strings.NewReader("secret_id"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Vault-Token", "hvs")
			resp, err := client.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			if (err == nil) != (r.want == "") || err != nil && !strings.Contains(err.Error(), r.want) {
				t.Errorf("Do = %v, want %q", err, r.want)
			}
			if _, ok := errors.AsType[*safehttp.RedirectError](err); ok != (r.want != "") {
				t.Errorf("Do = %v, want a *RedirectError", err)
			}
			if arrived := len(elsewhere.seen())+len(secureElsewhere.seen()) > before; arrived != r.arrives {
				t.Errorf("the secret arrived elsewhere: %v, want %v", arrived, r.arrives)
			}
			if told := log.Len() > 0; told != (r.redirects.Max >= 0) {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

func TestRedirectWithinTheHost(t *testing.T) {
	t.Parallel()
	for depth, want := range map[int]string{1: "", 2: "", 3: "2 before it"} {
		s := receive(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
			var n int
			_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
			if n < depth {
				http.Redirect(w, r, fmt.Sprintf("/%d", n+1), http.StatusTemporaryRedirect)
			}
		})
		resp, err := safehttp.NewClient(s.Client(), safehttp.Redirects{}).Post(s.URL+"/0", "text/plain", strings.NewReader("x"))
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d redirects: %v, want %q", depth, err, want)
		}
		s.CloseClientConnections()
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	client := safehttp.NewProbe(time.Second)
	// The environment is read once a process, so this looks at the setting.
	if tr, ok := client.Transport.(*http.Transport); !ok || tr.Proxy != nil {
		t.Error("a probe asks the proxy of the environment")
	}
	first := receive(t, httptest.NewServer, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) })
	resp, err := client.Get(first.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusFound || len(first.seen()) != 1 {
		t.Errorf("a probe followed a redirect: %d, %q", resp.StatusCode, first.seen())
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	hosts, err := safehttp.NewHosts("server.hosts", "https://shop.example:8443/path", "service:8080", "Other.Example.", "", ":8080", "0.0.0.0:80", "[::]:80", "::1")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"": true, "127.0.0.1": true, "127.0.0.1:8080": true, "10.1.2.3:8080": true, "[::1]:80": true, "[fe80::1%25eth0]:80": true, "[2001:db8::1]": true,
		"localhost": true, "localhost:8080": true, "LOCALHOST.": true, "a.localhost:80": true,
		"shop.example": true, "shop.example:1": true, "SHOP.example.": true, "service": true, "service:8080": true, "other.example": true,
		"rebind.attacker.example": false, "rebind.attacker.example:8080": false, "shop.example.attacker.example": false,
		"127.0.0.1.attacker.example": false, "localhost.attacker.example": false, "xlocalhost": false, "x.shop.example": false,
		"127.0.0.1@attacker.example": false, "attacker.example:127.0.0.1": false, "0x7f.1": false, "2130706433": false, "shop.example\x00": false, ".": false, ":": false,
	} {
		if got := hosts.Allow(host); got != want {
			t.Errorf("Allow(%q) = %v, want %v", host, got, want)
		}
	}

	for _, bad := range []string{"*", "*.example", "a/b", "http://", "a b", "user@host"} {
		if _, err := safehttp.NewHosts("server.hosts", "good", bad); err == nil || !strings.Contains(err.Error(), "server.hosts: "+fmt.Sprintf("%q", bad)) {
			t.Errorf("NewHosts(%q) = %v, want an error that names it", bad, err)
		}
	}
}

func TestHostsHandler(t *testing.T) {
	t.Parallel()
	hosts, err := safehttp.NewHosts("server.hosts")
	if err != nil {
		t.Fatal(err)
	}
	s := receive(t, func(h http.Handler) *httptest.Server { return httptest.NewServer(hosts.Handler(h)) }, nil)
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions} {
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "rebind.attacker.example"
		req.Header.Set("X-Forwarded-Host", "127.0.0.1")
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		want := `does not answer to the host "rebind.attacker.example": if it should, list it in server.hosts`
		if resp.StatusCode != http.StatusMisdirectedRequest || method != http.MethodHead && !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %s", method, resp.StatusCode, body)
		}
	}
	if got := s.seen(); len(got) != 0 {
		t.Errorf("the handler was reached: %q", got)
	}
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("by address: %d", resp.StatusCode)
	}
}

// A server without names of its own says how it is asked, as there is no setting
// to list one in.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	hosts := safehttp.ThisMachine()
	for host, want := range map[string]bool{"127.0.0.1:80": true, "[::1]": true, "localhost:80": true, "rebind.attacker.example": false, "shop.example": false} {
		if got := hosts.Allow(host); got != want {
			t.Errorf("Allow(%q) = %v, want %v", host, got, want)
		}
	}

	answer := httptest.NewRecorder()
	hosts.Handler(http.NotFoundHandler()).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://rebind.attacker.example/", nil))
	if answer.Code != http.StatusMisdirectedRequest || !strings.Contains(answer.Body.String(), "ask for it by an address, or as localhost") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}
