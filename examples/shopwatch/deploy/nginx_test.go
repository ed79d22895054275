package deploy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv/nginx"
)

// front is nginx as deployed, but for addresses and files, before a service of
// the test's. Further texts of the configuration are replaced as change says, in
// pairs.
func front(t *testing.T, service http.Handler, change ...string) *nginx.Server {
	t.Helper()
	backend := httptest.NewServer(service)
	t.Cleanup(backend.Close)
	text, err := os.ReadFile("../nginx/service.conf")
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	replacements := map[string]string{
		"listen 8443 ":                  "listen {{TLS_ADDR}} ",
		"/run/secrets/tls_certificate;": "{{CERT}};",
		"/run/secrets/tls_key;":         "{{KEY}};",
		"http://service:8080;":          backend.URL + ";",
		"access_log /dev/stdout json;":  "",
	}
	for i := 0; i < len(change); i += 2 {
		replacements[change[i]] = change[i+1]
	}
	for old, replacement := range replacements {
		if strings.Count(config, old) != 1 {
			t.Fatalf("%q stands %d times in service.conf", old, strings.Count(config, old))
		}
		config = strings.Replace(config, old, replacement, 1)
	}
	return nginx.Start(t, config)
}

// reader returns a client that trusts nginx, of one kind.
func reader(t *testing.T, server *nginx.Server, change func(*http.Transport)) *http.Client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: server.Certificate.Pool}, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	if change != nil {
		change(transport)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func get(t *testing.T, client *http.Client, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

func TestNginxSpeaksTLS(t *testing.T) {
	t.Parallel()
	server := front(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") }))
	for _, tc := range []struct {
		name     string
		min, max uint16
		suites   []uint16
		protocol string
		ok       bool
	}{
		{"TLS 1.0", tls.VersionTLS10, tls.VersionTLS10, nil, "", false},
		{"TLS 1.1", tls.VersionTLS11, tls.VersionTLS11, nil, "", false},
		{"TLS 1.2", tls.VersionTLS12, tls.VersionTLS12, nil, "HTTP/2.0", true},
		{"TLS 1.2 without forward secrecy", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, "", false},
		{"TLS 1.2 in CBC mode", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}, "", false},
		{"TLS 1.3", tls.VersionTLS13, tls.VersionTLS13, nil, "HTTP/2.0", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := reader(t, server, func(tr *http.Transport) {
				tr.TLSClientConfig.MinVersion, tr.TLSClientConfig.MaxVersion = tc.min, tc.max
				tr.TLSClientConfig.CipherSuites = tc.suites
			})
			res, err := client.Get("https://" + server.TLSAddr + "/")
			if (err == nil) != tc.ok {
				t.Fatalf("GET = %v, want success: %v", err, tc.ok)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "protocol version") && !strings.Contains(err.Error(), "handshake failure") {
					t.Errorf("refused for another reason: %v", err)
				}
				return
			}
			defer func() { _ = res.Body.Close() }()
			if res.Proto != tc.protocol {
				t.Errorf("protocol %s, want %s", res.Proto, tc.protocol)
			}
		})
	}
	t.Run("HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		client := reader(t, server, func(tr *http.Transport) {
			tr.ForceAttemptHTTP2, tr.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
		})
		if res, _ := get(t, client, "https://"+server.TLSAddr+"/"); res.Proto != "HTTP/1.1" {
			t.Errorf("protocol %s", res.Proto)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		t.Parallel()
		if res, _ := get(t, http.DefaultClient, "http://"+server.TLSAddr+"/"); res.StatusCode != http.StatusBadRequest {
			t.Errorf("status %s", res.Status)
		}
	})
}

func TestNginxHeaders(t *testing.T) {
	t.Parallel()
	server := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			w.Header().Set("X-Frame-Options", "DENY")
			w.Header().Set("X-Content-Type-Options", "nosniff")
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	client := reader(t, server, nil)
	none := "default-src 'none'; frame-ancestors 'none'"
	for path, policy := range map[string]string{"/": "default-src 'self'", "/api/items": none, "/missing": none, "/metrics": none} {
		res, _ := get(t, client, "https://"+server.TLSAddr+path)
		for name, want := range map[string]string{
			"Strict-Transport-Security":  "max-age=31536000",
			"Content-Security-Policy":    policy,
			"X-Content-Type-Options":     "nosniff",
			"X-Frame-Options":            "DENY",
			"Referrer-Policy":            "no-referrer",
			"Permissions-Policy":         "camera=(), geolocation=(), microphone=()",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Server":                     "nginx", // and no version
		} {
			if got := res.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s = %q, want %q once", path, name, got, want)
			}
		}
	}
}

func TestNginxHidesMetrics(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	server := front(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	client := reader(t, server, nil)
	for _, path := range []string{
		"/metrics", "/metrics/", "/metrics?x=1", "//metrics", "/./metrics", "/x/../metrics", "/%6detrics", "/METRICS",
		"/x/%2e%2e/metrics", "/metrics/x", "/readyz", "/healthz", "/HealthZ", "//readyz/", "/debug/pprof/", "/debug/pprof/heap",
	} {
		if res, _ := get(t, client, "https://"+server.TLSAddr+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for _, path := range []string{"/", "/metricsx", "/readyzx"} {
		if res, _ := get(t, client, "https://"+server.TLSAddr+path); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for range 3 {
		if path := <-asked; strings.Contains(path, "metrics") && path != "/metricsx" || strings.Contains(path, "debug") {
			t.Errorf("the service was asked for %s", path)
		}
	}
	if n := len(asked); n != 0 {
		t.Errorf("the service was asked %d times more", n)
	}
}

func TestNginxCompresses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(`{"price": 1299}`, 1000)
	server := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if r.URL.Path == "/short" {
			fmt.Fprint(w, "{}")
			return
		}
		fmt.Fprint(w, long)
	}))
	client := reader(t, server, nil)
	for _, tc := range []struct{ path, accept, want string }{{"/long", "gzip", "gzip"}, {"/long", "", ""}, {"/long", "br", ""}, {"/short", "gzip", ""}} {
		res, body := get(t, client, "https://"+server.TLSAddr+tc.path, "Accept-Encoding", tc.accept)
		if got := res.Header.Get("Content-Encoding"); got != tc.want {
			t.Errorf("%s with %q: encoding %q, want %q", tc.path, tc.accept, got, tc.want)
		}
		if tc.want != "gzip" {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := io.ReadAll(z); err != nil || string(plain) != long || len(body) > len(long)/10 {
			t.Errorf("%d bytes, packed into %d: %v", len(plain), len(body), err)
		}
	}
}

func TestNginxLimitsTheRate(t *testing.T) {
	t.Parallel()
	server := front(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	client := reader(t, server, nil)
	count := map[int]int{}
	for range 300 {
		res, _ := get(t, client, "https://"+server.TLSAddr+"/")
		count[res.StatusCode]++
	}
	if count[http.StatusTooManyRequests] == 0 || count[http.StatusOK] < 41 || len(count) != 2 {
		t.Errorf("of 300 requests in a row: %v, want at least 41 with 200, and some with 429", count)
	}
}

// A reader of IPv6 has 2^64 addresses, and is one reader all the same.
func TestNginxLimitsNetworks(t *testing.T) {
	t.Parallel()
	service := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, tc := range map[string]struct {
		address func(i int) string
		limited bool
	}{
		"one network of IPv6":      {func(i int) string { return fmt.Sprintf("2a00:1:2:3:%x:%x::1", i, i) }, true},
		"a network each":           {func(i int) string { return fmt.Sprintf("2a00:1:2:%x::1", i) }, false},
		"IPv4":                     {func(i int) string { return fmt.Sprintf("198.51.100.%d", i%256) }, false},
		"IPv4 on a socket of IPv6": {func(i int) string { return fmt.Sprintf("::ffff:198.51.100.%d", i%256) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The real_ip module makes what it is told the reader's address.
			server := front(t, service, "server_name _;", "server_name _; set_real_ip_from 127.0.0.1; real_ip_header X-Test-Address;")
			client := reader(t, server, nil)

			// Many at a time are more than 20 a second, also on a busy machine.
			var limited, passed atomic.Int64
			var group sync.WaitGroup
			for worker := range 16 {
				group.Go(func() {
					for i := worker; i < 400; i += 16 {
						switch status, err := statusFor(t.Context(), client, "https://"+server.TLSAddr+"/", tc.address(i)); status {
						case http.StatusOK:
							passed.Add(1)
						case http.StatusTooManyRequests:
							limited.Add(1)
						default:
							t.Errorf("%s: %d, %v", tc.address(i), status, err)
						}
					}
				})
			}
			group.Wait()
			if passed.Load() < 41 || (limited.Load() > 0) != tc.limited {
				t.Errorf("of 400 requests %d passed and %d were too many; want such: %v", passed.Load(), limited.Load(), tc.limited)
			}
		})
	}
}

// statusFor asks as a reader of the given address would.
func statusFor(ctx context.Context, client *http.Client, url, address string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Test-Address", address)
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

func TestNginxForwards(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 1)
	server := front(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	client := reader(t, server, nil)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	get(t, client, "https://"+server.TLSAddr+"/api/items?points=3", "Traceparent", trace, "X-Forwarded-For", "203.0.113.7")
	r := <-got
	if r.Host != server.TLSAddr || r.URL.RequestURI() != "/api/items?points=3" {
		t.Errorf("the service was asked for %s on %s", r.URL.RequestURI(), r.Host)
	}
	for name, want := range map[string]string{
		"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "Traceparent": trace,
	} {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q once", name, got, want)
		}
	}
}

func TestNginxWithoutTheService(t *testing.T) {
	t.Parallel()
	server := front(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}))
	res, body := get(t, reader(t, server, nil), "https://"+server.TLSAddr+"/")
	if res.StatusCode != http.StatusBadGateway || bytes.Contains(body, []byte("127.0.0.1")) {
		t.Errorf("%s\n%s", res.Status, body)
	}
}
