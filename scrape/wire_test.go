package scrape_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/svcblocks/svcblocks/scrape"
)

// frameSite is an HTTP/2 site that answers each request by frames of its own.
type frameSite struct {
	url                   string
	config                *tls.Config
	requests, connections atomic.Int64
}

// newFrameSite starts a site. answer gets each request's stream, and reports
// whether the connection stays.
func newFrameSite(t testing.TB, answer func(c net.Conn, f *http2.Framer, id uint32, n int64) bool) *frameSite {
	t.Helper()
	h := httptest.NewUnstartedServer(http.NotFoundHandler())
	h.StartTLS()
	pool := x509.NewCertPool()
	pool.AddCert(h.Certificate())
	cert := h.TLS.Certificates[0]
	h.Close()

	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &frameSite{url: "https://" + l.Addr().String() + "/", config: &tls.Config{RootCAs: pool, ServerName: "example.com"}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.connections.Add(1)
			go s.serve(c, answer)
		}
	}()
	return s
}

func (s *frameSite) serve(c net.Conn, answer func(net.Conn, *http2.Framer, uint32, int64) bool) {
	defer func() { _ = c.Close() }()
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if h, ok := frame.(*http2.HeadersFrame); ok && !answer(c, f, h.StreamID, s.requests.Add(1)) {
			return
		}
	}
}

// TestOneRequestPerAttempt: what net/http would repeat below RoundTrip is an
// attempt of ours, with the host's turn and in Stats.
func TestOneRequestPerAttempt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		post   bool // a POST may be repeated
		answer func(c net.Conn, f *http2.Framer, id uint32, n int64) bool
	}{
		{"hangs up, as nginx does for 444", false, func(net.Conn, *http2.Framer, uint32, int64) bool { return false }},
		{"resets the connection", false, func(c net.Conn, _ *http2.Framer, _ uint32, _ int64) bool {
			_ = c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
			_ = c.(*tls.Conn).NetConn().Close()
			return false
		}},
		{"PROTOCOL_ERROR", false, func(_ net.Conn, f *http2.Framer, id uint32, _ int64) bool {
			_ = f.WriteRSTStream(id, http2.ErrCodeProtocol)
			return true
		}},
		{"INTERNAL_ERROR", false, func(_ net.Conn, f *http2.Framer, id uint32, _ int64) bool {
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
			return true
		}},
		{"REFUSED_STREAM", true, func(_ net.Conn, f *http2.Framer, id uint32, _ int64) bool {
			_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			return true
		}},
		{"GOAWAY", true, func(_ net.Conn, f *http2.Framer, _ uint32, _ int64) bool {
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
			return true
		}},
		{"GOAWAY ENHANCE_YOUR_CALM", true, func(_ net.Conn, f *http2.Framer, _ uint32, _ int64) bool {
			_ = f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil)
			return true
		}},
		{"GOAWAY above the stream, then the end", false, func(_ net.Conn, f *http2.Framer, id uint32, _ int64) bool {
			_ = f.WriteGoAway(id, http2.ErrCodeNo, nil)
			return false
		}},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(method+" "+tc.name, func(t *testing.T) {
				t.Parallel()
				site := newFrameSite(t, tc.answer)
				opts := options(scrape.Direct())
				opts.TLS = site.config
				opts.HostLimit = scrape.HostLimit{PerSecond: 20}
				opts.Retry = scrape.Retry{Attempts: 3, Base: time.Millisecond}
				c := newClient(t, opts)

				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, method, site.url, strings.NewReader("once"))
				if err != nil {
					t.Fatal(err)
				}
				if method == http.MethodGet {
					req.Body, req.GetBody, req.ContentLength = nil, nil, 0
				}
				began := time.Now()
				_, err = c.Do(req)
				elapsed := time.Since(began)

				want := int64(3)
				if method == http.MethodPost && !tc.post {
					want = 1
				}
				se, ok := errors.AsType[*scrape.Error](err)
				if !ok || !errors.Is(err, scrape.ErrHangUp) || !se.Temporary() {
					t.Errorf("%v, want a temporary *Error that matches ErrHangUp", err)
				}
				if n := site.requests.Load(); n != want {
					t.Errorf("%d requests at the site, want %d", n, want)
				}
				if n := site.connections.Load(); n > want {
					t.Errorf("%d connections at the site, want at most %d", n, want)
				}
				s := c.Stats()
				if s.Requests != site.requests.Load() || s.Connections != site.connections.Load() || s.Retries != want-1 {
					t.Errorf("Stats: %d requests, %d connections, %d retries; the site saw %d and %d", s.Requests, s.Connections, s.Retries, site.requests.Load(), site.connections.Load())
				}
				if least := time.Duration(want-1) * 50 * time.Millisecond; elapsed < least {
					t.Errorf("%d requests in %v at 20/s", want, elapsed)
				}
			})
		}
	}
}

// TestConnectionsAreShared: HTTP/2 needs one connection for all, HTTP/1.1 one
// for each request at a time, and both are used again.
func TestConnectionsAreShared(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{true, false} {
		t.Run(fmt.Sprint("h2 ", h2), func(t *testing.T) {
			t.Parallel()
			const workers = 8
			var connections atomic.Int64
			site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
			site.EnableHTTP2 = h2
			site.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					connections.Add(1)
				}
			}
			site.StartTLS()
			t.Cleanup(site.Close)
			opts := options(scrape.Direct())
			opts.TLS = site.Client().Transport.(*http.Transport).TLSClientConfig
			c := newClient(t, opts)
			urls := func(yield func(string) bool) {
				for i := range 400 {
					if !yield(fmt.Sprint(site.URL, "/", i)) {
						return
					}
				}
			}
			err := c.Each(t.Context(), urls, workers, func(_ string, res *http.Response, err error) error {
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
				}
				return err
			})
			limit := int64(1)
			if !h2 {
				limit = workers + 1
			}
			if n := connections.Load(); err != nil || n > limit || n != c.Stats().Connections {
				t.Errorf("%v: %d connections for 400 pages by %d workers, want at most %d; Stats counts %d", err, n, workers, limit, c.Stats().Connections)
			}
		})
	}
}

// TestDeadConnectionIsLeft: a request on an HTTP/2 connection that has died
// without a word ends at Limits.Timeout, and the next one makes a new one.
func TestDeadConnectionIsLeft(t *testing.T) {
	t.Parallel()
	site := newTLSSite(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	far := strings.TrimPrefix(site.url, "https://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var dead atomic.Bool
	var connections atomic.Int64
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			first := connections.Add(1) == 1
			beyond, err := net.Dial("tcp", far)
			if err != nil {
				return
			}
			pipe := func(dst, src net.Conn) {
				defer func() { _ = dst.Close() }()
				buf := make([]byte, 32<<10)
				for {
					n, err := src.Read(buf)
					if err != nil {
						return
					}
					if first && dead.Load() {
						continue
					}
					if _, err := dst.Write(buf[:n]); err != nil {
						return
					}
				}
			}
			go pipe(beyond, near)
			go pipe(near, beyond)
		}
	}()

	opts := options(scrape.Direct())
	opts.TLS = site.config.Clone()
	opts.TLS.ServerName = "example.com"
	opts.Limits.Timeout = 2 * time.Second
	c := newClient(t, opts)
	address := "https://" + l.Addr().String() + "/"
	if _, body, err := get(t, c, address); err != nil || body != "HTTP/2.0" {
		t.Fatal(body, err)
	}
	dead.Store(true)
	if _, _, err := get(t, c, address); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("on the dead connection: %v", err)
	}
	if _, _, err := get(t, c, address); err != nil || connections.Load() != 2 {
		t.Errorf("the next request: %v, %d connections", err, connections.Load())
	}
}

// TestUpgrade: the connection behind an answer 101 belongs to the caller.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	site := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := rw.ReadString('\n')
		fmt.Fprint(conn, strings.ToUpper(line))
	})
	opts := options(scrape.Direct())
	opts.Limits.Timeout = 500 * time.Millisecond
	c := newClient(t, opts)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := c.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	rw, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d, body %T, want 101 and an io.ReadWriteCloser", res.StatusCode, res.Body)
	}
	select { // beyond Limits.Timeout, which is for answers
	case <-time.After(600 * time.Millisecond):
	case <-t.Context().Done():
	}
	fmt.Fprint(rw, "hello\n")
	answer, err := io.ReadAll(rw)
	if string(answer) != "HELLO\n" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	if err := rw.Close(); err != nil {
		t.Error(err)
	}
	if res.Request.Context().Err() != nil {
		t.Error("the context of the answer's request has ended")
	}
}
