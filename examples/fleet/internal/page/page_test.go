package page_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/crew"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/page"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
)

func status() page.Status {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return page.Status{
		Now:   at,
		Stats: queue.Stats{Waiting: 1500, Working: 40, Results: 12345, Dead: 1},
		Members: []crew.Member{
			{Report: crew.Report{Name: "w1", Host: "one", PerSecond: 51.25, Counts: queue.Counts{Done: 6000, InFlight: 16}}, Seen: at, State: "working"},
			{Report: crew.Report{Name: "<w2>", Host: "two", Counts: queue.Counts{Done: 6345}}, Seen: at, State: "silent"},
		},
		Dead: []queue.DeadLetter{{ID: "x", URL: "http://a/?<script>", Reason: "the site answers 404 Not Found", Tries: 1, Time: at}},
	}
}

func get(t *testing.T, s page.Status, ready error, path string) (int, string, string) {
	t.Helper()
	h := page.NewHandler(page.Options{
		Status: func(context.Context) page.Status { return s }, Ready: func(context.Context) error { return ready },
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String(), w.Header().Get("Content-Security-Policy")
}

func TestPage(t *testing.T) {
	t.Parallel()
	code, text, policy := get(t, status(), nil, "/")
	if code != 200 || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("%d, policy %q", code, policy)
	}
	for _, want := range []string{"12,346 of 13,886 pages", "51.2", "&lt;w2&gt;", "silent", "404 Not Found", "30s", `max="13886" value="12346"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "<script>") {
		t.Error("an address got into the page as it is")
	}
	for path, want := range map[string]int{"/assets/page.css": 200, "/assets/page.js": 200, "/assets/page.gohtml": 404, "/x": 404} {
		if code, _, _ := get(t, status(), nil, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	_, text, _ := get(t, page.Status{Problem: "the server is away"}, nil, "/")
	for _, want := range []string{"No jobs yet", "No worker has reported yet", "the server is away"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	if code, _, _ := get(t, status(), errors.New("away"), "/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if code, _, _ := get(t, status(), nil, "/readyz"); code != 200 {
		t.Errorf("readyz: %d", code)
	}
	if code, text, _ := get(t, status(), errors.New("away"), "/readyz"); code != 503 || !strings.Contains(text, "away") {
		t.Errorf("readyz: %d %s", code, text)
	}
	_, text, _ := get(t, status(), nil, "/api/status")
	var got struct {
		Results int64   `json:"results"`
		Rate    float64 `json:"per_second"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Results != 12345 || got.Rate != 51.25 {
		t.Errorf("%+v, %v: %s", got, err, text)
	}
}

func TestLeft(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]page.Status{
		"none":    {},
		"unknown": {Stats: queue.Stats{Waiting: 1}},
		"1h40m0s": {Stats: queue.Stats{Waiting: 6000}, Members: []crew.Member{{Report: crew.Report{PerSecond: 1}}}},
		"7 days":  {Stats: queue.Stats{Waiting: 600000}, Members: []crew.Member{{Report: crew.Report{PerSecond: 1}}}},
	} {
		if got := s.Left(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
