package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/trace"
)

// api is everything below /api/.
func (s *Server) api() http.Handler {
	mux := http.NewServeMux()
	on(mux, "GET /api/status", http.HandlerFunc(s.status))
	on(mux, "GET /api/runs", http.HandlerFunc(s.runs))
	on(mux, "POST /api/runs", http.HandlerFunc(s.startRun))
	on(mux, "GET /api/runs/{id}", http.HandlerFunc(s.run))
	on(mux, "GET /api/items", http.HandlerFunc(s.items))
	on(mux, "GET /api/history", http.HandlerFunc(s.itemHistory))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.noSuch(w, r, mux)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// noSuch answers in JSON what a ServeMux would answer in words.
func (s *Server) noSuch(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	status := http.StatusNotFound
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}

	text := "no such address; there are /api/status, /api/runs, /api/runs/{id}, /api/items and /api/history"
	if len(allowed) > 0 {
		status = http.StatusMethodNotAllowed
		text = "ask with " + strings.Join(allowed, " or ")
		w.Header().Set("Allow", strings.Join(allowed, ", "))
	}

	s.json(w, status, map[string]string{"error": text})
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	s.json(w, http.StatusOK, s.opts.Status(r.Context()))
}

func (s *Server) runs(w http.ResponseWriter, r *http.Request) {
	n, ok := s.number(w, r, "n", 20, 1000)
	if !ok {
		return
	}
	runs, err := s.opts.History.Runs(n)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if runs == nil {
		runs = []history.Run{}
	}
	s.json(w, http.StatusOK, runs)
}

// run answers with one run and what it found to differ.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		s.json(w, http.StatusBadRequest, map[string]string{"error": "the id of a run is a number"})
		return
	}

	run, found, err := s.opts.History.Run(id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !found {
		s.json(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("there is no run %d; the oldest ones are not kept", id)})
		return
	}

	changes, err := s.opts.History.Changes(id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if changes == nil {
		changes = []history.Change{}
	}

	s.json(w, http.StatusOK, struct {
		history.Run

		Changes []history.Change `json:"changes"`
	}{run, changes})
}

// startRun asks for a run. The answer names the trace that its log lines have.
func (s *Server) startRun(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		s.json(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
		return
	}
	answer := map[string]string{"status": "asked", "trace_id": trace.From(r.Context()).TraceID()}
	if !s.opts.Trigger(r.Context(), "request") {
		answer = map[string]string{"status": "asked already"}
	}
	s.json(w, http.StatusAccepted, answer)
}

func (s *Server) items(w http.ResponseWriter, r *http.Request) {
	n, ok := s.number(w, r, "points", 100, 10_000)
	if !ok {
		return
	}
	items, err := s.opts.History.Items(n)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if items == nil {
		items = []history.Item{}
	}
	s.json(w, http.StatusOK, items)
}

// itemHistory answers with one item and every price that is kept of it.
func (s *Server) itemHistory(w http.ResponseWriter, r *http.Request) {
	address := r.URL.Query().Get("url")
	if address == "" {
		s.json(w, http.StatusBadRequest, map[string]string{"error": "say which item: ?url=, as /api/items has it"})
		return
	}

	items, err := s.opts.History.Items(-1)
	if err != nil {
		s.fail(w, r, err)
		return
	}

	for _, item := range items {
		if item.URL == address {
			s.json(w, http.StatusOK, item)
			return
		}
	}

	s.json(w, http.StatusNotFound, map[string]string{"error": "there is no item with that url; /api/items has them"})
}

// number reads a query parameter between 0 and limit.
func (s *Server) number(w http.ResponseWriter, r *http.Request, name string, fallback, limit int) (int, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > limit {
		s.json(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("%s must be a number from 0 to %d", name, limit)})
		return 0, false
	}
	return n, true
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.opts.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
	s.json(w, http.StatusInternalServerError, map[string]string{"error": "the history cannot be read; the log says why"})
}

func (s *Server) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // a reader who left is no error of ours
}
