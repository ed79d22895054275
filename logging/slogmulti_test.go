package logging_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	slogmulti "github.com/samber/slog-multi"

	"github.com/svcblocks/svcblocks/logging"
)

// failing is a handler that takes nothing.
type failing struct{ slog.Handler }

func (failing) Handle(context.Context, slog.Record) error { return errors.New("away") }

// TestUnderSlogMulti has our handler work under slog-multi's Router, Failover and
// Pipe, and theirs as one of ours.
func TestUnderSlogMulti(t *testing.T) {
	t.Parallel()
	var out, routed buffer
	further := slogmulti.Router().Add(slog.NewJSONHandler(&routed, nil), func(_ context.Context, r slog.Record) bool { return r.Level >= slog.LevelError }).Handler()
	logs := newLogs(t, &logging.Options{Console: logging.ConsoleOptions{Format: "json", Writer: &out}, Redact: []string{"password"}, Handlers: []slog.Handler{further}})
	ours := logs.Logger("shop").Handler()

	slog.New(slogmulti.Router().Add(ours, func(_ context.Context, r slog.Record) bool { return r.Message == "routed" }).Handler()).Info("routed", "password", "x")
	slog.New(slogmulti.Failover()(failing{slog.DiscardHandler}, ours)).Info("failed over")
	slog.New(slogmulti.Pipe(slogmulti.NewHandleInlineMiddleware(func(ctx context.Context, r slog.Record, next func(context.Context, slog.Record) error) error {
		r.AddAttrs(slog.Int("piped", 1))
		return next(ctx, r)
	})).Handler(ours)).Error("through a pipe")

	text := out.String()
	for _, want := range []string{`"msg":"routed","component":"shop","password":"[redacted]"`, `"msg":"through a pipe","component":"shop","piped":1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if got := routed.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "through a pipe") {
		t.Errorf("routed: %s", got)
	}
}

// ExampleOptions_slogMulti sends errors, and nothing else, to a further handler.
func ExampleOptions_slogMulti() {
	var mail bytes.Buffer
	errorsOnly := slogmulti.Router().
		Add(slog.NewTextHandler(&mail, nil), func(_ context.Context, r slog.Record) bool { return r.Level >= slog.LevelError }).
		Handler()
	logs, err := logging.New(&logging.Options{Console: logging.ConsoleOptions{Format: "off"}, Handlers: []slog.Handler{errorsOnly}})
	if err != nil {
		panic(err)
	}
	defer logs.Close()
	logs.Logger("shop").Info("order placed")
	logs.Logger("shop").Error("payment failed")
	fmt.Println(strings.Count(mail.String(), "\n"), "line:", strings.Contains(mail.String(), "payment failed"))
	// Output: 1 line: true
}
