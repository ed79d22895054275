package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	phuslu "github.com/phuslu/log"
	"github.com/rs/zerolog"
	slogmulti "github.com/samber/slog-multi"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/logging"
)

// The record that every implementation writes: five attributes.
const (
	message  = "order placed"
	customer = "4c8a1e52-9b0d"
	route    = "/v1/orders"
	items    = 42
	took     = 1500 * time.Microsecond
	express  = true
)

// dest is where records go: w, or the file at path if that is set.
type dest struct {
	w    io.Writer
	path string
}

// writer returns w, or the file opened for appending.
func (d dest) writer(t testing.TB) io.Writer {
	t.Helper()
	if d.path == "" {
		return d.w
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// recorder makes a function that writes the record to a destination.
type recorder struct {
	name string
	make func(t testing.TB, d dest) func()
}

// viaSlog writes the record through log/slog.
func viaSlog(h slog.Handler) func() {
	log, ctx := slog.New(h), context.Background()
	return func() {
		log.LogAttrs(
			ctx, slog.LevelInfo, message,
			slog.String("customer", customer), slog.String("route", route),
			slog.Int("items", items), slog.Duration("took", took), slog.Bool("express", express),
		)
	}
}

// ours returns our log to d, with further settings in cfg.
func ours(t testing.TB, d dest, cfg logging.Options) *logging.Logs {
	t.Helper()
	cfg.Console = logging.ConsoleOptions{Format: "json", Writer: d.w}
	if d.path != "" {
		cfg.Console.Format = "off"
		cfg.File = logging.FileOptions{Path: d.path, MaxTotalBytes: 256 << 20}
	}
	logs, err := logging.New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	return logs
}

func newZap(w io.Writer) zapcore.Core {
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.EncodeDuration = zapcore.NanosDurationEncoder
	return zapcore.NewCore(zapcore.NewJSONEncoder(cfg), zapcore.Lock(zapcore.AddSync(w)), zapcore.InfoLevel)
}

var recorders = []recorder{
	{"slog", func(t testing.TB, d dest) func() { return viaSlog(slog.NewJSONHandler(d.writer(t), nil)) }},
	{"ours", func(t testing.TB, d dest) func() { return viaSlog(ours(t, d, logging.Options{}).Handler()) }},
	{"phuslu-slog", func(t testing.TB, d dest) func() {
		return viaSlog(phuslu.SlogNewJSONHandler(d.writer(t), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}},
	{"phuslu", func(t testing.TB, d dest) func() {
		log := phuslu.Logger{Level: phuslu.InfoLevel, TimeFormat: time.RFC3339Nano, Writer: phuslu.IOWriter{Writer: d.writer(t)}}
		return func() {
			log.Info().Str("customer", customer).Str("route", route).Int("items", items).
				Dur("took", took).Bool("express", express).Msg(message)
		}
	}},
	{"zerolog-slog", func(t testing.TB, d dest) func() {
		return viaSlog(zerolog.NewSlogHandler(zerolog.New(d.writer(t)).Level(zerolog.InfoLevel)))
	}},
	{"zerolog", func(t testing.TB, d dest) func() {
		log := zerolog.New(d.writer(t)).Level(zerolog.InfoLevel).With().Timestamp().Logger()
		return func() {
			log.Info().Str("customer", customer).Str("route", route).Int("items", items).
				Dur("took", took).Bool("express", express).Msg(message)
		}
	}},
	{"zap-slog", func(t testing.TB, d dest) func() { return viaSlog(zapslog.NewHandler(newZap(d.writer(t)))) }},
	{"zap", func(t testing.TB, d dest) func() {
		log := zap.New(newZap(d.writer(t)))
		return func() {
			log.Info(message, zap.String("customer", customer), zap.String("route", route),
				zap.Int("items", items), zap.Duration("took", took), zap.Bool("express", express))
		}
	}},
	{"slog-multi-1", func(t testing.TB, d dest) func() {
		return viaSlog(slogmulti.Fanout(slog.NewJSONHandler(d.writer(t), nil)))
	}},
}

// checkRecord reports how a line differs from the record. Where the time, the
// level, the message and the duration stand and how they are written is each
// implementation's own; that they are there is not.
func checkRecord(line []byte, extra map[string]any) string {
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		return err.Error()
	}
	for _, names := range [][]string{{"time", "ts"}, {"level"}, {"msg", "message"}, {"took"}} {
		found := false
		for _, name := range names {
			if v, ok := got[name]; ok && v != "" {
				found = true
				delete(got, name)
			}
		}
		if !found {
			return "no " + names[0]
		}
	}
	want := map[string]any{"customer": customer, "route": route, "items": float64(items), "express": express}
	maps.Copy(want, extra)
	return cmp.Diff(want, got)
}

func TestRecordersAgree(t *testing.T) {
	t.Parallel()
	for _, r := range recorders {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			var w lines
			path := filepath.Join(t.TempDir(), "app.log")
			r.make(t, dest{w: &w})()
			r.make(t, dest{path: path})()
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(file)
			if len(w) != 2 {
				t.Fatalf("%d writes, want 1 to the writer and 1 to the file:\n%q", len(w), w)
			}
			for _, line := range w {
				if bytes.Count(line, []byte("\n")) != 1 {
					t.Errorf("not one line: %q", line)
				}
				if diff := checkRecord(line, nil); diff != "" {
					t.Errorf("record (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// lines holds what each Write was given.
type lines [][]byte

func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, bytes.Clone(p))
	return len(p), nil
}

// compareRecords times the recorders after a look at what they write.
func compareRecords(b *testing.B, all []recorder, extra map[string]any, to func(testing.TB) dest) {
	var impls []bench.Impl
	for _, r := range all {
		var w lines
		r.make(b, dest{w: &w})()
		if len(w) != 1 {
			b.Fatalf("%s: %d writes for one record", r.name, len(w))
		}
		if diff := checkRecord(w[0], extra); diff != "" {
			b.Fatalf("%s: record (-want +got):\n%s", r.name, diff)
		}
		impls = append(impls, bench.Impl{Name: r.name, Run: func(b *testing.B) {
			record := r.make(b, to(b))
			b.ReportAllocs()
			bench.LoopCPU(b, record)
		}})
	}
	bench.Compare(b, impls...)
}

func BenchmarkRecord(b *testing.B) {
	b.Run("to=discard", func(b *testing.B) {
		compareRecords(b, recorders, nil, func(testing.TB) dest { return dest{w: io.Discard} })
	})
	b.Run("to=file", func(b *testing.B) {
		compareRecords(b, recorders, nil, func(t testing.TB) dest {
			return dest{path: filepath.Join(t.TempDir(), "app.log")}
		})
	})
}

// featured write the record of a component. Ours looks up the component's
// level, looks for keys to redact, and samples.
var featured = []recorder{
	{"slog", func(t testing.TB, d dest) func() {
		return viaSlog(slog.NewJSONHandler(d.writer(t), nil).WithAttrs([]slog.Attr{slog.String("component", "orders.http")}))
	}},
	{"ours", func(t testing.TB, d dest) func() {
		return viaSlog(ours(t, d, logging.Options{
			Level:  "warn",
			Levels: map[string]string{"orders.*": "info"},
			Redact: []string{"password", "authorization", "token", "api_key"},
			Sample: logging.SampleOptions{First: 1 << 30, Per: time.Second},
		}).Logger("orders.http").Handler())
	}},
}

func BenchmarkRecordFeatures(b *testing.B) {
	compareRecords(b, featured, map[string]any{"component": "orders.http"}, func(testing.TB) dest { return dest{w: io.Discard} })
}

func TestFeaturesAreOn(t *testing.T) {
	t.Parallel()
	var w lines
	logs := ours(t, dest{w: &w}, logging.Options{
		Level: "warn", Levels: map[string]string{"orders.*": "info"}, Redact: []string{"password"},
		Sample: logging.SampleOptions{First: 3, Per: time.Hour},
	})
	logs.Logger("stock").Info("below its level")
	for range 10 {
		logs.Logger("orders.http").Info("login", "password", "hunter2")
	}
	if len(w) != 3 {
		t.Errorf("%d records written, want the 3 that level and sampling let through:\n%s", len(w), bytes.Join(w, nil))
	}
	if bytes.Contains(bytes.Join(w, nil), []byte("hunter2")) {
		t.Errorf("the password was written:\n%s", bytes.Join(w, nil))
	}
}
