package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
)

//go:embed page.html
var page string

// serve listens, runs the loops, and returns when ctx has ended and everything
// under way is done.
func serve(ctx context.Context, cfg *settings, server *http.Server, log *slog.Logger, loops ...func(context.Context) error) error {
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	// Where -healthcheck finds this process, whatever flag or variable said so.
	if err := writeAddress(cfg.DataDir, strings.NewReplacer("[::]", "localhost", "0.0.0.0", "localhost").Replace(listener.Addr().String())); err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("serving", "address", listener.Addr().String(), "site", cfg.Site.URL)

	group, ctx := errgroup.WithContext(ctx)
	for _, loop := range loops {
		group.Go(func() error { return loop(ctx) })
	}
	group.Go(func() error {
		// Requests under way get their answer before what they use is closed.
		<-ctx.Done()
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return server.Shutdown(bound)
	})
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return group.Wait()
}

// writeAddress replaces the file: a link in its place is not followed.
func writeAddress(dir, address string) error {
	f, err := os.CreateTemp(dir, ".address-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(address)
	return errors.Join(err, f.Close(), os.Rename(f.Name(), filepath.Join(dir, "address")))
}

// newHandler serves the page, the probes and the metrics.
func newHandler(w *watcher, logs *logging.Logs) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(out http.ResponseWriter, r *http.Request) {
		text, lost := ready(r.Context(), w, logs)
		if lost {
			out.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprint(out, text)
	})

	mux.HandleFunc("GET /metrics", func(out http.ResponseWriter, _ *http.Request) {
		seen, log, hub, web := w.seen(), logs.Stats(), w.hub.Stats(), w.client.Stats()
		_, _ = fmt.Fprintf(out, "service_looks_total %d\nservice_changes_total %d\nlog_records_total %d\nlog_dropped_total %d\nlog_waiting %d\nnotify_waiting %d\nnotify_dead_total %d\nscrape_requests_total %d\nscrape_rotations_total %d\n",
			seen.Looks, seen.Changes, log.Written, log.Dropped, log.Ship.WaitingEvents, hub.Stored, hub.Dead, web.Requests, web.Rotations)
	})

	mux.HandleFunc("GET /{$}", func(out http.ResponseWriter, r *http.Request) {
		text, _ := ready(r.Context(), w, logs)
		seen := w.seen()
		trouble := map[bool]string{true: fmt.Sprint(seen.Err)}[seen.Err != nil]
		direct := map[bool]string{true: "Requests leave from this machine's own address."}[w.client.Stats().Egress.Direct]
		_, _ = io.WriteString(out, fill(page, "site", seen.Site, "direct", direct, "trouble", trouble, "ready", text,
			"looks", fmt.Sprint(seen.Looks), "changes", fmt.Sprint(seen.Changes), "looked", seen.Looked.UTC().Format(time.DateTime), "part", fmt.Sprintf("%.2000s", seen.Part)))
	})

	return onlyHosts(func() []string { return append([]string{w.store.Get().Listen}, w.store.Get().Hosts...) }, mux)
}

// fill puts values into a page at {{name}}, escaped. A page of this size needs no
// html/template, which would add 2 MB to the program.
func fill(page string, namesAndValues ...string) string {
	for i := 0; i < len(namesAndValues); i += 2 {
		namesAndValues[i] = "{{" + namesAndValues[i] + "}}"
		namesAndValues[i+1] = html.EscapeString(namesAndValues[i+1])
	}
	return strings.NewReplacer(namesAndValues...).Replace(page)
}

// ready asks each block how it is. Only what is lost takes the service out of
// rotation: what waits is the operator's, who is told by the blocks themselves.
func ready(ctx context.Context, w *watcher, logs *logging.Logs) (text string, lost bool) {
	// An answer that is late says nothing of a loss, and a probe does not wait.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// Receivers come last, as they may take all of that.
	for i, check := range []func(context.Context) error{logs.Check, func(context.Context) error { return w.store.Stats().Err }, w.client.Check, w.hub.Check} {
		err := check(ctx)
		lost = lost || errors.Is(err, logging.ErrLost) || errors.Is(err, notify.ErrLost)
		text += fmt.Sprintf("%s: %v\n", []string{"log", "settings", "scrape", "notify"}[i], cmp.Or(err, errors.New("ok")))
	}
	return text, lost
}

// onlyHosts refuses requests under names that are not this service's: a page
// of another site may point its own name to this machine (DNS rebinding).
func onlyHosts(names func() []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostname(r.Host)
		if net.ParseIP(host) == nil && host != "localhost" && !slices.ContainsFunc(names(), func(name string) bool { return hostname(name) == host }) {
			http.Error(w, "asked for under a name that is not in the setting hosts", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname returns the name of a host, in small letters, without its port.
func hostname(host string) string {
	return strings.TrimSuffix(strings.ToLower((&url.URL{Host: host}).Hostname()), ".")
}

// healthcheck asks the service that keeps its data in dir. A proxy of the
// environment knows nothing of this machine, so none is asked.
func healthcheck(dir string) error {
	address, err := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}).Get("http://" + string(address) + "/readyz")
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New("service: " + res.Status)
	}
	return err
}
