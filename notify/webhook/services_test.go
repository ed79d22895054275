package webhook_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	routingKey  = "canary0123456789canary0123456789" // 32 characters, as theirs are
	ntfyToken   = "tk_canary0123456789"
	gotifyToken = "Acanary0123456"
)

// service keeps what it took, by the documented rules of somebody.
type service struct {
	*httptest.Server

	mu    sync.Mutex
	taken []map[string]any
}

func (s *service) events() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// start makes a service of a check, which returns a status, an answer, and
// whether the event was taken.
func start(path string, check func(r *http.Request, event map[string]any, size int) (status int, answer string)) *service {
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.URL.Path != path || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		var event map[string]any
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, fmt.Sprintf(`{"error":%q}`, err), http.StatusBadRequest)
			return
		}
		status, answer := check(r, event, len(body))
		if status < 300 {
			s.mu.Lock()
			s.taken = append(s.taken, event)
			s.mu.Unlock()
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	return s
}

func text(v any) string { s, _ := v.(string); return s }

// startPagerDuty follows the documents of the Events API v2.
func startPagerDuty() *service {
	return start("/v2/enqueue", func(_ *http.Request, e map[string]any, size int) (int, string) {
		var errs []string
		bad := func(wrong bool, message string) {
			if wrong {
				errs = append(errs, message)
			}
		}
		bad(len(text(e["routing_key"])) != 32, "'routing_key' is not of 32 characters")
		bad(!slices.Contains([]string{"trigger", "acknowledge", "resolve"}, text(e["event_action"])), "'event_action' is unknown")
		bad(utf8.RuneCountInString(text(e["dedup_key"])) > 255, "'dedup_key' is too long")
		bad(size > 512<<10, "event exceeds 512 KB")
		if e["event_action"] == "trigger" {
			p, _ := e["payload"].(map[string]any)
			n := utf8.RuneCountInString(text(p["summary"]))
			bad(n == 0 || n > 1024, "'payload.summary' is missing or too long")
			bad(text(p["source"]) == "", "'payload.source' is missing or blank")
			bad(!slices.Contains([]string{"critical", "error", "warning", "info"}, text(p["severity"])), "'payload.severity' is invalid")
			_, err := time.Parse(time.RFC3339Nano, text(p["timestamp"]))
			bad(err != nil, "'payload.timestamp' is invalid")
		}
		if errs != nil {
			return 400, fmt.Sprintf(`{"status":"invalid event","message":"Event object is invalid","errors":[%q]}`, strings.Join(errs, ", "))
		}
		return 202, fmt.Sprintf(`{"status":"success","message":"Event processed","dedup_key":%q}`, e["dedup_key"])
	})
}

// startNtfy follows ntfy's documents on publishing as JSON.
func startNtfy() *service {
	return start("/", func(r *http.Request, e map[string]any, _ int) (int, string) {
		priority, _ := e["priority"].(float64)
		switch {
		case r.Header.Get("Authorization") != "Bearer "+ntfyToken:
			return 401, `{"code":40101,"http":401,"error":"unauthorized","link":"https://ntfy.sh/docs/publish/#authentication"}`
		case text(e["topic"]) == "":
			return 400, `{"code":40009,"http":400,"error":"invalid request: topic invalid"}`
		case priority < 1 || priority > 5:
			return 400, `{"code":40007,"http":400,"error":"invalid request: priority invalid"}`
		case len(text(e["message"])) > 4096: // it would be an attachment
			return 413, `{"code":41301,"http":413,"error":"attachment too large"}`
		}
		return 200, `{"id":"sPs71M8A2T","event":"message"}`
	})
}

// startGotify follows the API of a Gotify server.
func startGotify() *service {
	return start("/message", func(r *http.Request, e map[string]any, _ int) (int, string) {
		_, isNumber := e["priority"].(float64)
		switch {
		case r.Header.Get("X-Gotify-Key") != gotifyToken:
			return 401, `{"error":"Unauthorized","errorCode":401,"errorDescription":"you need to provide a valid access token or user credentials to access this api"}`
		case text(e["message"]) == "":
			return 400, `{"error":"Bad Request","errorCode":400,"errorDescription":"Field 'message' is required"}`
		case !isNumber:
			return 400, `{"error":"Bad Request","errorCode":400,"errorDescription":"priority is no number"}`
		}
		return 200, `{"id":25,"appid":5,"message":"taken"}`
	})
}

// startWorkflow follows Slack's documents on webhooks that start a workflow.
func startWorkflow() *service {
	return start("/triggers/T000TEST/123/workflowcanary", func(_ *http.Request, e map[string]any, _ int) (int, string) {
		for name, v := range e {
			if _, ok := v.(string); !ok || name != "title" && name != "details" {
				return 400, `{"ok":false,"error":"invalid_workflow_input"}`
			}
		}
		return 200, `{"ok":true}`
	})
}
