package post_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/internal/post"
)

// TestGzipIsTriedPlain has a receiver that does not undo gzip, and answers 400
// or 415: the body is sent plain, once, and from then on at once.
func TestGzipIsTriedPlain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 415} {
		var encodings []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			encodings = append(encodings, r.Header.Get("Content-Encoding"))
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != "{}" {
				w.WriteHeader(status)
			}
		}))
		defer srv.Close()
		p := poster(t, post.Options{URL: srv.URL, Gzip: true})
		for range 3 {
			if _, err := p.Post(t.Context(), p.URL(), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(encodings, ","); got != "gzip,,," {
			t.Errorf("%d: requests with encodings %q", status, got)
		}
	}
}

// TestGzipThatWasTaken has a receiver refuse a body once it took gzip: that is
// no reason to send it plain.
func TestGzipThatWasTaken(t *testing.T) {
	t.Parallel()
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n > 1 {
			w.WriteHeader(400)
		}
	}))
	defer srv.Close()
	p := poster(t, post.Options{URL: srv.URL, Gzip: true})
	_, first := p.Post(t.Context(), p.URL(), []byte("{}"))
	_, second := p.Post(t.Context(), p.URL(), []byte("{}"))
	if first != nil || second == nil || n != 2 {
		t.Errorf("%v, %v in %d requests", first, second, n)
	}
}

// TestTimeoutHoldsForAClient has a receiver that never answers, and a client
// without a bound of its own.
func TestTimeoutHoldsForAClient(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	p := poster(t, post.Options{URL: srv.URL, HTTP: sink.HTTP{Client: &http.Client{}, Timeout: 50 * time.Millisecond}})
	_, err := p.Post(t.Context(), p.URL(), nil)
	if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRetry || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Post = %v", err)
	}
}

func poster(t *testing.T, o post.Options) *post.Poster {
	t.Helper()
	p, err := post.New("test", o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRetryAfterByTheAnswersDate has the receiver's clock run an hour ahead.
func TestRetryAfterByTheAnswersDate(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Add(time.Hour)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		w.Header().Set("Retry-After", now.Add(30*time.Second).UTC().Format(http.TimeFormat))
		if !strings.HasPrefix(r.UserAgent(), "svcblocks-logging") {
			w.WriteHeader(400)
			return
		}
		w.WriteHeader(503)
	}))
	defer srv.Close()
	p := poster(t, post.Options{URL: srv.URL})
	_, err := p.Post(t.Context(), p.URL(), nil)
	if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.RetryAfter != 30*time.Second {
		t.Errorf("Post = %v", err)
	}
}

// TestCertificates has a receiver with a certificate of its own authority.
func TestCertificates(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	srv.Config.ErrorLog = nil
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := poster(t, post.Options{URL: srv.URL, HTTP: sink.HTTP{CAFile: file}})
	if _, err := p.Post(t.Context(), p.URL(), nil); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	p = poster(t, post.Options{URL: srv.URL})
	if _, err := p.Post(t.Context(), p.URL(), nil); err == nil {
		t.Error("without its authority it is trusted")
	}
}

func TestNewReportsMistakes(t *testing.T) {
	t.Parallel()
	token := []secret.Secret{secret.New("canary-token")}
	for want, o := range map[string]post.Options{
		"in clear":            {URL: "http://logs.example.com", Secrets: token},
		"URL: is missing":     {},
		"Timeout: -1s":        {URL: "https://h", HTTP: sink.HTTP{Timeout: -time.Second}},
		"Client: is set":      {URL: "https://h", HTTP: sink.HTTP{Client: &http.Client{}, CAFile: "x"}},
		"KeyFile: is missing": {URL: "https://h", HTTP: sink.HTTP{CertFile: "x"}},
		"CAFile: open none":   {URL: "https://h", HTTP: sink.HTTP{CAFile: "none"}},
	} {
		if _, err := post.New("test", o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v gives %v, want %q", o.HTTP, err, want)
		}
	}
	for _, o := range []post.Options{
		{URL: "http://127.0.0.1:1", Secrets: token},
		{URL: "http://localhost", Secrets: token},
		{URL: "http://h"},
		{URL: "http://h", Secrets: token, HTTP: sink.HTTP{AllowPlainHTTP: true}},
	} {
		if _, err := post.New("test", o); err != nil {
			t.Errorf("%s: %v", o.URL, err)
		}
	}
}

func TestAppendUnique(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{}`:                          `{}`,
		`{"a":1,"b":[1,2,{}],"c":{}}`: `{"a":1,"b":[1,2,{}],"c":{}}`,
		`{"a":1,"b":2,"a":3}`:         `{"b":2,"a":3}`,
		`{"g":{"x":1,"x":"]"},"l":[{"y":1,"y":"a\"}"}, [ ]]}`: `{"g":{"x":"]"},"l":[{"y":"a\"}"},[]]}`,
		`{"\u0061":1,"a":2}`: `{"a":2}`,
		`{"a":{"b":1}`:       `{"message":"{\"a\":{\"b\":1}"}`,
		`text`:               `{"message":"text"}`,
	} {
		if got := string(post.AppendUnique(nil, logging.Event{Line: []byte(line)})); got != want {
			t.Errorf("%s gives %s, want %s", line, got, want)
		}
	}
}
