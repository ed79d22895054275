package logging_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/logging"
)

func TestWithTraceparent(t *testing.T) {
	t.Parallel()
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for header, want := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                    true,
		" 00-" + trace + "-" + span + "-00 ":                  true,
		"cc-" + trace + "-" + span + "-01-what":               true,
		"00-" + trace + "-" + span + "-01-what":               false,
		"ff-" + trace + "-" + span + "-01":                    false,
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":   false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": false,
		"00-" + trace + "-" + span:                            false,
		"":                                                    false,
	} {
		var out strings.Builder
		log := slog.New(jsonTo(t, &out, logging.Options{})).WithGroup("g")
		log.InfoContext(logging.WithTraceparent(context.Background(), header), "m", "a", 1)
		got := strings.Contains(out.String(), fmt.Sprintf(`"msg":"m","trace_id":%q,"span_id":%q,"g":{"a":1}}`, trace, span))
		if got != want {
			t.Errorf("traceparent %q: %s", header, out.String())
		}
	}
}

func TestTraceOption(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	logs := newLogs(t, &logging.Options{
		Console: logging.ConsoleOptions{Format: "json", Writer: &out},
		Trace:   func(context.Context) (string, string) { return "t", "s" },
	})
	logs.Logger("").Info("m")
	if !strings.Contains(out.String(), `"trace_id":"t","span_id":"s"`) {
		t.Error(out.String())
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	slog.New(jsonTo(t, &out, logging.Options{Source: true})).Info("m")
	if !strings.Contains(out.String(), `"source":{"function":"github.com/svcblocks/svcblocks/logging_test.TestSource","file":"`) {
		t.Error(out.String())
	}
}

func TestConsole(t *testing.T) {
	t.Parallel()
	var plain, colored strings.Builder
	for _, c := range []struct {
		color string
		w     io.Writer
	}{{"auto", &plain}, {"always", &colored}} {
		logs := newLogs(t, &logging.Options{Level: "debug", Console: logging.ConsoleOptions{Format: "text", Color: c.color, Writer: c.w}})
		log := logs.Logger("orders.http").With("request", "a b").WithGroup("g")
		log.Debug("with\x1b[31m control\nand newline", "k", "v", slog.Group("h", "n", 1, "empty", ""))
		logs.Logger("").Error("bad", "err", io.EOF)
	}
	want := []string{
		`DEBUG orders.http: with\x1b[31m control\nand newline request="a b" g.k=v g.h.n=1 g.h.empty=""` + "\n",
		"ERROR bad err=EOF\n",
	}
	i := 0
	for l := range strings.Lines(plain.String()) {
		if _, got, _ := strings.Cut(l, " "); got != want[i] {
			t.Errorf("got  %swant %s", got, want[i])
		}
		i++
	}
	if !strings.Contains(colored.String(), "\x1b[31mERROR\x1b[0m") || strings.Contains(plain.String(), "\x1b") {
		t.Errorf("colours: %q", colored.String())
	}
}

func ExampleWithTraceparent() {
	logs, err := logging.New(&logging.Options{Console: logging.ConsoleOptions{Format: "json", Writer: noTime{}}})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	ctx := logging.WithTraceparent(context.Background(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") // of a request
	logs.Logger("http").InfoContext(ctx, "handled")
	// Output: {"level":"INFO","msg":"handled","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","component":"http"}
}
