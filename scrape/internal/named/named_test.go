package named_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	gone, start := errors.New("scrape: egress unavailable"), errors.New("tor: start")
	for _, tc := range []struct {
		op   string
		err  error
		want string
	}{
		{"exit", start, "tor: exit: start"},
		{"", fmt.Errorf("%w: %w: (tor: again)", gone, start), "tor: egress unavailable: start: (again)"},
		{"", errors.New("container tor: not running"), "tor: container tor: not running"},
		{"", fmt.Errorf("%w; %w (after %w)", gone, start, gone), "tor: egress unavailable; start (after egress unavailable)"},
		{"x", errors.Join(gone, start), "tor: x: egress unavailable\nstart"},
	} {
		err := named.Wrap("tor", tc.op, tc.err)
		if err.Error() != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("Wrap(%q, %q) = %q, want %q", tc.op, tc.err, err, tc.want)
		}
	}
	if err := named.Wrap("tor", "x", nil); err != nil {
		t.Errorf("Wrap of nil = %v", err)
	}
}
