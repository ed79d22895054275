package trace_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
)

func TestFetcher(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path+" "+strings.Split(r.Header.Get(trace.Header)+"--", "-")[1])
	}))
	defer s.Close()
	f := trace.NewFetcher(s.Client())
	c, _ := trace.Parse(header)
	ctx := trace.With(t.Context(), c)
	urls := []string{s.URL + "/a", s.URL + "/b", s.URL + "/c", "http://127.0.0.1:1/", "://"}
	var mu sync.Mutex
	var got []string
	failed := 0
	if err := f.Each(ctx, slices.Values(urls), 3, func(_ string, res *http.Response, err error) error {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed++
			return nil
		}
		body, err := io.ReadAll(res.Body)
		got = append(got, string(body))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"/a " + traceID, "/b " + traceID, "/c " + traceID}, got); diff != "" || failed != 2 {
		t.Errorf("%d failed; pages (-want +got):\n%s", failed, diff)
	}
	enough := errors.New("enough")
	calls := 0
	err := f.Each(ctx, slices.Values(urls), 1, func(string, *http.Response, error) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("Each = %v after %d calls, want its callback's error at once", err, calls)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Each(ended, slices.Values(urls), 1, func(string, *http.Response, error) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Each = %v, want the end of its context", err)
	}
}
