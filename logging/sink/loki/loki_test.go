package loki_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink"
	"github.com/svcblocks/svcblocks/logging/sink/loki"
	"github.com/svcblocks/svcblocks/logging/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "canary-9c4e"

// text returns the message of a line.
func text(line string) string {
	var e struct{ Msg, Message string }
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return line
	}
	return e.Msg + e.Message
}

// mistakes fails t unless err names each of want, and not the token.
func mistakes(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not contain %q", err, w)
		}
	}
	if strings.Contains(fmt.Sprint(err), "canary") {
		t.Errorf("error %v shows a secret", err)
	}
}

// receive reads a push as Loki documents it, and holds its limits.
func receive(r *http.Request, body []byte) (messages []string, err error) {
	if r.URL.Path != "/loki/api/v1/push" || r.Header.Get("Content-Type") != "application/json" {
		return nil, fmt.Errorf("%s with content type %q", r.URL.Path, r.Header.Get("Content-Type"))
	}
	if r.Header.Get("Authorization") != "Bearer "+token || r.Header.Get("X-Scope-OrgID") != "team" {
		return nil, fmt.Errorf("headers %v", r.Header)
	}
	var push struct {
		Streams []struct {
			Stream map[string]string
			Values [][]any
		}
	}
	if err := json.Unmarshal(body, &push); err != nil {
		return nil, err
	}
	if len(body) > 4<<20 {
		return nil, fmt.Errorf("%d bytes", len(body))
	}
	for _, s := range push.Streams {
		if s.Stream["service"] != "shop" || s.Stream["level"] == "" || len(s.Stream) > 15 {
			return nil, fmt.Errorf("labels %v", s.Stream)
		}
		for _, v := range s.Values {
			nanos, err := strconv.ParseInt(v[0].(string), 10, 64)
			if err != nil || time.Unix(0, nanos).UTC().Year() != 2026 {
				return nil, fmt.Errorf("time %v: %w", v[0], err)
			}
			line := v[1].(string)
			if len(line) > 256<<10 {
				return nil, fmt.Errorf("a line of %d bytes", len(line))
			}
			if meta := v[2].(map[string]any); !strings.HasPrefix(meta["event_id"].(string), "20260102") {
				return nil, fmt.Errorf("metadata %v", meta)
			}
			messages = append(messages, text(line))
		}
	}
	return messages, nil
}

func TestSuite(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Harness{
		New: func(url string) (logging.Sink, error) {
			return loki.New(&loki.Options{URL: url, Token: secret.New(token), Tenant: "team", Labels: map[string]string{"service": "shop"}, IDField: "event_id"})
		},
		Receive: receive,
		Accept:  func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusNoContent) },
		Secret:  token,
	})
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := loki.New(nil)
	mistakes(t, err, "URL: is missing", "Labels: is missing")
	many := map[string]string{"bad-name": "x", "empty": "", "level": "x", "long": strings.Repeat("x", 3000)}
	for i := range 15 {
		many[fmt.Sprint("l", i)] = "x"
	}
	_, err = loki.New(&loki.Options{URL: "http://h", Labels: many, Token: secret.New("canary\n"), Username: "u", Password: secret.New("canary"), HTTP: sink.HTTP{Timeout: -1}})
	mistakes(t, err, `Labels["bad-name"]: `, `Labels["empty"]: has 0`, `Labels["level"]: is set`, `Labels["long"]: has 3000`, "20 with the level", "Token: holds", "Username too", "Timeout: -1ns")
}

func ExampleSink() {
	sink, err := loki.New(&loki.Options{URL: "http://localhost:3100", Labels: map[string]string{"service": "shop"}})
	if err != nil {
		panic(err)
	}
	fmt.Println(sink.Limits().MaxEventBytes, "bytes a line")
	// Output: 262144 bytes a line
}

func ExampleOptions() {
	_, err := loki.New(&loki.Options{URL: "http://localhost:3100", Labels: map[string]string{"service-name": "shop"}})
	fmt.Println(err)
	// Output: loki: new: Labels["service-name"]: is no label name: use letters, digits and _
}
