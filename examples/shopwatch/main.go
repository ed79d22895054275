// Command service is the showcase of svcblocks: it watches a shop's
// listing through Tor, keeps the prices it has seen, logs to a file that is
// shipped in bulk, and tells the operator by mail and Slack what changed.
//
// Started without anything, it brings its own shop and its own receivers and
// shows all of it on a page:
//
//	go run ./shopwatch
//
// Settings come from config/config.yaml and config/config.<profile>.yaml (the
// ones in the binary if there are none here), /run/secrets, SVC_… variables
// and flags; see `service config` for what can be asked about them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings given, and returns the exit code: 0 after
// a clean stop, even if lines or messages wait on disk for the next start, 1 if
// the service failed or could not stop within its bound, 2 if it was called or
// configured wrongly.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // from the start: unasked, it would end the process
	defer signal.Stop(hangup)

	flags, opts := settings.Flags()
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "service: %v\nservice -help lists the flags\n", err)
		return 2
	case opts.Version:
		_, _ = fmt.Fprintln(stdout, version())
		return 0
	case flags.NArg() > 0 && flags.Arg(0) == "config":
		layers, err := settings.Layers(flags, opts, shipped)
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "service:", err)
			return 2
		}
		return config.Main(ctx, settings.Defaults(), flags.Args()[1:], layers...)
	case flags.NArg() > 0:
		_, _ = fmt.Fprintf(stderr, "service: %q is no command: there is config (check, explain, get, set, schema, env, docs), and -help lists the flags\n", flags.Arg(0))
		return 2
	}

	store, err := settings.Load(ctx, flags, opts, shipped)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "service:", err)
		if _, ok := errors.AsType[*config.Report](err); ok {
			return 2
		}
		return 1
	}

	if opts.HealthCheck {
		return probe(ctx, store.Get().Listen, stdout, stderr)
	}

	s, err := newService(ctx, store, opts.Profile, stderr)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0 // asked to stop before it had started
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "service:", err)
		return 1
	}
	s.hangup = hangup
	_, _ = fmt.Fprintln(stdout, "service:", greeting(store.Get(), s.server.URL()))

	// Nothing below may keep the process longer than it was given.
	bound := store.Get().ShutdownTimeout
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.AfterFunc(bound+time.Second, func() {
			_, _ = fmt.Fprintf(stderr, "service: not stopped %v after the signal; what is on disk is kept for the next start\n", bound+time.Second)
			os.Exit(1)
		})
	})

	if err := s.run(ctx); err != nil {
		_, _ = fmt.Fprintln(stderr, "service:", err)
		if !waits(err) {
			return 1
		}
	}
	return 0
}

// greeting says where readers find the page that is at address on this machine.
// What a container is called outside, only the settings know.
func greeting(cfg *settings.Settings, address string) string {
	switch {
	case cfg.Server.PublicURL != "":
		return "status page at " + cfg.Server.PublicURL
	case cfg.ListensEverywhere():
		return "status page at " + address + " on this machine; from a container, at the port that it is published as (server.public_url says where)"
	}
	return "status page at " + address + " (Ctrl-C ends it)"
}

// stamp is the version that a build may set: -ldflags "-X main.stamp=v1.2.3".
var stamp string

// version is the version of the module as it was built.
func version() string {
	if stamp != "" {
		return stamp
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}

	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}

	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}

	return "development"
}
