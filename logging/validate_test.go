package logging_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/logging"
)

// TestMistakesByField has options that came from settings: each mistake leads to
// its key, and what only code can set is not asked for.
func TestMistakesByField(t *testing.T) {
	t.Parallel()
	err := logging.Options{
		Level: "loud", File: logging.FileOptions{Path: "x.", MaxSegmentBytes: 5}, Redact: []string{"a", ""},
		Ship: logging.ShipperOptions{Retry: logging.Retry{Base: -time.Second}},
	}.Validate()
	wrong, ok := errors.AsType[options.Mistakes](err)
	if !ok {
		t.Fatalf("Validate = %v", err)
	}
	var keys []string
	for _, m := range wrong {
		keys = append(keys, options.KeyOf(reflect.TypeFor[logging.Options](), m.Field))
	}
	got := strings.Join(keys, " ")
	for _, want := range []string{"level", "file.path", "file.max_segment_bytes", "redact[1]", "ship.retry.base"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s does not name %s: %v", got, want, err)
		}
	}
	if err := (logging.Options{}).Validate(); err != nil {
		t.Errorf("the zero Options: %v", err)
	}
}
