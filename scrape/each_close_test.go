package scrape_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/svcblocks/svcblocks/scrape"
)

// After Close, workers that have nothing to do wait for the end of the list
// without spending time: the bubble sees them blocked.
func TestEachWaitsQuietlyAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, err := scrape.New(t.Context(), &scrape.Options{Egress: scrape.Direct()})
		if err != nil {
			t.Fatal(err)
		}
		more, ended := make(chan struct{}), make(chan error)
		go func() {
			ended <- client.Each(t.Context(), func(func(string) bool) { <-more }, 4,
				func(string, *http.Response, error) error { return nil })
		}()

		synctest.Wait()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		close(more)
		if err := <-ended; err != nil {
			t.Errorf("Each = %v", err)
		}
	})
}
