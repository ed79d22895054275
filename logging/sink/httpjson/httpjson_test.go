package httpjson_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "canary-5f1b2c"

// receive reads NDJSON.
func receive(idField string) func(*http.Request, []byte) ([]string, error) {
	return func(r *http.Request, body []byte) (messages []string, err error) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			return nil, fmt.Errorf("authorization is %q", got)
		}
		if got := r.Header.Get("Content-Type"); got != "application/x-ndjson" {
			return nil, fmt.Errorf("content type is %q", got)
		}
		if r.Header.Get("Batch-Id") == "" {
			return nil, fmt.Errorf("no batch ID")
		}
		for l := range bytes.Lines(body) {
			var e map[string]any
			if err := json.Unmarshal(l, &e); err != nil || l[len(l)-1] != '\n' {
				return nil, fmt.Errorf("line %q: %v", l, err)
			}
			if idField != "" && !strings.HasPrefix(fmt.Sprint(e[idField]), "20260102150405000000-") {
				return nil, fmt.Errorf("line %q: no ID", l)
			}
			if m, ok := e["msg"].(string); ok {
				messages = append(messages, m)
			} else {
				messages = append(messages, e["message"].(string))
			}
		}
		return messages, nil
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]httpjson.Options{
		"gzip":  {Gzip: true},
		"ids":   {IDField: "event id"},
		"plain": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, sinktest.Harness{
				New: func(url string) (logging.Sink, error) {
					o.URL, o.Token = url+"/ingest", secret.New(token)
					return httpjson.New(&o)
				},
				Receive: receive(o.IDField),
				Secret:  token,
			})
		})
	}
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts *httpjson.Options
		want []string
	}{
		{"nil", nil, []string{"URL: is missing"}},
		{"scheme", &httpjson.Options{URL: "ftp://h/"}, []string{`"ftp"`}},
		{"no host", &httpjson.Options{URL: "http:///x"}, []string{"no host"}},
		{"userinfo", &httpjson.Options{URL: "http://u:canary@h/"}, []string{"user or password"}},
		{"no URL", &httpjson.Options{URL: "http://ca nary\x7f/"}, []string{"no URL"}},
		{"all", &httpjson.Options{URL: "http://h", MaxBatchBytes: -1, MaxBatchEvents: -2, MaxEventBytes: -3, HTTP: sink.HTTP{Timeout: -4}}, []string{"MaxBatchBytes: -1", "MaxBatchEvents: -2", "MaxEventBytes: -3", "Timeout: -4ns"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := httpjson.New(tt.opts)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not contain %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

// TestRawLines ships lines as they stand in the file: plain HTTP, no IDs.
func TestRawLines(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	var ids []string
	srv := newServer(t, func(r *http.Request, b []byte) {
		if r.Header.Get("Batch-Contiguous") != "true" {
			t.Errorf("Batch-Contiguous is not set")
		}
		body.Write(b)
		ids = append(ids, r.Header.Get("Batch-Id"))
	})
	sink, err := httpjson.New(&httpjson.Options{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log")})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 5000 {
		line := fmt.Appendf(nil, "{\"n\":%d}\n", i)
		want.Write(line)
		if _, err := f.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 16384})
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.SendBulk(t.Context())
	if err != nil || res.Events != 5000 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if !bytes.Equal(body.Bytes(), want.Bytes()) {
		t.Errorf("the receiver got other bytes than were written")
	}
	segment := strings.TrimSuffix(ids[0], "-0")
	var second int
	if _, err := fmt.Sscanf(strings.TrimPrefix(ids[1], segment+"-"), "%d", &second); err != nil || second < 16_000 || second > 16_384 {
		t.Errorf("IDs %q: the second batch does not begin where the first ended", ids[:2])
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 3 {
		t.Errorf("files left: %v", entries)
	}
}

// TestLimits ships lines that are no JSON, which take up to six bytes for one
// when they are quoted: the receiver never sees more than it takes.
func TestLimits(t *testing.T) {
	t.Parallel()
	const batchBytes, batchEvents, eventBytes = 20_000, 30, 5_000
	for _, field := range []string{"", "event_id"} {
		for _, gzip := range []bool{false, true} {
			t.Run(fmt.Sprintf("field=%s,gzip=%v", field, gzip), func(t *testing.T) {
				t.Parallel()
				got := 0
				srv := newServer(t, func(_ *http.Request, b []byte) {
					lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
					got += len(lines)
					if len(b) > batchBytes || len(lines) > batchEvents {
						t.Errorf("a batch of %d events and %d bytes", len(lines), len(b))
					}
					for _, l := range lines {
						if len(l) > eventBytes || !json.Valid(l) {
							t.Errorf("a line of %d bytes", len(l))
						}
					}
				})
				sink, err := httpjson.New(&httpjson.Options{
					URL: srv.URL, IDField: field, Gzip: gzip,
					MaxBatchBytes: batchBytes, MaxBatchEvents: batchEvents, MaxEventBytes: eventBytes,
				})
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log")})
				if err != nil {
					t.Fatal(err)
				}
				const small, large = 600, 3
				for i := range small {
					if _, err := fmt.Fprintf(f, "%s%d\n", strings.Repeat("\x01", i), i); err != nil {
						t.Fatal(err)
					}
				}
				for i := range large { // as JSON, as a text, as a text that grows
					line := []string{`{"m":"` + strings.Repeat("x", eventBytes) + `"}`, strings.Repeat("x", eventBytes+1), strings.Repeat(`"`, eventBytes-100)}[i]
					if _, err := fmt.Fprintln(f, line); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: sink})
				if err != nil {
					t.Fatal(err)
				}
				res, err := s.SendBulk(t.Context())
				if !errors.Is(err, logging.ErrRefused) || errors.Is(err, logging.ErrRemaining) || res.Events != small || res.Quarantined != large || got != small {
					t.Fatalf("SendBulk = %+v, %v; %d arrived", res, err, got)
				}
			})
		}
	}
	_, err := httpjson.New(&httpjson.Options{URL: "http://h", IDField: "event_id", MaxEventBytes: 20})
	if err == nil || !strings.Contains(err.Error(), "MaxEventBytes") {
		t.Errorf("a limit below the size of an ID: %v", err)
	}
}

// TestHTTP2 ships over TLS and HTTP/2, to a receiver that answers before it
// read the body, at first with 503.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	for _, gzip := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip=", gzip), func(t *testing.T) {
			t.Parallel()
			requests, got := 0, 0
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if requests++; requests%3 == 1 {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				if r.ProtoMajor != 2 {
					t.Errorf("protocol %s", r.Proto)
				}
				b := body(t, r)
				got += bytes.Count(b, []byte("\n"))
			}))
			srv.EnableHTTP2 = true
			srv.StartTLS()
			defer srv.Close()
			defer srv.CloseClientConnections()
			sink, err := httpjson.New(&httpjson.Options{URL: srv.URL, Gzip: gzip, HTTP: sink.HTTP{Client: srv.Client()}})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log")})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20_000 {
				if _, err := fmt.Fprintf(f, "{\"n\":%d,\"x\":%q}\n", i, strings.Repeat("x", 100)); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: sink, MaxBatchBytes: 200_000, Retry: logging.Retry{Base: time.Millisecond, Max: time.Millisecond}})
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.SendBulk(t.Context())
			if err != nil || res.Events != 20_000 || got != 20_000 || res.Retries == 0 {
				t.Fatalf("SendBulk = %+v, %v; %d arrived", res, err, got)
			}
		})
	}
}

// TestDeadConnection has something on the way forget an HTTP/2 connection without
// a word: it is given up within the time of a request, and the next has another.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	var connections, forgotten atomic.Int64
	pump := func(n int64, to, from net.Conn) {
		for piece := make([]byte, 4096); ; {
			got, err := from.Read(piece)
			if err != nil {
				_ = to.Close()
				return
			}
			if forgotten.Load() < n {
				_, _ = to.Write(piece[:got])
			}
		}
	}
	go func() {
		for {
			client, err := relay.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			n := connections.Add(1)
			go pump(n, client, server)
			go pump(n, server, client)
		}
	}()

	authorities := x509.NewCertPool()
	authorities.AddCert(srv.Certificate())
	sink, err := httpjson.New(&httpjson.Options{URL: "https://" + relay.Addr().String(), HTTP: sink.HTTP{RootCAs: authorities, Timeout: 500 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	batch := &logging.Batch{ID: "1-0", Events: []logging.Event{{ID: "1-0", Line: []byte("{}")}}}
	testenv.Eventually(t, func() error { return sink.Send(t.Context(), batch) }) // a busy machine may take its time
	forgotten.Store(connections.Load())
	dead := 0
	testenv.Eventually(t, func() error {
		err := sink.Send(t.Context(), batch)
		if err != nil && connections.Load() == forgotten.Load() {
			if dead++; dead > 3 {
				t.Fatalf("request %d on the dead connection: %v", dead, err)
			}
		}
		return err
	})
	if dead == 0 {
		t.Error("the dead connection has answered")
	}
}

// TestHeaderIsNotShown has the receiver answer with what it got.
func TestHeaderIsNotShown(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_ = r.Header.Write(w)
	}))
	defer srv.Close()
	defer srv.CloseClientConnections()
	for name, value := range map[string]string{"X-Api-Key": "canary-1", "Authorization": "Basic canary-2", "Cookie": "session=canary-3"} {
		sink, err := httpjson.New(&httpjson.Options{URL: srv.URL, Header: http.Header{name: {value}}})
		if err != nil {
			t.Fatal(err)
		}
		err = sink.Send(t.Context(), &logging.Batch{ID: "1-0", Events: []logging.Event{{ID: "1-0", Line: []byte("{}")}}})
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "403") {
			t.Errorf("Send = %v", err)
		}
	}
}
