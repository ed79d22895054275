package history_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
)

func TestLogouts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.db")
	for range 2 { // before and after a restart
		store, err := history.Open(path, history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for id, left := range map[string]time.Duration{"over": -time.Second, "lasts": time.Hour} {
			if err := store.Logouts().End(id, time.Now().Add(left)); err != nil {
				t.Fatal(err)
			}
		}
		ended, err := store.Logouts().Ended()
		if err != nil || !slices.Equal(slices.Collect(maps.Keys(ended)), []string{"lasts"}) || time.Until(ended["lasts"]) < 50*time.Minute {
			t.Errorf("Ended = %v, %v; want what lasts", ended, err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Logouts().Ended(); err == nil {
			t.Error("Ended of a closed store = nil")
		}
	}
}
