package logging_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

// receiver is an httpjson endpoint which counts events by "n" and by ID.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	n      map[int]int      // deliveries by number
	ids    map[string][]int // numbers by event ID
	raw    bytes.Buffer
	answer func(request int, body []byte) int // status; nil: 200
	stall  func(request int) bool             // whether the answer comes too late
	after  func(request int) bool             // whether the answer to a taken request is lost
	count  int
	odd    int // events without a number
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{n: map[int]int{}, ids: map[string][]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	var in io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if r.answer != nil {
		if status := r.answer(r.count, body); status != 200 {
			w.WriteHeader(status)
			return
		}
	}
	r.raw.Write(body)
	lose := r.after != nil && r.after(r.count)
	for l := range bytes.Lines(body) {
		var e struct {
			N  *int   `json:"n"`
			ID string `json:"event_id"`
		}
		if err := json.Unmarshal(l, &e); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		if e.N == nil {
			r.odd++ // a line that a kill cut short
			continue
		}
		r.n[*e.N]++
		if e.ID != "" {
			r.ids[e.ID] = append(r.ids[e.ID], *e.N)
		}
	}
	if r.stall != nil && r.stall(r.count) {
		r.mu.Unlock()
		<-req.Context().Done() // the client gives up
		r.mu.Lock()
	}
	if lose {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	}
}

func (r *receiver) sink(t testing.TB) *httpjson.Sink {
	s, err := httpjson.New(&httpjson.Options{URL: r.URL, IDField: "event_id", HTTP: sink.HTTP{Client: r.Client()}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *receiver) lost(total int) (lost []int, repeated int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range total {
		if r.n[i] == 0 {
			lost = append(lost, i)
		}
		repeated += max(0, r.n[i]-1)
	}
	return lost, repeated
}

func TestSendBulkDeliversAll(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	dir := t.TempDir()
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log"), MaxSegmentBytes: 16 << 10}, Sink: r.sink(t), Ship: logging.ShipperOptions{MaxBatchBytes: 4 << 10, Interval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	log := logs.Logger("orders.http")
	const total = 2000
	for i := range total {
		log.Info("order placed", "n", i, "text", "some words")
	}
	res, err := logs.SendBulk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost, repeated := r.lost(total)
	if len(lost) > 0 || repeated > 0 {
		t.Errorf("lost %d, repeated %d", len(lost), repeated)
	}
	if len(r.ids) != total {
		t.Errorf("%d distinct event IDs, want %d", len(r.ids), total)
	}
	// Segments that were full before went out by themselves.
	if res.Remaining != 0 || res.Retries != 0 || res.Quarantined != 0 {
		t.Errorf("Result = %+v", res)
	}
	st := logs.Stats()
	if st.Written != total || st.Ship.Events != total || st.Ship.WaitingEvents != 0 || st.ActiveEvents != 0 {
		t.Errorf("Stats = %+v", st)
	}
}

func TestRunShipsAndDrains(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer = func(n int, _ []byte) int { return map[bool]int{true: 503, false: 200}[n%3 == 1] }
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log"), MaxSegmentBytes: 16 << 10}, Sink: r.sink(t), CloseTimeout: time.Minute, Ship: logging.ShipperOptions{MaxBatchBytes: 8 << 10, Interval: 5 * time.Millisecond, Retry: logging.Retry{Base: time.Millisecond, Max: 5 * time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- logs.Run(ctx) }()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			log := logs.Logger(fmt.Sprintf("part%d", g))
			for i := range 1000 {
				log.Info("line", "n", g*1000+i)
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if lost, repeated := r.lost(4000); len(lost) > 0 || repeated > 0 {
		t.Errorf("lost %d, repeated %d", len(lost), repeated)
	}
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}
	if st := logs.Stats(); st.Ship.Retries == 0 || st.Ship.Events != 4000 {
		t.Errorf("Stats = %+v", st)
	}
}
