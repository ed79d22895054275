package logging_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

// TestComponentStandsOnce has loggers whose records name a component of their
// own, as those of a library do: a receiver that refuses a key twice takes them.
func TestComponentStandsOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logs, err := logging.New(&logging.Options{Console: logging.ConsoleOptions{Format: "json", Writer: &out}})
	if err != nil {
		t.Fatal(err)
	}
	log := logs.Logger("shop").With("shard", 1)
	log.Info("same", "component", "shop", "n", 1)
	log.Info("other", "component", "notify")
	log.Info("typed", slog.Any("component", slog.StringValue("notify")))
	log.WithGroup("g").Info("within", "component", "inner")
	log.Info("none", "n", 2)
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}

	want := []string{
		`"component":"shop","shard":1,"n":1}`, `"component":"notify","shard":1}`, `"component":"notify","shard":1}`,
		`"component":"shop","shard":1,"g":{"component":"inner"}}`, `"component":"shop","shard":1,"n":2}`,
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if i >= len(want) || !strings.HasSuffix(line, want[i]) {
			t.Errorf("%s\nwant the end %v", line, want[min(i, len(want)-1)])
		}
	}
}
