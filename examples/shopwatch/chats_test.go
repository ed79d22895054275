package main_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// Discord and Teams get what mail and Slack get, by their settings alone.
// Telegram, whose address is not a setting, is tested in internal/chat.
func TestChats(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string]string{}
	chats := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] += string(body)
		_, _ = io.WriteString(w, "1")
	}))
	defer chats.Close()
	w := newWorld(t)
	w.more = fmt.Sprintf("discord: {webhook: %q}\nteams: {webhook: %q}\n", chats.URL+"/discord-s3cr3t", chats.URL+"/teams-s3cr3t")
	p := w.start(t).awaitAddress()
	w.awaitPages(t)
	testenv.Eventually(t, func() error {
		if len(p.runs()) < 2 {
			return errors.New("the first run has not ended")
		}
		return nil
	})
	w.site.change(func() { w.site.price[1] = 777 })
	testenv.Eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		for _, path := range []string{"/discord-s3cr3t", "/teams-s3cr3t"} {
			if !strings.Contains(got[path], "7.77") {
				return errors.New(path + " has not got the change: " + got[path])
			}
		}
		return nil
	})
	_, page := p.get("/")
	_, metrics := p.get("/metrics")
	stdout, stderr := p.output()
	if !strings.Contains(page, "teams") || !strings.Contains(metrics, `notify_sent_total{receiver="discord"}`) {
		t.Error("page or metrics do not tell of the chats")
	}
	if strings.Contains(page+metrics+stdout+stderr, "s3cr3t") || w.logs.holds("s3cr3t") > 0 {
		t.Error("a webhook's address shows")
	}
}
