// Command fleet scrapes with several machines: jobs wait in a queue on NATS
// JetStream, workers take them, and what they fetched goes to a stream.
//
//	fleet hub                 # the queue and its page; with -workers 4 it works, too
//	fleet worker              # on this or another machine: -nats.url nats://hub:4222
//	fleet submit urls.txt     # addresses, one a line; - is the standard input
//	fleet results             # JSON lines
//	fleet dead                # what was given up, and why; -requeue tries again
//	fleet demo                # all of it at once, on a site of its own
//
// Settings come from a file (-config), /run/secrets, variables such as
// FLEET_NATS_URL, and flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// env is what a command runs in.
type env struct {
	settings       Settings
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

var commands = map[string]func(context.Context, env) error{
	"hub": hub, "worker": worker, "submit": submit, "results": results, "dead": dead, "demo": demo, "healthcheck": healthcheck,
}

// run is main with its surroundings given: 0 after success or a clean stop, 1
// for a failure, 2 for a wrong call or wrong settings.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	name := ""
	if len(args) > 0 {
		name = args[0]
	}

	command, ok := commands[name]
	if !ok {
		_, _ = fmt.Fprintf(stderr, "fleet: %q is no command: there are hub, worker, submit, results, dead, demo and healthcheck; fleet hub -help lists the flags\n", name)
		return 2
	}

	settings, rest, err := load(ctx, name, args[1:], stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "fleet:", err)
		return 2
	}

	if len(rest) > 0 && name != "submit" {
		_, _ = fmt.Fprintf(stderr, "fleet: %s takes no %q: there are flags alone, see -help\n", name, rest[0])
		return 2
	}
	if err := command(ctx, env{settings, rest, stdin, stdout, stderr}); err != nil {
		_, _ = fmt.Fprintln(stderr, "fleet:", err)
		return 1
	}
	return 0
}
