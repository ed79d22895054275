package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

// TestLevelOfAnOutput has the console show less than the file.
func TestLevelOfAnOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	o := logging.Options{
		Level: "debug", File: logging.FileOptions{Path: filepath.Join(dir, "app.log")},
		Console: logging.ConsoleOptions{Format: "text", Level: "warning", Writer: &out},
	}
	logs := newLogs(t, &o)
	log := logs.Logger("a")
	log.Debug("small")
	log.Warn("large")
	if got := out.String(); strings.Contains(got, "small") || !strings.Contains(got, "large") || len(lines(t, dir)) != 2 {
		t.Errorf("console %s, file %v", got, lines(t, dir))
	}

	o.Console.Level, o.Level = "", "error"
	if err := logs.Reconfigure(&o); err != nil {
		t.Fatal(err)
	}
	log.Warn("below the level")
	log.Error("above it")
	if got := out.String(); strings.Contains(got, "below") || !strings.Contains(got, "above it") {
		t.Errorf("console %s", got)
	}
}

func TestReconfigure(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := logging.Options{Levels: map[string]string{"a": "debug"}, Console: logging.ConsoleOptions{Format: "json", Writer: &out}}
	logs := newLogs(t, &o)
	if err := logs.SetLevel("b", slog.LevelDebug, 0); err != nil {
		t.Fatal(err)
	}
	next := logging.Options{Level: "warn", Sample: logging.SampleOptions{First: 1, Per: time.Hour}, Console: logging.ConsoleOptions{Format: "json"}}
	if err := logs.Reconfigure(&next); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} { // what was set is unset
		logs.Logger(name).Info("below")
		logs.Logger(name).Warn("above")
		logs.Logger(name).Warn("above")
	}
	if got := out.String(); strings.Contains(got, "below") || strings.Count(got, "above") != 3 || logs.Stats().Suppressed != 3 {
		t.Errorf("%s, %+v", got, logs.Stats())
	}

	next.Redact, next.Console.Color, next.Level = []string{"x"}, "always", "loud"
	err := logs.Reconfigure(&next)
	for _, want := range []string{"Redact: changed", "Console.Color: changed", `Level: "loud"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Reconfigure = %v, want %q", err, want)
		}
	}
}

// TestKeys has the names of fields that receivers ask for.
func TestKeys(t *testing.T) {
	t.Parallel()
	ctx := logging.WithTraceparent(t.Context(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	for keys, want := range map[string]map[string]string{
		"google": {"severity": "WARNING", "message": "m", "logging.googleapis.com/spanId": "00f067aa0ba902b7"},
		"ecs":    {"log.level": "warn", "message": "m", "trace.id": "4bf92f3577b34da6a3ce929d0e0e4736"},
		"slog":   {"level": "WARN", "msg": "m"},
	} {
		var out bytes.Buffer
		logs := newLogs(t, &logging.Options{Keys: keys, Console: logging.ConsoleOptions{Format: "json", Writer: &out}})
		logs.Logger("").WarnContext(ctx, "m")
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %s is %v, want %s in %s", keys, k, got[k], v, out.String())
			}
		}
	}
}

// TestOldFilesAreBounded keeps a number of segments, and drops those that are
// too old when the log is opened.
func TestOldFilesAreBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app-20200102150405000000-000007.log"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "app.log"), &logging.FileOptions{MaxFiles: 3, MaxAge: time.Hour})
	if n := len(segmentsIn(t, dir)); n != 0 {
		t.Errorf("%d segments after opening", n)
	}
	for range 10 {
		put(t, f, "x")
		if err := f.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(segmentsIn(t, dir)); n != 3 {
		t.Errorf("%d segments, want 3", n)
	}
}
