package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

//go:embed page.html
var page string

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
		_, _ = fmt.Fprintf(out, "service_looks_total %d\nservice_changes_total %d\nlog_records_total %d\nlog_dropped_total %d\n"+
			"log_waiting %d\nnotify_waiting %d\nnotify_dead_total %d\nscrape_requests_total %d\nscrape_rotations_total %d\n",
			seen.Looks, seen.Changes, log.Written, log.Dropped, log.Ship.WaitingEvents, hub.Stored, hub.Dead, web.Requests, web.Rotations)
	})
	mux.HandleFunc("GET /{$}", func(out http.ResponseWriter, r *http.Request) {
		text, _ := ready(r.Context(), w, logs)
		seen, trouble, direct := w.seen(), "", ""
		if seen.Err != nil {
			trouble = seen.Err.Error()
		}
		if w.client.Stats().Egress.Direct {
			direct = "Requests leave from this machine's own address."
		}
		_, _ = fmt.Fprint(out, fill(page, map[string]string{
			"site": seen.Site, "direct": direct, "trouble": trouble, "looks": fmt.Sprint(seen.Looks), "changes": fmt.Sprint(seen.Changes),
			"looked": seen.Looked.UTC().Format(time.DateTime), "ready": text, "part": fmt.Sprintf("%.2000s", seen.Part),
		}))
	})
	return onlyHosts(func() []string { return w.store.Get().Hosts }, mux)
}

// fill puts values into a page at {{name}}, escaped. A page of this size needs no
// html/template, which would add 2 MB to the program.
func fill(page string, values map[string]string) string {
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "{{"+name+"}}", html.EscapeString(value))
	}
	return strings.NewReplacer(pairs...).Replace(page)
}

// ready asks each block how it is. Only what is lost takes the service out of
// rotation: what waits is the operator's, who is told by the blocks themselves.
func ready(ctx context.Context, w *watcher, logs *logging.Logs) (text string, lost bool) {
	var b strings.Builder
	for _, part := range []struct {
		name  string
		check func(context.Context) error
	}{
		{"log", logs.Check}, {"notify", w.hub.Check}, {"scrape", w.client.Check},
		{"settings", func(context.Context) error { return w.store.Status().Err }},
	} {
		err := part.check(ctx)
		lost = lost || errors.Is(err, logging.ErrLost)
		if err == nil {
			err = errors.New("ok")
		}
		fmt.Fprintf(&b, "%s: %v\n", part.name, err)
	}
	return b.String(), lost
}

// onlyHosts refuses requests under names that are not this service's: a page
// of another site may point its own name to this machine (DNS rebinding).
func onlyHosts(names func() []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if net.ParseIP(host) == nil && host != "localhost" && !slices.Contains(names(), host) {
			http.Error(w, "asked for under a name that is not in the setting hosts", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// healthcheck asks the service whose data is in dir, at the address that it
// serves, whatever flag or variable said so.
func healthcheck(ctx context.Context, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(string(text))
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	// A proxy of the environment knows nothing of this machine.
	res, err := (&http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New("service: " + res.Status)
	}
	return nil
}
