// Command ml trains a small neural network on the features that
// examples/features writes, and serves it in TensorFlow Serving's REST shape.
// All of it is Go; nothing is downloaded, and no C library is needed.
//
//	ml demo                                  # train, save, load, serve, ask: all at once
//	ml train -in ../var/features             # the next version below var/models/lots
//	ml serve                                 # http://127.0.0.1:8501/v1/models/lots
//	ml ask -in ../var/features               # the held-out rows, by the client
//
// Settings are flags, or variables such as ML_LISTEN.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

var commands = map[string]func(context.Context, Settings, io.Writer, *slog.Logger) error{
	"demo": demo, "train": trainModel, "serve": serve, "ask": ask,
}

// run is main with its surroundings given: 0 for success, 1 for a failure, 2
// for a wrong call.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	name := ""
	if len(args) > 0 {
		name = args[0]
	}

	command, ok := commands[name]
	if !ok {
		_, _ = fmt.Fprintf(stderr, "ml: %q is no command: there are demo, train, serve and ask; ml demo -help lists the flags\n", name)
		return 2
	}

	settings, err := load(ctx, name, args[1:], stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "ml:", err)
		return 2
	}

	log := slog.New(slog.NewTextHandler(stderr, nil))
	if err := command(ctx, settings, stdout, log); err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(stderr, "ml:", err)
		return 1
	}
	return 0
}
