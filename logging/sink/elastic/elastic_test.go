package elastic_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/elastic"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "canary-9c4e"

// text returns the message of a line.
func text(line string) string {
	var e struct{ Msg, Message string }
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return line
	}
	return e.Msg + e.Message
}

// mistakes fails t unless err names each of want, and not the token.
func mistakes(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not contain %q", err, w)
		}
	}
	if strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("error %v shows a secret", err)
	}
}

// receiver is an index: it stores each ID once.
type receiver struct {
	mu     sync.Mutex
	stored map[string]string // by ID
	fail   func(attempt int, doc string) (status int)
	count  map[string]int // attempts by ID
	sizes  []int
}

// receive reads a bulk request as Elasticsearch documents it.
func receive(r *http.Request, body []byte) (ids, docs []string, err error) {
	if r.URL.Path != "/_bulk" || r.Header.Get("Content-Type") != "application/x-ndjson" {
		return nil, nil, fmt.Errorf("%s with content type %q", r.URL.Path, r.Header.Get("Content-Type"))
	}
	if got := r.Header.Get("Authorization"); got != "ApiKey "+token {
		return nil, nil, fmt.Errorf("authorization %q", got)
	}
	if len(body) > 10_000_000 || !bytes.HasSuffix(body, []byte("\n")) {
		return nil, nil, fmt.Errorf("%d bytes, or no final newline", len(body))
	}
	lines := slices.Collect(bytes.Lines(body))
	for i := 0; i+1 < len(lines); i += 2 {
		var action struct {
			Create struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			}
		}
		if err := json.Unmarshal(lines[i], &action); err != nil || action.Create.Index != "logs-shop-prod" || action.Create.ID == "" {
			return nil, nil, fmt.Errorf("action %s: %w", lines[i], err)
		}
		var doc map[string]any
		if err := json.Unmarshal(lines[i+1], &doc); err != nil || !strings.HasPrefix(fmt.Sprint(doc["@timestamp"]), "2026-") {
			return nil, nil, fmt.Errorf("document %s: %w", lines[i+1], err)
		}
		ids, docs = append(ids, action.Create.ID), append(docs, string(lines[i+1]))
	}
	return ids, docs, nil
}

func (rec *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	ids, docs, err := receive(r, body)
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.sizes = append(rec.sizes, len(ids))
	var items []string
	failed := false
	for i, id := range ids {
		rec.count[id]++
		status := 201
		if rec.fail != nil {
			status = rec.fail(rec.count[id], docs[i])
		}
		if _, there := rec.stored[id]; there && status == 201 {
			status = 409
		}
		if status == 201 {
			rec.stored[id] = docs[i]
		}
		failed = failed || status != 201
		items = append(items, fmt.Sprintf(`{"create":{"status":%d,"error":{"type":"some_exception","reason":"some reason"}}}`, status))
	}
	fmt.Fprintf(w, `{"errors":%v,"items":[%s]}`, failed, strings.Join(items, ","))
}

func newSink(t *testing.T, url string) *elastic.Sink {
	t.Helper()
	s, err := elastic.New(&elastic.Options{URL: url, Index: "logs-shop-prod", APIKey: secret.New(token), DisableGzip: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func events(n int) *logging.Batch {
	b := &logging.Batch{ID: "20260102150405000000-000000-0"}
	for i := range n {
		b.Events = append(b.Events, logging.Event{ID: fmt.Sprint("20260102150405000000-000000-", i), Line: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	return b
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for _, gzip := range []bool{true, false} {
		t.Run(fmt.Sprint("gzip=", gzip), func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, sinktest.Harness{
				New: func(url string) (logging.Sink, error) {
					return elastic.New(&elastic.Options{URL: url, Index: "logs-shop-prod", APIKey: secret.New(token), DisableGzip: !gzip})
				},
				Receive: func(r *http.Request, body []byte) (messages []string, err error) {
					_, docs, err := receive(r, body)
					for _, d := range docs {
						messages = append(messages, text(d))
					}
					return messages, err
				},
				Accept: func(w http.ResponseWriter, _ *http.Request, _ int) { _, _ = io.WriteString(w, `{"errors":false}`) },
				Secret: token,
			})
		})
	}
}

// TestItems reads an answer item by item.
func TestItems(t *testing.T) {
	t.Parallel()
	rec := &receiver{stored: map[string]string{}, count: map[string]int{}}
	srv := httptest.NewServer(rec)
	defer srv.Close()
	defer srv.CloseClientConnections()
	sink := newSink(t, srv.URL)
	status := map[string]int{`"n":3}`: 429, `"n":5}`: 400, `"n":7}`: 503}
	rec.fail = func(attempt int, doc string) int {
		for part, s := range status {
			if strings.Contains(doc, part) && (attempt == 1 || s == 400) {
				return s
			}
		}
		return 201
	}
	b := events(10)
	err := sink.Send(context.Background(), b)
	se, ok := errors.AsType[*logging.SinkError](err)
	if !ok || se.Kind != logging.KindRetry || fmt.Sprint(refused(se)) != "[3 5 7]" || !strings.Contains(se.Error(), "some reason") {
		t.Fatalf("Send = %#v", err)
	}
	again := &logging.Batch{ID: b.ID, Events: []logging.Event{b.Events[3], b.Events[5], b.Events[7]}}
	err = sink.Send(context.Background(), again)
	if se, ok = errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRejected || fmt.Sprint(refused(se)) != "[1]" {
		t.Fatalf("second Send = %#v", err)
	}
	// All again, as after a lost answer: what is there counts as received.
	status = nil
	if err := sink.Send(context.Background(), b); err != nil {
		t.Fatalf("third Send = %v", err)
	}
	if len(rec.stored) != 10 {
		t.Errorf("%d documents stored", len(rec.stored))
	}
	for id, n := range rec.count {
		if n > 3 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	status = map[string]int{`"n":1}`: 403}
	rec.count = map[string]int{}
	err = sink.Send(context.Background(), b)
	if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindConfig {
		t.Errorf("an item with 403 gives %v", err)
	}
}

// TestShipped ships through a receiver that fails three items: exactly those
// are sent again, and one that is poison is put aside.
func TestShipped(t *testing.T) {
	t.Parallel()
	rec := &receiver{stored: map[string]string{}, count: map[string]int{}}
	rec.fail = func(attempt int, doc string) int {
		switch {
		case strings.Contains(doc, `"n":9,`):
			return 400
		case attempt == 1 && (strings.Contains(doc, `"n":3,`) || strings.Contains(doc, `"n":50,`) || strings.Contains(doc, `"n":99,`)):
			return 429
		}
		return 201
	}
	srv := httptest.NewServer(rec)
	defer srv.Close()
	defer srv.CloseClientConnections()
	dir := t.TempDir()
	f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log")})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, err := fmt.Fprintf(f, `{"time":"2026-01-02T15:04:05Z","n":%d,"msg":"m"}`, i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: newSink(t, srv.URL), Retry: logging.Retry{Base: time.Millisecond, Max: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := s.SendBulk(ctx)
	if !errors.Is(err, logging.ErrRefused) || errors.Is(err, logging.ErrRemaining) || res.Events != 99 || res.Quarantined != 1 || res.Retries != 1 {
		t.Fatalf("SendBulk = %+v, %v", res, err)
	}
	if fmt.Sprint(rec.sizes) != "[100 4]" || len(rec.stored) != 99 {
		t.Errorf("requests of %v items, %d stored", rec.sizes, len(rec.stored))
	}
}

// TestPasswordIsNotShown has the receiver answer with the header that it got.
func TestPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	defer srv.Close()
	defer srv.CloseClientConnections()
	sink, err := elastic.New(&elastic.Options{URL: srv.URL, Index: "x", Username: "user", Password: secret.New(token)})
	if err != nil {
		t.Fatal(err)
	}
	err = sink.Send(t.Context(), events(1))
	if err == nil || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("user:"+token))) {
		t.Errorf("Send = %v", err)
	}
}

func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"", "<html>", "{}", `{"status":"ok"}`, `{"errors":null}`, `{"errors":true,"items":[]}`, `{"errors":true,"items":[{"create":{"status":400}}]}`, `[]`} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		err := newSink(t, srv.URL).Send(context.Background(), events(2))
		if se, ok := errors.AsType[*logging.SinkError](err); !ok || se.Kind != logging.KindRetry {
			t.Errorf("the answer %q gives %v", answer, err)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

// TestTimestamp gives each document a time of its own, at its top.
func TestTimestamp(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"time":"2026-01-02T15:04:05Z"}`:                 `{"@timestamp":"2026-01-02T15:04:05Z","time":"2026-01-02T15:04:05Z"}`,
		`{"@timestamp":"2026-05-06T00:00:00Z","a":1}`:     `{"@timestamp":"2026-05-06T00:00:00Z","a":1}`,
		`{"a":{"@timestamp":"2020-01-01T00:00:00Z"}}`:     `{"@timestamp":"2026-01-02T15:04:05Z","a":{"@timestamp":"2020-01-01T00:00:00Z"}}`,
		`{"a":"\"@timestamp\""}`:                          `{"@timestamp":"2026-01-02T15:04:05Z","a":"\"@timestamp\""}`,
		`{}`:                                              `{"@timestamp":"2026-01-02T15:04:05Z"}`,
		`"@timestamp" is missing`:                         `{"@timestamp":"2026-01-02T15:04:05Z","message":"\"@timestamp\" is missing"}`,
		`{"@timestamp":"2026-05-06T00:00:00Z","torn":"ab`: `{"@timestamp":"2026-01-02T15:04:05Z","message":"{\"@timestamp\":\"2026-05-06T00:00:00Z\",\"torn\":\"ab"}`,
	} {
		var docs []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				_, docs, err = receive(r, body)
			}
			if err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, `{"errors":false}`)
		}))
		b := &logging.Batch{Events: []logging.Event{{ID: "20260102150405000000-000000-0", Line: []byte(line)}}}
		if err := newSink(t, srv.URL).Send(t.Context(), b); err != nil || docs[0] != want+"\n" {
			t.Errorf("%s: %v; got %s want %s", line, err, docs, want)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"", `{"errors":true,"items":[{"create":{"status":400,"error":{"type":"x"}}},{"create":{"status":409}}]}`, `{"errors":true,"items":[{},{"a":{}}]}`} {
		f.Add(s)
	}
	var mu sync.Mutex
	body := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, body)
	}))
	f.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	sink, err := elastic.New(&elastic.Options{URL: srv.URL, Index: "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		mu.Lock()
		body = answer
		mu.Unlock()
		err := sink.Send(context.Background(), events(2))
		if err == nil {
			var a struct{ Errors *bool }
			if json.Unmarshal([]byte(answer), &a) != nil || a.Errors == nil {
				t.Errorf("%q counts as taken", answer)
			}
			return
		}
		se, ok := errors.AsType[*logging.SinkError](err)
		if !ok {
			t.Fatalf("%q gives %T", answer, err)
		}
		for _, r := range se.Rejected {
			if r.Index < 0 || r.Index > 1 {
				t.Errorf("%q rejects event %d", answer, r.Index)
			}
		}
	})
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := elastic.New(nil)
	mistakes(t, err, "URL: is missing", `Index: ""`)
	_, err = elastic.New(&elastic.Options{URL: "http://h", Index: "Logs", APIKey: secret.New("canary"), Username: "a:b", Password: secret.New("canary"), MaxBatchBytes: 5, HTTP: sink.HTTP{Timeout: -1}})
	mistakes(t, err, `Index: "Logs"`, "Username too", "colon", "MaxBatchBytes: 5", "Timeout: -1ns")
}

func ExampleSink() {
	index := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Print(string(body))
		_, _ = io.WriteString(w, `{"errors":false}`)
	}))
	defer index.Close()
	sink, err := elastic.New(&elastic.Options{URL: index.URL, Index: "logs-shop-prod", DisableGzip: true, HTTP: sink.HTTP{Client: index.Client()}})
	if err != nil {
		panic(err)
	}
	err = sink.Send(context.Background(), &logging.Batch{ID: "1-0", Events: []logging.Event{
		{ID: "20260102150405000000-123456-0", Line: []byte(`{"time":"2026-01-02T15:04:05Z","level":"INFO","msg":"hello"}`)},
	}})
	fmt.Println(err)
	// Output:
	// {"create":{"_index":"logs-shop-prod","_id":"20260102150405000000-123456-0"}}
	// {"@timestamp":"2026-01-02T15:04:05Z","time":"2026-01-02T15:04:05Z","level":"INFO","msg":"hello"}
	// <nil>
}

func ExampleOptions() {
	_, err := elastic.New(&elastic.Options{URL: "http://localhost:9200", Index: "My Logs"})
	fmt.Println(err)
	// Output: elastic: new: Index: "My Logs" is no index name: use lower case letters, digits, - and _
}

// refused returns the indices of the events that were not taken.
func refused(se *logging.SinkError) (indices []int) {
	for _, r := range se.Rejected {
		indices = append(indices, r.Index)
	}
	return indices
}
