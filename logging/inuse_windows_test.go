package logging_test

import (
	"os"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// TestSegmentInUse has another program keep a segment open in the way of most,
// which does not let anyone remove it: it is sent once, also by the next
// process, and removed when it can be.
func TestSegmentInUse(t *testing.T) {
	t.Parallel()
	const total = 3000
	dir := fill(t, total, nil)
	used := segmentsIn(t, dir)[0]
	program, err := os.Open(used)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()

	sink := &collector{took: map[string]int{}}
	for try := range 2 {
		s, err := logging.NewShipper(quick(logging.ShipperOptions{Dir: dir, Sink: sink}))
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.SendBulk(minute(t))
		if err == nil || res.Remaining != 0 {
			t.Errorf("SendBulk = %+v, %v", res, err)
		}
		if want := int64(total * (1 - try)); res.Events != want {
			t.Errorf("%d events, want %d", res.Events, want)
		}
		if try == 1 {
			if err := program.Close(); err != nil {
				t.Fatal(err)
			}
			if res, err := s.SendBulk(minute(t)); err != nil || res.Events != 0 || len(segmentsIn(t, dir)) != 0 {
				t.Errorf("SendBulk = %+v, %v with %v", res, err, segmentsIn(t, dir))
			}
		}
	}
	if len(sink.took) != total {
		t.Errorf("%d events arrived, want %d", len(sink.took), total)
	}
}
