package demo_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/demo"
)

func startLogs(t *testing.T, opts *demo.LogOptions) *demo.LogReceiver {
	t.Helper()
	r, err := demo.StartLogReceiver(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// post sends a body; headers are pairs of name and value.
func post(t *testing.T, address string, body []byte, headers ...string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(text))
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

const ndjson = "application/x-ndjson"

func TestLogReceiverKeepsEvents(t *testing.T) {
	t.Parallel()
	r := startLogs(t, &demo.LogOptions{Keep: 2})
	lines := `{"time":"2026-05-04T12:00:00.5Z","level":"INFO","msg":"page fetched","event_id":"a","status":200,"url":"/x"}
{"time":"soon","level":"WARN","msg":"slow","event_id":"b"}

{"level":"ERROR","msg":"<b>page</b>","event_id":"c"}
`
	status, answer := post(t, r.URL(), zipped(t, lines), "Content-Type", ndjson, "Content-Encoding", "gzip")
	if status != 200 || answer != `{"accepted":3,"repeated":0}` {
		t.Errorf("status %d, answer %s", status, answer)
	}
	want := []demo.LogEvent{
		{ID: "c", Level: "ERROR", Message: "<b>page</b>"},
		{ID: "b", Level: "WARN", Message: "slow"},
	}
	if diff := cmp.Diff(want, r.Last()); diff != "" {
		t.Errorf("Last (-want +got):\n%s", diff)
	}
	post(t, r.URL(), []byte(lines[:strings.Index(lines, "\n")]), "Content-Type", ndjson)
	post(t, r.URL(), []byte(strings.Replace(lines[:strings.Index(lines, "\n")], `"a"`, `"d"`, 1)), "Content-Type", ndjson)
	want = []demo.LogEvent{
		{
			ID: "d", Time: time.Date(2026, 5, 4, 12, 0, 0, 5e8, time.UTC), Level: "INFO",
			Message: "page fetched", Attrs: `status=200 url="/x"`,
		},
		want[0],
	}
	if diff := cmp.Diff(want, r.Last()); diff != "" {
		t.Errorf("Last after two more (-want +got):\n%s", diff)
	}
	stats := r.Stats()
	stats.Bytes = 0
	if diff := cmp.Diff(demo.LogStats{Batches: 3, Events: 4, Repeats: 1}, stats); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

func TestLogReceiverKnowsRepeats(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts  *demo.LogOptions
		sends [][]string // body, then headers
		want  demo.LogStats
	}{
		"by id, though the line differs": {
			sends: [][]string{{`{"event_id":"1","msg":"a"}`}, {`{"event_id":"1","msg":"b"}`}},
			want:  demo.LogStats{Batches: 2, Events: 1, Repeats: 1},
		},
		"by an id of another name": {
			opts:  &demo.LogOptions{IDKey: "_id"},
			sends: [][]string{{`{"_id":"1","event_id":"x"}`}, {`{"_id":"1","event_id":"y"}`}},
			want:  demo.LogStats{Batches: 2, Events: 1, Repeats: 1},
		},
		"by the place in the segment": {
			sends: [][]string{
				{"{\"msg\":\"a\"}\n{\"msg\":\"a\"}\n", "Batch-Id", "20260504-1-0", "Batch-Contiguous", "true"},
				{"{\"msg\":\"a\"}\n", "Batch-Id", "20260504-1-12", "Batch-Contiguous", "true"},
				{"{\"msg\":\"a\"}\n{\"msg\":\"a\"}\n", "Batch-Id", "20260504-1-12", "Batch-Contiguous", "true"},
				{"{\"msg\":\"a\"}\n", "Batch-Id", "20260504-2-0", "Batch-Contiguous", "true"},
			},
			want: demo.LogStats{Batches: 4, Events: 4, Repeats: 2},
		},
		"by content where lines were left out": {
			sends: [][]string{
				{`{"msg":"a"}`, "Batch-Id", "20260504-1-0"},
				{`{"msg":"a"}`, "Batch-Id", "20260504-1-700"},
				{`{"msg":"a"}`, "Batch-Id", "nonsense", "Batch-Contiguous", "true"},
			},
			want: demo.LogStats{Batches: 3, Events: 1, Repeats: 2},
		},
		"by content": {
			sends: [][]string{{"{\"msg\":\"a\"}\n{\"msg\":\"b\"}"}, {`{"msg":"b"}`}},
			want:  demo.LogStats{Batches: 2, Events: 2, Repeats: 1},
		},
		"within its memory only": {
			opts:  &demo.LogOptions{Remember: 2},
			sends: [][]string{{`{"event_id":"1"}`}, {`{"event_id":"2"}`}, {`{"event_id":"3"}`}, {`{"event_id":"1"}`}},
			want:  demo.LogStats{Batches: 4, Events: 4},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startLogs(t, tc.opts)
			for _, s := range tc.sends {
				if status, answer := post(t, r.URL(), []byte(s[0]), append([]string{"Content-Type", ndjson}, s[1:]...)...); status != 200 {
					t.Errorf("status %d: %s", status, answer)
				}
			}
			got := r.Stats()
			got.Bytes = 0
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Stats (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogReceiverRefuses(t *testing.T) {
	t.Parallel()
	r := startLogs(t, &demo.LogOptions{MaxBytes: 1 << 12, MaxDecodedBytes: 1 << 14, MaxLineBytes: 1 << 13})
	for name, tc := range map[string]struct {
		body    []byte
		headers []string
		status  int
		want    string
	}{
		"no type":         {[]byte(`{}`), nil, 415, `content type ""`},
		"another type":    {[]byte(`{}`), []string{"Content-Type", "text/html"}, 415, `content type "text/html"`},
		"brotli":          {[]byte(`{}`), []string{"Content-Type", ndjson, "Content-Encoding", "br"}, 415, `content encoding "br"`},
		"not gzip":        {[]byte(`{}`), []string{"Content-Type", ndjson, "Content-Encoding", "gzip"}, 400, "gzip:"},
		"cut gzip":        {zipped(t, `{"a":1}`)[:20], []string{"Content-Type", ndjson, "Content-Encoding", "gzip"}, 400, "unexpected EOF"},
		"no JSON":         {[]byte("{}\nhello"), []string{"Content-Type", ndjson}, 400, "line 2: not a JSON object"},
		"JSON, no object": {[]byte("{}\n{}\n[1]"), []string{"Content-Type", ndjson}, 400, "line 3: not a JSON object"},
		"null":            {[]byte("null"), []string{"Content-Type", ndjson}, 400, "line 1: not a JSON object: null"},
		"large body":      {bytes.Repeat([]byte(" "), 1<<13), []string{"Content-Type", ndjson}, 413, "too large"},
		"bomb": {
			zipped(t, strings.Repeat("{\"a\":1}\n", 1<<16)),
			[]string{"Content-Type", ndjson, "Content-Encoding", "gzip"},
			413, "more than 16384 bytes decoded",
		},
		"long line": {
			zipped(t, `{"a":"`+strings.Repeat("x", 1<<17)+`"}`),
			[]string{"Content-Type", ndjson, "Content-Encoding", "gzip"},
			413, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer := post(t, r.URL(), tc.body, tc.headers...)
			if status != tc.status || !strings.Contains(answer, tc.want) {
				t.Errorf("status %d, answer %q; want %d with %q", status, answer, tc.status, tc.want)
			}
		})
	}
	t.Cleanup(func() {
		if s := r.Stats(); s.Events != 0 || s.Batches != 0 || s.Refused != 11 {
			t.Errorf("Stats = %+v, want nothing but 11 refused", s)
		}
	})
}

func TestLogReceiverConcurrently(t *testing.T) {
	t.Parallel()
	r := startLogs(t, nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				body := fmt.Sprintf("{\"event_id\":\"%d-%d\"}\n{\"event_id\":\"same\"}", g, i)
				if status, answer := post(t, r.URL(), []byte(body), "Content-Type", ndjson); status != 200 {
					t.Errorf("status %d: %s", status, answer)
				}
				r.Last()
			}
		})
	}
	wg.Wait()
	if s := r.Stats(); s.Events != 161 || s.Repeats != 159 || s.Batches != 160 {
		t.Errorf("Stats = %+v, want 161 events and 159 repeats in 160 batches", s)
	}
	if n := len(r.Last()); n != 100 {
		t.Errorf("%d events kept, want 100", n)
	}
}
