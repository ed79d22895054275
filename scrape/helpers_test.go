package scrape_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// logBook keeps what was logged.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count returns how many lines hold text.
func (l *logBook) count(text string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// sequence gives each caller another user agent.
type sequence struct{ n atomic.Int64 }

func (s *sequence) GetRandom() string { return fmt.Sprintf("agent/%d", s.n.Add(1)) }

// tlsSite is a site over TLS and HTTP/2, with the configuration that trusts it.
type tlsSite struct {
	url    string
	config *tls.Config
}

func newTLSSite(t testing.TB, handler http.HandlerFunc) tlsSite {
	t.Helper()
	site := httptest.NewUnstartedServer(handler)
	site.EnableHTTP2 = true
	site.StartTLS()
	t.Cleanup(site.Close)
	return tlsSite{site.URL, site.Client().Transport.(*http.Transport).TLSClientConfig}
}
