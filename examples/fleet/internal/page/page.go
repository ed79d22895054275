// Package page shows the fleet: how far the queue is, what each worker does,
// and what was given up.
package page

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/svcblocks/svcblocks/examples/fleet/internal/crew"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/queue"
)

//go:embed assets
var assets embed.FS

// Status is what the page shows.
type Status struct {
	Stats   queue.Stats
	Members []crew.Member
	Dead    []queue.DeadLetter
	Now     time.Time
	// Problem is why the rest is missing, empty if it is not.
	Problem string
}

// Total is how many jobs there are and were, at least 1 for a progress bar.
func (s Status) Total() int64 { return max(1, s.Stats.Total()) }

// Settled is how many jobs are through.
func (s Status) Settled() int64 { return s.Stats.Results + s.Stats.Dead }

// PerSecond is what all workers do together.
func (s Status) PerSecond() float64 {
	sum := 0.0
	for _, m := range s.Members {
		sum += m.PerSecond
	}
	return sum
}

// Headline says how far the queue is.
func (s Status) Headline() string {
	if s.Stats.Total() == 0 {
		return "No jobs yet"
	}
	return fmt.Sprintf("%s of %s pages", count(s.Settled()), count(s.Stats.Total()))
}

// Left is how long the rest takes at this rate.
func (s Status) Left() string {
	open, rate := s.Stats.Waiting+s.Stats.Working, s.PerSecond()
	switch {
	case open == 0:
		return "none"
	case rate < 0.05:
		return "unknown"
	}

	left := time.Duration(float64(open) / rate * float64(time.Second))
	switch {
	case left > 48*time.Hour:
		return fmt.Sprintf("%.0f days", left.Hours()/24)
	case left > time.Hour:
		return left.Round(time.Minute).String()
	}

	return left.Round(time.Second).String()
}

// Options are the settings of [NewHandler]. All but Logger are required.
type Options struct {
	// Status tells what to show.
	Status func(context.Context) Status
	// Ready tells whether the fleet can work: nil, or what is wrong.
	Ready func(context.Context) error
	// Logger gets what could not be answered. Nil discards.
	Logger *slog.Logger
}

// policy lets the page load its own files and ask its own origin.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// NewHandler returns the page at /, its files below /assets/, /healthz,
// /readyz, and what the page shows as JSON at /api/status.
func NewHandler(opts Options) http.Handler {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tmpl := template.Must(template.New("page.gohtml").Funcs(template.FuncMap{
		"count": count, "rate": rate, "stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock": func(t time.Time) string { return t.Format("15:04:05") },
	}).ParseFS(assets, "assets/page.gohtml"))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var buf bytes.Buffer
		if err := tmpl.Execute(&buf, opts.Status(r.Context())); err != nil {
			log.ErrorContext(r.Context(), "render page", "error", err)
			http.Error(w, "The page could not be rendered; the log says why.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write(buf.Bytes()) // a reader who left is no error of ours
	})

	mux.Handle("GET /assets/page.css", asset("assets/page.css", "text/css; charset=utf-8"))
	mux.Handle("GET /assets/page.js", asset("assets/page.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})

	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := opts.Ready(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "unavailable", "error": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})

	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) {
		s := opts.Status(r.Context())
		status := http.StatusOK
		if s.Problem != "" {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, map[string]any{
			"waiting": s.Stats.Waiting, "resting": s.Stats.Resting, "working": s.Stats.Working, "results": s.Stats.Results, "dead": s.Stats.Dead,
			"per_second": s.PerSecond(), "workers": s.Members, "problem": s.Problem,
		})
	})

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// asset serves a file of the binary; its absence is a mistake in the build.
func asset(name, contentType string) http.Handler {
	body, err := assets.ReadFile(name)
	if err != nil {
		panic("page: " + err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // a reader who left is no error of ours
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a reader who left is no error of ours
}

// count writes a number with a comma every three digits.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func rate(f float64) string {
	if f >= 100 {
		return count(int64(f + 0.5))
	}
	return strconv.FormatFloat(f, 'f', 1, 64)
}
