package server

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/prom"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
)

// request is what the handlers below tell the access log.
type request struct {
	route string // the pattern that matched, without a method
	user  string // who the request speaks for, as the provider names it
}

type requestKey struct{}

// on makes a handler for a pattern, and notes it as the route.
func on(mux *http.ServeMux, pattern string, h http.Handler) {
	_, route, found := strings.Cut(pattern, " ")
	if !found {
		route = pattern
	}
	h = named(h)
	mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q, ok := r.Context().Value(requestKey{}).(*request); ok {
			q.route = route
		}
		h.ServeHTTP(w, r)
	}))
}

// named notes who the request speaks for, where a guard before it has found
// out.
func named(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q, ok := r.Context().Value(requestKey{}).(*request); ok {
			q.user = cmp.Or(auth.UserFrom(r.Context()).Subject, q.user)
		}
		h.ServeHTTP(w, r)
	})
}

// access gives each request a trace, logs it once it is answered, and counts
// it. Neither the query nor a header that may hold a secret is logged.
func (s *Server) access(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		q := &request{route: "other"}
		ctx := trace.With(context.WithValue(r.Context(), requestKey{}, q), trace.FromRequest(r))
		rec := &statusWriter{ResponseWriter: w, status: http.StatusOK}

		done := false
		defer func() { // also where a handler panics
			if !done {
				rec.status = http.StatusInternalServerError
			}
			took := time.Since(start)
			s.counts.note(q.route, r.Method, rec.status, took)

			attrs := []slog.Attr{
				slog.String("method", cut(r.Method, 16)), slog.String("route", q.route), slog.String("path", cut(r.URL.Path, 256)),
				slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("duration", took),
				slog.String("remote", r.RemoteAddr), slog.String("user_agent", cut(r.UserAgent(), 256)),
			}
			if f := r.Header.Get("X-Forwarded-For"); f != "" {
				attrs = append(attrs, slog.String("forwarded_for", cut(f, 256))) // anybody may write it
			}
			if q.user != "" {
				attrs = append(attrs, slog.String("user", q.user))
			}
			s.opts.Access.LogAttrs(ctx, accessLevel(q.route, r.Method, rec.status), "request", attrs...)
		}()

		next.ServeHTTP(rec, r.WithContext(ctx))
		done = true
	})
}

// quiet routes are asked for every few seconds, by the page itself, probes and
// Prometheus.
var quiet = []string{"/", "/assets/", "/healthz", "/readyz", "/metrics"}

func accessLevel(route, method string, status int) slog.Level {
	probe := route == "/readyz" || route == "/healthz"
	if slices.Contains(quiet, route) && (method == http.MethodGet || method == http.MethodHead) && (status < 400 || probe) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func cut(text string, limit int) string {
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

type statusWriter struct {
	http.ResponseWriter

	status int
	bytes  int64
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// counts counts requests. Its labels have few values, whatever is asked for.
type counts struct{ total, seconds *metrics.Set }

func newCounts() counts { return counts{metrics.NewSet(), metrics.NewSet()} }

// buckets of durations, in seconds.
var buckets = []float64{0.005, 0.025, 0.1, 0.5, 2.5, 10}

func (c counts) note(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		method = "other"
	}
	c.total.GetOrCreateCounter("http_requests_total" + prom.Labels("route", route, "method", method, "code", strconv.Itoa(status))).Inc()
	c.seconds.GetOrCreatePrometheusHistogramExt("http_request_duration_seconds"+prom.Labels("route", route), buckets).Update(took.Seconds())
}

func (c counts) write(w io.Writer) {
	p := prom.NewWriter(w)
	p.Head("counter", "http_requests_total", "Requests that were answered.")
	c.total.WritePrometheus(w)
	p.Head("histogram", "http_request_duration_seconds", "Time from a request's header to its answer's last byte.")
	c.seconds.WritePrometheus(w)
}
