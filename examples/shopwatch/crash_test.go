package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// same is a log line without what the shipping adds, in one form.
func same(t *testing.T, line string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatalf("no log line: %q: %v", line, err)
	}
	delete(m, "event_id")
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// lost returns the log lines that the processes wrote to their consoles and
// the receiver does not have. A line is on the console only after it is in the
// file.
func (l *logReceiver) lost(t *testing.T, consoles ...string) (lines []string, total int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	got := map[string]bool{}
	for _, line := range l.lines {
		got[same(t, line)] = true
	}
	for _, console := range consoles {
		for line := range strings.Lines(console) {
			if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
				continue // the address line, or cut off by the kill
			}
			total++
			if !got[same(t, line)] {
				lines = append(lines, line)
			}
		}
	}
	return lines, total
}

// Without network, account or flags the service shows, from its first start,
// items with a plot, shipped log lines, a mail and a Slack message. That it does
// so within a minute holds where nothing else runs: `make soak`.
func TestFirstMinute(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	p := start(t, t.TempDir()).awaitAddress()
	p.awaitPage(t, "<svg", "price changed", "run ended")
	testenv.Eventually(t, func() error {
		_, metrics := p.get("/metrics")
		for _, name := range []string{`notify_sent_total{receiver="mail"}`, `notify_sent_total{receiver="slack"}`, "logging_shipped_total"} {
			if !strings.Contains(metrics, name+" ") || strings.Contains(metrics, name+" 0\n") {
				return fmt.Errorf("%s is 0", name)
			}
		}
		return nil
	})
	if took := time.Since(begin); testenv.Soak() && took > time.Minute {
		t.Errorf("all is shown %v after the start", took)
	}
	stdout, stderr := p.output()
	// A check that a busy machine did not answer in time may be warned of.
	if strings.Count(stdout, "\n") != 1 || stderr != "" && !strings.Contains(stderr, "no answer within") {
		t.Errorf("the output is more than one line:\n%s%s", stdout, stderr)
	}
	if status, body := p.do(http.MethodPost, "/scrape"); status != http.StatusAccepted {
		t.Errorf("POST /scrape = %d %s", status, body)
	}
	if code, took := p.terminate(); code != 0 || took > stopBound() {
		t.Errorf("exit code %d after %v", code, took)
	}
	t.Logf("all shown %v after the start", time.Since(begin).Round(time.Second))
}

// SIGTERM in the middle of a run: the pages on their way are finished and kept,
// the log is shipped to its last line, the message that could not be delivered
// stays in the outbox, and the process ends well within its bound.
func TestTerminateDuringRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Most pages come only when the stop is under way, however late that is.
	w.site.pages, w.site.free, w.site.gate = 60, 8, make(chan struct{})
	p := w.start(t, "-log.console.format", "json", "-site.every", "1h").awaitAddress()
	for range 12 {
		<-w.site.began
	}
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() error {
		if _, body := p.get("/readyz"); !strings.Contains(body, `"stopping"`) {
			return fmt.Errorf("readyz does not say that the service stops: %s", body)
		}
		return nil
	})
	close(w.site.gate)
	if code, took := p.wait(), time.Since(begin); code != 0 || took > stopBound() {
		t.Errorf("exit code %d after %v, want 0 within %v", code, took, stopBound())
	}
	stdout, stderr := p.output()
	if stderr != "" {
		t.Errorf("stderr:\n%s", stderr)
	}
	lost, total := w.logs.lost(t, stdout)
	if len(lost) > 0 || total < 10 {
		t.Errorf("%d of %d log lines did not arrive: %q", len(lost), total, lost)
	}
	if w.logs.holds(`"msg":"service stopped"`) != 1 {
		t.Error("the last log line did not arrive")
	}
	var served map[int]int
	w.site.change(func() {
		served = w.site.served
		if w.site.cut > 0 {
			t.Errorf("%d pages on their way were cut off", w.site.cut)
		}
	})
	if n := len(served); n < 11 || n >= 60 { // 12 answers: the start is page 1, too
		t.Errorf("%d pages were served, want those on their way and no more", n)
	}

	// What was served is in the history, though the site is gone.
	w.site.CloseClientConnections()
	p = w.start(t, "-site.url", "http://127.0.0.1:1/", "-site.every", "1h").awaitAddress()
	have := map[string]bool{}
	for _, it := range p.items() {
		have[it.Name] = true
	}
	for page := range served {
		for i := (page - 1) * w.site.perPage; i < page*w.site.perPage; i++ {
			if !have[fmt.Sprintf("item %d", i)] {
				t.Errorf("page %d was served and item %d is not in the history", page, i)
			}
		}
	}
	testenv.Eventually(t, func() error {
		for _, r := range p.runs() {
			if r.ID == 1 {
				if r.Status != "stopped" || r.Failures != 0 {
					return fmt.Errorf("run 1 = %+v", r)
				}
				return nil
			}
		}
		return errors.New("no run 1")
	})
}

// A page that takes longer than the stop may take is cut off, and that is no
// failure of the site.
func TestTerminateIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.site.special[2] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	p := w.start(t, "-shutdown-timeout", "5s").awaitAddress()
	for n := range w.site.began {
		if n == 2 {
			break
		}
	}
	if code, took := p.terminate(); code != 0 || took > stopBound() {
		t.Errorf("exit code %d after %v, want 0 within 5s", code, took)
	}
	if n := w.logs.holds("page cut off", "/page/2"); n == 0 {
		t.Error("no log line about the page that was cut off")
	}
}

// kill -9 at random moments, while prices change: after the
// restart every item, every log line and every notification is there, each at
// least once.
func TestKillDuringRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Every change is looked for by its words, so no message may wait for the
	// rate and be one line of a summary.
	w.more = "notify: {receivers: [{name: mail, rate: {per: -1s}}, {name: slack, rate: {per: -1s}}]}\n"
	w.site.pages, w.site.delay = 12, 5*time.Millisecond
	items := w.site.pages * w.site.perPage
	next := int64(1000)
	move := func() { // some prices rise; no item ever has the same price twice
		w.site.change(func() {
			for range 6 {
				next += 10
				w.site.price[rand.IntN(items)] = next
			}
		})
	}
	var consoles []string
	p := w.start(t, "-log.console.format", "json", "-site.every", "60ms").awaitAddress()
	testenv.Eventually(t, func() error {
		if n := len(p.items()); n != items {
			return fmt.Errorf("%d items", n)
		}
		return nil
	})
	kills := testenv.Reps(100) // 10 at least, as that is a tenth
	for i := range kills {
		// Also while it starts, and while it stops.
		stop := time.Now().Add(time.Duration(rand.IntN(700)) * time.Millisecond)
		for time.Now().Before(stop) {
			move()
			time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
		}
		if i%3 == 2 {
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		}
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.exited
		stdout, _ := p.output()
		consoles = append(consoles, stdout)
		p = w.start(t, "-log.console.format", "json", "-site.every", "60ms")
	}
	p.awaitAddress()

	// Every item, with the price that the site has.
	testenv.Eventually(t, func() error {
		have := p.items()
		if len(have) != items {
			return fmt.Errorf("%d items, want %d", len(have), items)
		}
		for _, it := range have {
			var n int
			if _, err := fmt.Sscanf(it.Name, "item %d", &n); err != nil {
				return err
			}
			var price int64
			w.site.change(func() { price = w.site.price[n] })
			if price != 0 && it.Now.Cents != price || it.Gone != "" {
				return fmt.Errorf("%s: %d cents, the site has %d", it.Name, it.Now.Cents, price)
			}
		}
		return nil
	})
	// Every change that the history holds was told by mail and by Slack, and
	// stands in the log.
	changes := 0
	testenv.Eventually(t, func() error {
		mail := strings.Join(w.messages(), "\n")
		var slack strings.Builder
		for _, m := range w.slack.Last() {
			slack.WriteString(m.Text + "\n")
		}
		changes = 0
		for _, it := range p.items() {
			for i := 1; i < len(it.Points); i++ {
				changes++
				was, is := euros(it.Points[i-1].Price.Cents), euros(it.Points[i].Price.Cents)
				text := fmt.Sprintf("%s: %s → %s", it.Name, was, is)
				if !strings.Contains(mail, text) {
					return fmt.Errorf("not mailed: %s", text)
				}
				if !strings.Contains(slack.String(), text) {
					return fmt.Errorf("not posted: %s", text)
				}
				if w.logs.holds(`"change found"`, `"name":"`+it.Name+`"`, `"old":"`+was+`"`, `"new":"`+is+`"`) == 0 {
					return fmt.Errorf("not logged: %s", text)
				}
			}
		}
		return nil
	})
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	stdout, _ := p.output()
	lost, total := w.logs.lost(t, append(consoles, stdout)...)
	if len(lost) > 0 {
		t.Errorf("%d of %d log lines did not arrive, the first: %s", len(lost), total, lost[0])
	}
	if left, err := filepath.Glob(filepath.Join(w.dir, "var", "log", "*.quarantine*")); err != nil || len(left) > 0 {
		t.Errorf("quarantined: %v, %v", left, err)
	}
	repeats := w.logs.count - len(w.logs.lines)
	t.Logf("%d kills: %d items, %d changes told, %d log lines (%d repeats), %d mails, %d Slack messages",
		kills, items, changes, total, repeats, w.mail.Stats().Caught, w.slack.Stats().Caught)
	if changes == 0 {
		t.Error("no price changed: the test tests nothing")
	}
	if _, err := os.Stat(filepath.Join(w.dir, "var", "history.db")); err != nil {
		t.Error(err)
	}
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d EUR", cents/100, cents%100) }
