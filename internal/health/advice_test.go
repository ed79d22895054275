package health_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/health"
)

type statusError int

func (s statusError) Error() string   { return fmt.Sprint("answer ", int(s)) }
func (s statusError) StatusCode() int { return int(s) }

type adviser struct{ error }

func (adviser) Advice() string { return "own advice" }

// pathError wraps no as the standard library does, and once more.
func pathError(no syscall.Errno) error {
	return fmt.Errorf("block: write: %w", &fs.PathError{Op: "write", Path: "/data/log", Err: no})
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	type row struct {
		name string
		err  error
		want string
	}
	rows := []row{
		{"nil", nil, ""},
		{"unknown", errors.New("odd"), ""},
		{"own", fmt.Errorf("x: %w", adviser{errDown}), "own advice"},
		{"removed", fmt.Errorf("x: %w", fs.ErrNotExist), "does not exist"},
		{"400", statusError(400), "refuses what was sent (400)"},
		{"302", statusError(302), "another address (302)"},
		{"418", statusError(418), "refuses it (418)"},
		{"401", fmt.Errorf("x: %w", statusError(401)), "credentials (401)"},
		{"403", errors.Join(errDown, statusError(403)), "forbids it (403)"},
		{"404", statusError(404), "path of the URL"},
		{"407", statusError(407), "proxy"},
		{"413", statusError(413), "too large"},
		{"421", statusError(421), "list of hosts"},
		{"429", statusError(429), "less often"},
		{"503", statusError(503), "not well (503)"},
		{"200", statusError(200), ""},
		{"name", &net.OpError{Op: "dial", Err: &net.DNSError{Name: "nowhere.invalid", IsNotFound: true}}, "does not resolve"},
		{"name server", &net.DNSError{Name: "a.example", IsTimeout: true}, "name server does not answer"},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), "in time"},
		{"TLS port", errors.New("x: 400: Client sent an HTTP request to an HTTPS server."), "is http meant to be https"},
	}
	if runtime.GOOS != "windows" {
		for no, want := range map[syscall.Errno]string{
			syscall.ENOSPC: "full", syscall.EDQUOT: "quota", syscall.EFBIG: "larger", syscall.EACCES: "no permission for /data/log",
			syscall.EPERM: "does not permit", syscall.EROFS: "read-only", syscall.EMFILE: "ulimit -n", syscall.ENFILE: "file-max",
			syscall.ENOENT: "/data/log does not exist", syscall.ENOTDIR: "folder is none", syscall.ELOOP: "symbolic link", syscall.EIO: "device",
			syscall.ECONNREFUSED: "nobody listens", syscall.ECONNRESET: "ended the connection", syscall.ENETUNREACH: "no route",
			syscall.ETIMEDOUT: "does not answer", syscall.EADDRINUSE: "another program has that address",
		} {
			rows = append(rows, row{no.Error(), pathError(no), want})
		}
	}
	seen := map[string]string{}
	for _, r := range rows {
		got := health.Advice(r.err)
		if (got == "") != (r.want == "") || !strings.Contains(got, r.want) {
			t.Errorf("%s: Advice = %q, want it to say %q", r.name, got, r.want)
		}
		if other := seen[got]; other != "" && got != "" {
			t.Errorf("%s and %s get the same advice", r.name, other)
		}
		seen[got] = r.name
	}
}

// TestAdviceOfRealErrors makes each error by the network itself.
func TestAdviceOfRealErrors(t *testing.T) {
	t.Parallel()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain, secure := httptest.NewServer(ok), httptest.NewUnstartedServer(ok)
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	raw, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })

	get := func(url string, transport *http.Transport, limit time.Duration) error {
		c := &http.Client{Transport: transport, Timeout: limit}
		defer c.CloseIdleConnections()
		resp, err := c.Get(url)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body := make([]byte, 100)
		n, _ := resp.Body.Read(body)
		return fmt.Errorf("status %d: %s", resp.StatusCode, body[:n])
	}
	trusted := func(name string) *http.Transport {
		tr, _ := secure.Client().Transport.(*http.Transport)
		tr = tr.Clone()
		tr.TLSClientConfig.ServerName = name
		return tr
	}
	expired := trusted("example.com")
	expired.TLSClientConfig.Time = func() time.Time { return time.Now().AddDate(1000, 0, 0) }

	for _, r := range []struct {
		name string
		err  error
		want string
	}{
		{"closed port", get("http://"+closed, &http.Transport{}, time.Minute), "nobody listens"},
		{"https to an http port", get(strings.Replace(plain.URL, "http", "https", 1), &http.Transport{}, time.Minute), "does not speak TLS"},
		{"http to an https port", get(strings.Replace(secure.URL, "https", "http", 1), &http.Transport{}, time.Minute), "is http meant to be https"},
		{"untrusted", get(secure.URL, &http.Transport{}, time.Minute), "nobody whom this machine trusts"},
		{"other name", get(secure.URL, trusted("other.example"), time.Minute), "for another name"},
		{"expired", get(secure.URL, expired, time.Minute), "expired"},
		{"silent", get("http://"+raw.Addr().String(), &http.Transport{}, 50*time.Millisecond), "does not answer"},
		{"plain TCP as TLS", func() error {
			c, err := net.Dial("tcp", strings.TrimPrefix(plain.URL, "http://"))
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			return tls.Client(c, &tls.Config{ServerName: "x"}).Handshake() //nolint:gosec // it fails
		}(), "does not speak TLS"},
		{"no such folder", func() error { _, err := os.ReadFile("no/such/file"); return err }(), "no/such/file does not exist"},
	} {
		if got := health.Advice(r.err); !strings.Contains(got, r.want) {
			t.Errorf("%s: Advice(%v) = %q, want it to say %q", r.name, r.err, got, r.want)
		}
	}
}
