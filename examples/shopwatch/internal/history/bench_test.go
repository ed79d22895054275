package history_test

import (
	"path/filepath"
	"testing"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
)

// BenchmarkItems reads what the status page shows of 1,000 items with 200
// prices each.
func BenchmarkItems(b *testing.B) {
	s, err := history.Open(filepath.Join(b.TempDir(), "history.db"), history.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for p := range 200 {
		r, err := s.Begin("start")
		if err != nil {
			b.Fatal(err)
		}
		var items []extract.Item
		for i := range 1000 {
			items = append(items, item(i, int64(p)))
		}
		if _, _, err := s.Put(r.ID, history.Page{URL: site, Items: items}); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.Finish(r.ID, history.OK, nil); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Items(200); err != nil {
			b.Fatal(err)
		}
	}
}
