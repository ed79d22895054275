//go:build docker

package deploy_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// TestDockerComposeWithoutANetwork brings up what production has where Tor
// reaches nobody: the page is there all the same, over TLS, and says so.
func TestDockerComposeWithoutANetwork(t *testing.T) {
	s := newStack(t, "prod")
	begin := time.Now()
	s.compose("up", "-d", "--no-build")
	s.await(patience(), s.page, "Tor: Not ready")
	t.Logf("the page answered %v after the start", time.Since(begin).Round(100*time.Millisecond))
	for _, service := range []string{"service", "nginx", "tor"} {
		c := inspect(t, s.id(service))
		if c.Config.User != "65532:65532" || !c.HostConfig.ReadonlyRootfs || c.HostConfig.Privileged || len(c.HostConfig.CapAdd) != 0 {
			t.Errorf("%s: user %q, read-only %v, privileged %v, added %v", service, c.Config.User, c.HostConfig.ReadonlyRootfs, c.HostConfig.Privileged, c.HostConfig.CapAdd)
		}
		if diff := cmp.Diff([]string{"ALL"}, c.HostConfig.CapDrop); diff != "" {
			t.Errorf("%s: capabilities dropped (-want +got):\n%s", service, diff)
		}
		if !slices.Contains(c.HostConfig.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: security options %v", service, c.HostConfig.SecurityOpt)
		}
		effective(t, service, c.State.Pid)
	}
	// What the engine says of Tor is what Tor says of itself.
	if health := inspect(t, s.id("tor")).State.Health.Status; health == "healthy" {
		t.Error("Tor is healthy without a network")
	}
	if status, _, err := s.fetch(s.page + "metrics"); err != nil || status != http.StatusNotFound {
		t.Errorf("/metrics from outside: %d, %v", status, err)
	}
	res, err := s.client.Get(s.page)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.Proto != "HTTP/2.0" || res.TLS.Version < 0x0303 || res.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s, TLS %x, headers %v", res.Proto, res.TLS.Version, res.Header)
	}
	count := map[int]int{}
	for range 200 {
		status, _, err := s.fetch(s.page) // the probes stay inside
		if err != nil {
			t.Fatal(err)
		}
		count[status]++
	}
	if count[http.StatusTooManyRequests] == 0 || count[http.StatusOK] == 0 {
		t.Errorf("200 requests in a row: %v", count)
	}
}

// effective looks at a process as the kernel sees it, where the engine is on
// this machine.
func effective(t *testing.T, service string, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Logf("%s: %v", service, err)
		return
	}
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t65532\t65532\t65532\t65532"} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("%s: process %d lacks %q", service, pid, want)
		}
	}
}

// TestDockerCompose runs the whole of it on a private Tor network, and kills
// its containers one by one.
func TestDockerCompose(t *testing.T) {
	s := newStack(t, "prod", "compose.test.yaml")
	begin := time.Now()
	s.compose("up", "-d", "--no-build")
	healthy := []string{"service", "nginx", "tor", "authority", "exit1", "exit2", "exit3", "exit4", "postfix"}
	for _, service := range healthy {
		waitHealthy(t, s.id(service), patience())
	}
	t.Logf("all healthy after %v", time.Since(begin).Round(100*time.Millisecond))
	s.await(patience(), s.page, "Tor: On", "item 23")

	// Steps share the project; later ones need what earlier ones left.
	for _, step := range []struct {
		name string
		run  func(*testing.T, *stack)
	}{
		{"fetched through changing exits", changingExits},
		{"told by mail and Slack", told},
		{"killed one by one", killed},
		{"nothing is lost", nothingLost},
		{"terminated with a request in flight", terminated},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, s) }) {
			return
		}
	}
}

func changingExits(t *testing.T, s *stack) {
	var state shopState
	testenv.EventuallyWithin(t, patience(), func() (err error) {
		if state, err = s.shop(); err != nil {
			return err
		}
		if len(state.Sources) < 3 {
			return fmt.Errorf("%d addresses came: %v", len(state.Sources), state.Sources)
		}
		return nil
	})
	exits := []string{"198.51.100.11", "198.51.100.12", "198.51.100.13", "198.51.100.14"}
	for from := range maps.Keys(state.Sources) {
		if !slices.Contains(exits, from) {
			t.Errorf("%s, which is no exit, came to the shop", from)
		}
	}
	t.Logf("requests by exit: %v", state.Sources)
}

func told(t *testing.T, s *stack) {
	testenv.EventuallyWithin(t, patience(), func() error {
		mails, err := s.mails()
		if err != nil {
			return err
		}
		slack, err := s.received("slack")
		if err != nil {
			return err
		}
		logs, err := s.received("logs")
		if err != nil {
			return err
		}
		for what, text := range map[string]string{"mail": mails, "Slack message": slack, "log line": logs} {
			if !strings.Contains(text, "price") {
				return fmt.Errorf("no %s of a price", what)
			}
		}
		return nil
	})
}

// killed ends each container's process as the kernel would for lack of memory,
// and waits until it is back.
func killed(t *testing.T, s *stack) {
	for _, service := range []string{"service", "tor", "nginx", "receiver", "postfix", "exit2", "shop", "authority", "service"} {
		id := s.id(service)
		before := inspect(t, id)
		crash(t, before)
		testenv.EventuallyWithin(t, patience(), func() error {
			now := inspect(t, id)
			if !now.State.Running || !now.State.StartedAt.After(before.State.StartedAt) {
				return fmt.Errorf("%s is %s", service, now.State.Status)
			}
			if health := now.State.Health.Status; health != "" && health != "healthy" {
				return fmt.Errorf("%s is %s", service, health)
			}
			return nil
		})
		// It does its work again: another run of all pages, seen from outside.
		was, err := s.shop()
		if err != nil {
			t.Fatal(err)
		}
		testenv.EventuallyWithin(t, patience(), func() error {
			is, err := s.shop()
			if err != nil {
				return err
			}
			if is.Served < was.Served+6 {
				return fmt.Errorf("after the kill of %s: %d pages served, %d before", service, is.Served, was.Served)
			}
			return nil
		})
		s.await(patience(), s.page, "item 23")
	}
}

// crash kills a container's process. The engine takes its own `kill` for a
// wish that the container stays down, so the process is ended from outside
// where it can be.
func crash(t *testing.T, c container) {
	t.Helper()
	if err := syscall.Kill(c.State.Pid, syscall.SIGKILL); err != nil {
		docker(t, "kill", c.ID)
		docker(t, "start", c.ID)
	}
}

// nothingLost compares what the service wrote with what arrived: every line of
// its console is at the receiver, and every change that it found was told by
// mail and by Slack.
func nothingLost(t *testing.T, s *stack) {
	var lines, changes, repeats int
	testenv.EventuallyWithin(t, patience(), func() error {
		cmd := testenv.Require(t, "docker").Command("logs", s.id("service"))
		written, err := output(cmd)
		if err != nil {
			return err
		}
		logs, err := s.received("logs")
		if err != nil {
			return err
		}
		mails, err := s.mails()
		if err != nil {
			return err
		}
		slack, err := s.received("slack")
		if err != nil {
			return err
		}
		mails, slack = readable(mails), slackText(slack)
		got := map[string]int{}
		for line := range strings.Lines(logs) {
			got[plain(line)]++
		}
		// The newest lines are still on their way.
		until := time.Now().Add(-15 * time.Second)
		lines, changes, repeats = 0, 0, len(strings.Split(logs, "\n"))-1-len(got)
		for line := range strings.Lines(written) {
			var l struct {
				Time           time.Time
				Msg            string
				Name, Old, New string
			}
			if json.Unmarshal([]byte(line), &l) != nil || l.Time.IsZero() || l.Time.After(until) {
				continue // the address line, or cut off by a kill
			}
			lines++
			if got[plain(line)] == 0 {
				return fmt.Errorf("not shipped: %s", line)
			}
			if l.Msg != "change found" {
				continue
			}
			changes++
			text := fmt.Sprintf("%s: %s → %s", l.Name, l.Old, l.New)
			if !strings.Contains(mails, text) {
				return fmt.Errorf("not mailed: %s", text)
			}
			if !strings.Contains(slack, text) {
				return fmt.Errorf("not posted: %s", text)
			}
		}
		return nil
	})
	if lines < 100 || changes == 0 {
		t.Errorf("%d lines and %d changes: the test tests nothing", lines, changes)
	}
	t.Logf("%d log lines (%d repeats) and %d changes arrived", lines, repeats, changes)
}

// plain is a log line without what the shipping adds, in one form.
func plain(line string) string {
	var m map[string]any
	if json.Unmarshal([]byte(line), &m) != nil {
		return line
	}
	delete(m, "event_id")
	b, _ := json.Marshal(m)
	return string(b)
}

// readable decodes the text parts of mails.
func readable(mails string) string {
	var out strings.Builder
	for _, one := range strings.Split("\n"+mails, "\nReturn-Path:") {
		m, err := mail.ReadMessage(strings.NewReader("Return-Path:" + one))
		if err != nil {
			continue
		}
		out.WriteString(partText(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body))
	}
	return out.String()
}

func partText(contentType, encoding string, body io.Reader) string {
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil && strings.HasPrefix(media, "multipart/") {
		var out strings.Builder
		for parts := multipart.NewReader(body, params["boundary"]); ; {
			p, err := parts.NextRawPart()
			if err != nil {
				return out.String()
			}
			out.WriteString(partText(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p))
		}
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return ""
	}
	return string(text) + "\n"
}

// slackText gathers every text of the messages, in the blocks too: what stands
// above them is cut short in a long message.
func slackText(lines string) string {
	var out strings.Builder
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out.WriteString(v + "\n")
		case []any:
			for _, one := range v {
				walk(one)
			}
		case map[string]any:
			for _, one := range v {
				walk(one)
			}
		}
	}
	for line := range strings.Lines(lines) {
		var m any
		if json.Unmarshal([]byte(line), &m) == nil {
			walk(m)
		}
	}
	return out.String()
}

// terminated sends SIGTERM while a request is on its way.
func terminated(t *testing.T, s *stack) {
	id := s.id("service")
	address := s.address("service", "8080")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n"); err != nil {
		t.Fatal(err)
	}
	// The request has arrived once something asked later has its answer.
	if _, _, err := s.fetch("http://" + address + "/healthz"); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	begin := time.Now()
	go func() {
		_, err := tryDocker(t, "stop", "-t", "30", id)
		stopped <- err
	}()
	testenv.EventuallyWithin(t, 20*time.Second, func() error {
		status, _, err := s.fetch("http://" + address + "/readyz")
		if err != nil || status == http.StatusServiceUnavailable {
			return nil // it stops, or takes nobody new any more
		}
		return errors.New("the service does not stop")
	})
	if _, err := io.WriteString(conn, "\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the request in flight: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "</html>") {
		t.Errorf("the request in flight: %s, %d bytes, %v", res.Status, len(body), err)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if code := inspect(t, id).State.ExitCode; code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("exit 0 after %v", time.Since(begin).Round(10*time.Millisecond))
}
