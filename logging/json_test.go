package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

// jsonTo returns a handler that writes JSON to w.
func jsonTo(t testing.TB, w io.Writer, cfg logging.Options) slog.Handler {
	t.Helper()
	cfg.Console = logging.ConsoleOptions{Format: "json", Writer: w}
	if cfg.Level == "" {
		cfg.Level = "debug-100"
	}
	return newLogs(t, &cfg).Handler()
}

func TestSlogtest(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		buf.Reset()
		return jsonTo(t, &buf, logging.Options{})
	}, func(t *testing.T) map[string]any {
		var m map[string]any
		if err := json.Unmarshal(buf.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m
	})
}

// The values of the differential test: of each kind, and of those that
// encoders get wrong.
type textMarshaler struct{ s string }

func (m textMarshaler) MarshalText() ([]byte, error) { return []byte(m.s), nil }

type jsonError struct{ s string }

func (e jsonError) Error() string                { return "error " + e.s }
func (e jsonError) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]string{"e": e.s}) }

type nilPanic struct{ s string }

func (e *nilPanic) Error() string { return e.s }

type valuer struct{ v slog.Value }

func (v valuer) LogValue() slog.Value { return v.v }

type badMarshaler struct{}

func (badMarshaler) MarshalJSON() ([]byte, error) { return nil, errors.New("cannot") }

// endless resolves to itself.
type endless struct{}

func (endless) LogValue() slog.Value { return slog.AnyValue(endless{}) }

type panicMarshaler struct{ s string }

func (p panicMarshaler) MarshalJSON() ([]byte, error) { panic("marshal " + p.s) }

type panicError struct{ s string }

func (p panicError) Error() string { panic(p.s) }

type badText struct{}

func (badText) MarshalText() ([]byte, error) { return nil, errors.New("no <text>") }

type named string

// odd returns values whose encoding takes ways of its own.
func (s *source) odd() any {
	cyclic := map[string]any{}
	cyclic["self"] = []any{cyclic}
	str := s.str()
	odd := []any{
		cyclic,
		map[string]any{str: math.NaN()},
		map[int]any{1: math.Inf(1)},
		[]float32{1.1, math.MaxFloat32},
		struct {
			A string `json:"a<b,omitempty"`
			B int    `json:",string"`
			c int
		}{str, 1, 2},
		endless{},
		panicMarshaler{str},
		panicError{str},
		badText{},
		named(str), &str, (*string)(nil), big.NewInt(1).Lsh(big.NewInt(1), 100),
		json.Number("1e400"), json.Number(str),
		[]error{errors.New(str)},
		time.Month(3), &url.URL{Host: "h", Path: str},
		netip.Addr{},
		[]byte(nil),
		map[named]named{named(str): "<"},
		[2]bool{true},
		complex(1, 2), uintptr(7), json.RawMessage(str),
		struct{}{},
		[0]int{},
		fmt.Errorf("%w: %s", io.EOF, str), errors.Join(errors.New(str), io.EOF), time.Date(2020, 1, 1, 0, 0, 0, 1, time.FixedZone("", -1)), slog.LevelWarn + 1,
		slog.KindGroup,
		[]slog.Attr{slog.String("a", str)},
		map[string]slog.Value{"a": slog.StringValue(str)},
		func() {}, &slog.Source{}, (*slog.Source)(nil),
	}
	return odd[s.r.IntN(len(odd))]
}

// source makes values out of random bits, the same from the same bits.
type source struct {
	r    *rand.Rand
	text string
}

func (s *source) str() string {
	switch s.r.IntN(6) {
	case 0:
		return ""
	case 1:
		return s.text
	case 2:
		return []string{"a", "key", "msg", "time", "level", "g"}[s.r.IntN(6)]
	case 3:
		n := len(s.text)
		if n == 0 {
			return ""
		}
		i := s.r.IntN(n)
		return s.text[i:min(n, i+s.r.IntN(40))]
	case 4:
		return string([]byte{byte(s.r.IntN(256)), byte(s.r.IntN(256)), 'x'})
	default:
		return strings.Repeat("plain text ", s.r.IntN(5)) + string(rune(s.r.IntN(0x2100))) + "\u2028"
	}
}

func (s *source) time() time.Time {
	t := time.Unix(s.r.Int64N(4e9)-1e9, s.r.Int64N(1e9))
	switch s.r.IntN(5) {
	case 0:
		return t.UTC().Truncate(time.Second)
	case 1:
		return t.In(time.FixedZone("x", s.r.IntN(86400)-43200)).Truncate(time.Millisecond)
	case 2:
		return t.UTC().Truncate(time.Microsecond)
	case 3:
		return time.Now()
	}
	return t.UTC()
}

func (s *source) value(depth int) slog.Value {
	switch s.r.IntN(22) {
	case 18, 19:
		return slog.AnyValue(s.odd())
	case 0:
		return slog.Int64Value(int64(s.r.Uint64()))
	case 1:
		return slog.Uint64Value(s.r.Uint64())
	case 2:
		return slog.Float64Value(math.Float64frombits(s.r.Uint64()))
	case 3:
		return slog.Float64Value([]float64{0, 1, -1, 1e21, 1e-7, 1e20, math.NaN(), math.Inf(-1), math.Copysign(0, -1), 3.5, 1e-9, 123456789}[s.r.IntN(12)])
	case 4:
		return slog.BoolValue(s.r.IntN(2) == 0)
	case 5:
		return slog.DurationValue(time.Duration(s.r.Uint64()))
	case 6:
		return slog.TimeValue(s.time())
	case 7, 8:
		if depth > 3 {
			return slog.StringValue(s.str())
		}
		return slog.GroupValue(s.attrs(depth + 1)...)
	case 9:
		return slog.AnyValue(nil)
	case 10:
		return slog.AnyValue(errors.New(s.str()))
	case 11:
		return slog.AnyValue(jsonError{s.str()})
	case 12:
		return slog.AnyValue([]any{s.str(), 1, nil, map[string]string{"<&>": s.str()}})
	case 13:
		return slog.AnyValue(textMarshaler{s.str()})
	case 14:
		return slog.AnyValue((*nilPanic)(nil))
	case 15:
		return slog.AnyValue([]any{badMarshaler{}, func() {}, make(chan int), []byte(s.str()), json.RawMessage(`{ "a" : 1 }`)}[s.r.IntN(5)])
	case 16:
		if depth > 3 {
			return slog.Value{}
		}
		return slog.AnyValue(valuer{s.value(depth + 1)})
	case 17:
		return slog.AnyValue(&slog.Source{Function: s.str(), File: s.str(), Line: s.r.IntN(2)})
	}
	return slog.StringValue(s.str())
}

func (s *source) attrs(depth int) []slog.Attr {
	var as []slog.Attr
	for range s.r.IntN(4) {
		if s.r.IntN(8) == 0 {
			as = append(as, slog.Attr{})
			continue
		}
		as = append(as, slog.Attr{Key: s.str(), Value: s.value(depth)})
	}
	return as
}

// FuzzHandler compares our lines with those of slog.JSONHandler.
func FuzzHandler(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, "text \"quoted\" \x00\x7f\xff ünï")
	}
	var ours bytes.Buffer
	plain := jsonTo(f, &ours, logging.Options{})
	withSource := jsonTo(f, &ours, logging.Options{Source: true})
	redacting := jsonTo(f, &ours, logging.Options{Redact: []string{"no such key, and a long one at that, too"}})
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		s := &source{r: rand.New(rand.NewPCG(seed, 1)), text: text}
		var std bytes.Buffer
		ours.Reset()
		addSource := s.r.IntN(4) == 0
		var theirs slog.Handler = slog.NewJSONHandler(&std, &slog.HandlerOptions{AddSource: addSource, Level: slog.Level(-1000)})
		handler := plain
		if addSource {
			handler = withSource
		} else if s.r.IntN(2) == 0 {
			handler = redacting
		}
		for range s.r.IntN(4) {
			if s.r.IntN(2) == 0 {
				name := s.str()
				if name == "" {
					continue // the standard handler leaves this to Logger
				}
				handler, theirs = handler.WithGroup(name), theirs.WithGroup(name)
			} else if as := s.attrs(0); len(as) > 0 {
				handler, theirs = handler.WithAttrs(as), theirs.WithAttrs(as)
			}
		}
		r := slog.NewRecord(s.time(), slog.Level(s.r.IntN(30)-10), s.str(), 0)
		if s.r.IntN(3) == 0 {
			r.Time = time.Time{}
		}
		if s.r.IntN(2) == 0 {
			r.PC = pc()
		}
		r.AddAttrs(s.attrs(0)...)
		if err := errors.Join(handler.Handle(context.Background(), r), theirs.Handle(context.Background(), r)); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(ours.Bytes()) {
			t.Fatalf("no JSON: %s\nslog writes: %s", ours.Bytes(), std.Bytes())
		}
		if !json.Valid(std.Bytes()) {
			return // it forgets a comma after a group of empty attributes
		}
		if !bytes.Equal(ours.Bytes(), std.Bytes()) {
			t.Errorf("we write   %s\nslog writes %s", ours.Bytes(), std.Bytes())
		}
	})
}

func TestHandlerAllocatesNothing(t *testing.T) {
	logs := newLogs(t, &logging.Options{
		File:   logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")},
		Redact: []string{"password"}, Sample: logging.SampleOptions{First: 1 << 30},
	})
	log := logs.Logger("orders.http").With("request", "abc", "user", 7)
	ctx := context.Background()
	log.Info("warm the pools")
	if n := testing.AllocsPerRun(1000, func() {
		log.LogAttrs(ctx, slog.LevelInfo, "order placed", slog.String("method", "GET"), slog.String("path", "/orders/42"),
			slog.Int("status", 200), slog.Duration("took", 1234567), slog.Bool("cached", true))
	}); n > 0 && !raceEnabled {
		t.Errorf("%v allocations per record", n)
	}
}

// TestNoKindAllocates logs an attribute of each kind.
func TestNoKindAllocates(t *testing.T) {
	logs := newLogs(t, &logging.Options{
		File:   logging.FileOptions{Path: filepath.Join(t.TempDir(), "app.log")},
		Redact: []string{"password"}, Sample: logging.SampleOptions{First: 1 << 30},
	})
	log := logs.Logger("orders.http")
	for _, a := range []slog.Attr{
		slog.String("string", "b\n\"ü\xff"), slog.Int("int", -5), slog.Uint64("uint", 1<<63), slog.Float64("float", 1e-9), slog.Bool("bool", true),
		slog.Duration("duration", 5), slog.Time("time", time.Now()), slog.Time("utc", time.Now().UTC()), slog.Group("group", "b", 1, "c", "d"),
		slog.Any("valuer", valuer{slog.StringValue("x")}), slog.Any("error", io.EOF), slog.Any("nil", nil), slog.String("password", "x"),
		slog.Any("struct", struct{ A int }{5}),
	} {
		if n := testing.AllocsPerRun(200, func() { log.LogAttrs(context.Background(), slog.LevelInfo, "m", a) }); n > 0 && !raceEnabled {
			t.Errorf("%v allocations for %v", n, a)
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	run := func(name string, h slog.Handler) {
		b.Run(name, func(b *testing.B) {
			log := slog.New(h)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(ctx, slog.LevelInfo, "order placed", slog.String("method", "GET"), slog.String("path", "/orders/42"),
					slog.Int("status", 200), slog.Duration("took", 1234567), slog.Bool("cached", true))
			}
		})
	}
	run("impl=slog", slog.NewJSONHandler(struct{ io.Writer }{io.Discard}, nil))
	run("impl=ours", jsonTo(b, io.Discard, logging.Options{}))
	full := newLogs(b, &logging.Options{
		Level: "info", Levels: map[string]string{"orders.*": "info"}, Console: logging.ConsoleOptions{Format: "json", Writer: io.Discard},
		Redact: []string{"password", "authorization", "cookie", "token"}, Sample: logging.SampleOptions{First: 1 << 30},
	})
	run("impl=ours-all", full.Logger("orders.http").Handler())
	plain, err := os.OpenFile(filepath.Join(b.TempDir(), "plain.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	run("impl=slog-file", slog.NewJSONHandler(plain, nil))
	file := newLogs(b, &logging.Options{File: logging.FileOptions{Path: filepath.Join(b.TempDir(), "app.log")}})
	run("impl=ours-file", file.Handler())
}

func ExampleLogs_Handler() {
	logs, err := logging.New(&logging.Options{Console: logging.ConsoleOptions{Format: "json", Writer: noTime{}}})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	slog.New(logs.Handler()).Info("hello", "n", 1)
	// Output: {"level":"INFO","msg":"hello","n":1}
}

// noTime prints lines without their time, for examples.
type noTime struct{}

func (noTime) Write(p []byte) (int, error) {
	_, rest, ok := strings.Cut(string(p), `","`)
	if !ok {
		return fmt.Print(string(p))
	}
	fmt.Print(`{"` + rest)
	return len(p), nil
}
