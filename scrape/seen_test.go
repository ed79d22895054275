package scrape_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
)

func TestSeen(t *testing.T) {
	t.Parallel()
	id := func(i int) uint64 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		return binary.BigEndian.Uint64(sum[:])
	}
	var s scrape.Seen
	most := 0.0
	n := testenv.Reps(1_000_000)
	for i := range n {
		if s.Has(id(i)) || !s.Add(id(i)) || s.Add(id(i)) || !s.Has(id(i)) {
			t.Fatalf("page %d is not new, or is new twice", i)
		}
		if i > 5000 {
			most = max(most, float64(s.Bytes())/float64(i+1))
		}
	}
	if most > 16 {
		t.Errorf("%.1f bytes for a page, want at most 16", most)
	}
	t.Logf("%d pages, at most %.1f bytes each", n, most)

	// What a hash may be, however unlikely.
	var odd scrape.Seen
	for _, id := range []uint64{0, 1<<64 - 1, 1 << 58, 1<<58 - 1} {
		if odd.Has(id) || !odd.Add(id) || odd.Add(id) {
			t.Errorf("%#x is not new, or is new twice", id)
		}
	}
}
