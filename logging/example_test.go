package logging_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

// tempDir returns a folder for an example.
func tempDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		panic(err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// printer is a [logging.Sink] that prints messages in place of sending them.
type printer struct{}

func (printer) Limits() logging.Limits { return logging.Limits{MaxBatchEvents: 100} }

func (printer) Send(_ context.Context, b *logging.Batch) error {
	for _, e := range b.Events {
		_, msg, _ := strings.Cut(string(e.Line), `"msg":`)
		fmt.Println("received", strings.TrimSuffix(msg, "}"))
	}
	return nil
}

func ExampleNew() {
	dir, remove := tempDir()
	defer remove()
	logs, err := logging.New(&logging.Options{
		Level:  "info",
		Levels: map[string]string{"orders.*": "debug"},
		File:   logging.FileOptions{Path: filepath.Join(dir, "app.log")},
		Redact: []string{"password"}, Sink: printer{},
	})
	if err != nil {
		panic(err)
	}
	defer logs.Close()

	logs.Logger("orders.http").Debug("order placed", "id", 42, "password", "hunter2")
	logs.Logger("mail").Debug("not written: mail is at level info")

	res, err := logs.SendBulk(context.Background())
	fmt.Println(res.Events, "event,", res.Remaining, "remaining, error:", err)
	// Output:
	// received "order placed","component":"orders.http","id":42,"password":"[redacted]"
	// 1 event, 0 remaining, error: <nil>
}

func ExampleOptions_mistakes() {
	_, err := logging.New(&logging.Options{
		Level:   "loud",
		Console: logging.ConsoleOptions{Format: "xml"},
		Sample:  logging.SampleOptions{First: -1},
		File:    logging.FileOptions{Sync: "often"},
	})
	fmt.Println(err)
	// Output:
	// logging: new: Level: "loud" is no level: use debug, info, warn or error
	// logging: new: File.Sync: "often" is none of "never", "record" and an interval of at least 1ms such as "1s"
	// logging: new: Console.Format: "xml" is none of text, json, off: give one of these
	// logging: new: Sample.First: -1 is negative: use 0 to write all
}

func ExampleOptions() {
	// Every record goes to the console and, from level error on, to a further
	// handler.
	further := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level:       slog.LevelError,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { return dropTime(a) },
	})
	logs, err := logging.New(&logging.Options{Console: logging.ConsoleOptions{Writer: io.Discard}, Handlers: []slog.Handler{further}})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	log := logs.Logger("mail")
	log.Info("sent")
	log.Error("not sent", "attempt", 3)
	// Output: level=ERROR msg="not sent" component=mail attempt=3
}

func dropTime(a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func ExampleLogs_SetLevel() {
	logs, err := logging.New(&logging.Options{Console: logging.ConsoleOptions{Format: "json", Writer: noTime{}}})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	log := logs.Logger("orders.http")
	log.Debug("not written")
	if err := logs.SetLevel("orders.*", slog.LevelDebug, 10*time.Minute); err != nil {
		panic(err)
	}
	log.Debug("written for ten minutes")
	fmt.Println(logs.SetLevel("orders.*.x", slog.LevelDebug, 0))
	// Output:
	// {"level":"DEBUG","msg":"written for ten minutes","component":"orders.http"}
	// logging: set level: the pattern "orders.*.x" is neither a component, such as "orders.http", nor a family, such as "orders.*", nor "*"
}

func ExampleLogs_Run() {
	dir, remove := tempDir()
	defer remove()
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: printer{}})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- logs.Run(ctx) }()
	logs.Logger("").Info("shipped in the background, at the end at the latest")
	cancel()
	fmt.Println(<-done)
	// Output:
	// received "shipped in the background, at the end at the latest"
	// <nil>
}

func ExampleStats() {
	dir, remove := tempDir()
	defer remove()
	logs, err := logging.New(&logging.Options{
		File: logging.FileOptions{Path: filepath.Join(dir, "app.log")},
		Sink: printer{}, Ship: logging.ShipperOptions{Interval: time.Hour}, // for the example: by hand
	})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	logs.Logger("").Info("one")
	if _, err := logs.SendBulk(context.Background()); err != nil {
		panic(err)
	}
	logs.Logger("").Info("two")
	var st logging.Stats = logs.Stats()
	var ship logging.ShipStats = st.Ship
	var delivery logging.Delivery = ship.Delivery
	fmt.Println(st.Written, "written,", ship.Events, "shipped,", st.ActiveEvents+ship.WaitingEvents, "waiting,", st.Dropped, "dropped,", delivery.Condition)
	// Output:
	// received "one"
	// 2 written, 1 shipped, 1 waiting, 0 dropped, healthy
	// received "two"
}

func ExampleSampleOptions() {
	logs, err := logging.New(&logging.Options{
		Console: logging.ConsoleOptions{Format: "json", Writer: noTime{}},
		Sample:  logging.SampleOptions{First: 2, Per: time.Minute},
	})
	if err != nil {
		panic(err)
	}
	for range 1000 {
		logs.Logger("db").Warn("connection refused")
	}
	_ = logs.Close()
	// Output:
	// {"level":"WARN","msg":"connection refused","component":"db"}
	// {"level":"WARN","msg":"connection refused","component":"db"}
	// {"level":"WARN","msg":"equal log records left out","component":"db","message":"connection refused","left_out":998,"written":2,"per":60000000000}
}

func ExampleOpenFile() {
	dir, remove := tempDir()
	defer remove()
	f, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log"), Sync: "1s"})
	if err != nil {
		panic(err)
	}
	log := slog.New(slog.NewJSONHandler(f, nil)) // or zerolog, zap, log ...
	log.Info("written by another handler")
	fmt.Println("seal:", f.Seal(), "close:", f.Close())
	segments, _ := filepath.Glob(filepath.Join(dir, "app-*.log"))
	fmt.Println(len(segments), "segment")
	// Output:
	// seal: <nil> close: <nil>
	// 1 segment
}

func ExampleFile() {
	dir, remove := tempDir()
	defer remove()
	var first, second *logging.File
	for _, f := range []**logging.File{&first, &second} {
		var err error
		if *f, err = logging.OpenFile(&logging.FileOptions{Path: filepath.Join(dir, "app.log")}); err != nil {
			panic(err)
		}
		defer (*f).Close()
	}
	fmt.Println(filepath.Base(first.Path()), filepath.Base(second.Path()))
	// Output: app.log app~1.log
}

func ExampleNewShipper() {
	dir, remove := tempDir()
	defer remove()
	if err := os.WriteFile(filepath.Join(dir, "app-20260102150405000000-123456.log"), []byte(`{"msg":"left by another process"}`+"\n"), 0o600); err != nil {
		panic(err)
	}
	var s *logging.Shipper
	s, err := logging.NewShipper(&logging.ShipperOptions{Dir: dir, Sink: printer{}, MaxBatchBytes: 64 << 10, Retry: logging.Retry{MaxElapsed: time.Minute}})
	if err != nil {
		panic(err)
	}
	var res logging.Result
	res, err = s.SendBulk(context.Background())
	fmt.Println(res.Segments, "segment,", res.Events, "event, error:", err)
	// Output:
	// received "left by another process"
	// 1 segment, 1 event, error: <nil>
}

// everyThird is a sink whose receiver takes two of three events.
type everyThird struct{}

func (everyThird) Limits() logging.Limits { return logging.Limits{MaxEventBytes: 1 << 20} }

func (everyThird) Send(_ context.Context, b *logging.Batch) error {
	var rejected []logging.Rejection
	for i := range b.Events {
		if i%3 == 2 {
			rejected = append(rejected, logging.Rejection{Index: i, Reason: "field status is no number"})
		}
	}
	if rejected == nil {
		return nil
	}
	return &logging.SinkError{Kind: logging.KindRejected, Rejected: rejected, Err: errors.New("receiver: field status is no number")}
}

func ExampleSink() {
	var sink logging.Sink = everyThird{}
	err := sink.Send(context.Background(), &logging.Batch{ID: "a-0", Events: []logging.Event{
		{ID: "a-0", Line: []byte(`{"status":1}`)}, {ID: "a-13", Line: []byte(`{"status":2}`)}, {ID: "a-26", Line: []byte(`{"status":"x"}`)},
	}})
	fmt.Println(err)
	// Output: receiver: field status is no number
}

func ExampleSinkError() {
	err := fmt.Errorf("ship: %w", &logging.SinkError{Kind: logging.KindRetry, RetryAfter: 7 * time.Second, Err: errors.New("503 Service Unavailable")})
	if se, ok := errors.AsType[*logging.SinkError](err); ok {
		var kind logging.Kind = se.Kind
		fmt.Println(kind, se.RetryAfter, se.Temporary(), se)
	}
	// Output: retry 7s true 503 Service Unavailable
}

// rawPrinter is a sink that takes lines as they stand in the file.
type rawPrinter struct{ printer }

func (rawPrinter) Raw() bool { return true }

func (rawPrinter) SendRaw(_ context.Context, _ string, body *io.SectionReader) error {
	fmt.Println("a section of", body.Size(), "bytes")
	return nil
}

func ExampleRawSink() {
	var sink logging.RawSink = rawPrinter{}
	dir, remove := tempDir()
	defer remove()
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: sink})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	r := slog.NewRecord(time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), slog.LevelInfo, "hello", 0)
	if err := logs.Handler().Handle(context.Background(), r); err != nil {
		panic(err)
	}
	_, err = logs.SendBulk(context.Background())
	fmt.Println(err)
	// Output:
	// a section of 61 bytes
	// <nil>
}

func ExampleError() {
	_, err := logging.OpenFile(&logging.FileOptions{Path: filepath.Join(os.DevNull, "app.log")})
	if e, ok := errors.AsType[*logging.Error](err); ok {
		fmt.Println(e.Op, e.Path)
	}
	// Output: open /dev/null/app.log
}
