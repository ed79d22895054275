package scrape_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/svcblocks/svcblocks/scrape"
)

// Each draws a URL when a worker has nothing to do, and no further one: who
// yields no more has only the requests under way to wait for.
func TestEachDrawsNoMoreThanItsWorkersTake(t *testing.T) {
	t.Parallel()
	const workers, urls = 4, 400
	var drawn, done atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	client := newClient(t, options(scrape.Direct()))

	most := int64(0)
	err := client.Each(t.Context(), func(yield func(string) bool) {
		for i := range urls {
			most = max(most, drawn.Add(1)-done.Load())
			if !yield(fmt.Sprintf("%s/%d", server.URL, i)) {
				return
			}
		}
	}, workers, func(_ string, _ *http.Response, err error) error {
		done.Add(1)
		return err
	})

	if err != nil || done.Load() != urls {
		t.Fatalf("%d pages: %v", done.Load(), err)
	}
	if most > workers {
		t.Errorf("%d URLs were drawn and not done, want %d at most", most, workers)
	}
}
