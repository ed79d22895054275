// Command logship shows what waits in the folder of a log, and ships it by
// hand: what a process left that will not come back, or on a machine without a
// network, from a copy of the folder. Its tail shows the log itself, which is
// many files, as one.
//
//	logship tail -f -dir var/log -level warn                # read it
//	logship -dir var/log                                    # what is there
//	logship -dir var/log -to httpjson -url https://…/ingest # ship it
//	logship -dir var/log -requeue                           # try quarantined events again
//
// The receiver's token is read from the environment, LOGSHIP_TOKEN, as flags
// show in the list of processes.
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
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/datadog"
	"github.com/svcblocks/svcblocks/logging/sink/elastic"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/logging/sink/loggly"
	"github.com/svcblocks/svcblocks/logging/sink/loki"
	"github.com/svcblocks/svcblocks/logging/sink/otlp"
	"github.com/svcblocks/svcblocks/logging/sink/splunk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "logship:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "tail" {
		return tail(ctx, args[1:], stdout, stderr)
	}
	flags := flag.NewFlagSet("logship", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "the folder of the log")
	name := flags.String("name", "", "the log in it, such as app.log; empty: all")

	to := flags.String("to", "", "ship to: httpjson, loggly, loki, elastic, splunk, datadog or otlp")
	url := flags.String("url", "", "the receiver's address")
	index := flags.String("index", "", "elastic: the index; splunk: likewise")
	label := flags.String("service", "", "loki, datadog, otlp: the service's name")
	idField := flags.String("id-field", "", "httpjson, loggly, loki: the key that carries an event's ID")
	plain := flags.Bool("plain", false, "send uncompressed, to a receiver that takes no gzip")
	timeout := flags.Duration("timeout", time.Hour, "how long to go on")

	requeue := flags.Bool("requeue", false, "put quarantined events back into the queue")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := checkDir(flags, *dir); err != nil {
		return err
	}

	if *requeue {
		if err := requeueAll(*dir, *name, stdout); err != nil {
			return err
		}
	}

	if *to == "" {
		return inspect(*dir, *name, stdout)
	}
	sink, err := newSink(*to, *url, *index, *label, *idField, *plain, secret.New(getenv("LOGSHIP_TOKEN")))
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done within %v", *timeout))
	defer cancel()
	return drain(ctx, *dir, *name, sink, stdout, stderr)
}

func checkDir(flags *flag.FlagSet, dir string) error {
	if dir == "" {
		flags.Usage()
		return errors.New("-dir is required: the folder of the log, such as var/log")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("-dir %s is no folder", dir)
	}
	return nil
}

func newSink(to, url, index, service, idField string, plain bool, token secret.Secret) (logging.Sink, error) {
	labels := map[string]string{}
	if service != "" {
		labels["service"] = service
	}

	switch to {
	case "httpjson":
		return httpjson.New(&httpjson.Options{URL: url, Gzip: !plain, Token: token, IDField: idField})
	case "loggly":
		return loggly.New(&loggly.Options{URL: url, DisableGzip: plain, Token: token, IDField: idField})
	case "loki":
		return loki.New(&loki.Options{URL: url, DisableGzip: plain, Token: token, Labels: labels, IDField: idField})
	case "elastic":
		return elastic.New(&elastic.Options{URL: url, DisableGzip: plain, APIKey: token, Index: index})
	case "splunk":
		return splunk.New(&splunk.Options{URL: url, DisableGzip: plain, Token: token, Index: index})
	case "datadog":
		return datadog.New(&datadog.Options{URL: url, DisableGzip: plain, APIKey: token, Service: service})
	case "otlp":
		resource := map[string]string{}
		if service != "" {
			resource["service.name"] = service
		}
		return otlp.New(&otlp.Options{URL: url, DisableGzip: plain, Token: token, Resource: resource})
	}

	return nil, fmt.Errorf("-to %q is none of httpjson, loggly, loki, elastic, splunk, datadog and otlp", to)
}
