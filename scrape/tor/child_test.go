//go:build unix

package tor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// TestStartRunsAgain kills the process that Start runs, twice.
func TestStartRunsAgain(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	egress, err := tor.Start(ctx, &tor.Options{Torrc: networkTorrc(t, network)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = egress.Close() }()
	fetch := func() error {
		conn, err := egress.DialContext(t.Context(), "again", "tcp", fmt.Sprintf("again.test:%d", site.Port))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if err == nil && !strings.HasSuffix(string(answer), "ok") {
			err = fmt.Errorf("answer %q", answer)
		}
		return err
	}
	if err := fetch(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		pid := egress.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		refused := 0
		testenv.EventuallyWithin(t, testenv.Within(30*time.Second, 2*time.Minute), func() error {
			err := fetch()
			if err != nil {
				refused++
				if !errors.Is(err, scrape.ErrEgressUnavailable) {
					if _, lost := errors.AsType[*net.OpError](err); !lost { // in the very moment of its end
						t.Fatalf("meanwhile: %v, want ErrEgressUnavailable", err)
					}
				}
			}
			return err
		})
		t.Logf("served again %v after its end, refused %d times", time.Since(began), refused)
		if refused == 0 {
			t.Error("nothing was refused: the test says nothing")
		}
		if s, err := egress.Status(t.Context()); err != nil || s.Restarts != i+1 || s.Bootstrap != 100 {
			t.Errorf("Status = %+v, %v; want %d restarts", s, err, i+1)
		}
		if err := egress.Check(t.Context()); err != nil || egress.PID() == pid {
			t.Errorf("Check = %v, pid %d after %d", err, egress.PID(), pid)
		}
	}
}

// TestStartKeepsTrying has a program that is Tor once, and then fails.
func TestStartKeepsTrying(t *testing.T) {
	network := tornet.Shared(t)
	program, err := exec.LookPath("tor")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "tor")
	runs := filepath.Join(dir, "runs")
	text := fmt.Sprintf("#!/bin/sh\necho run >> %q\nif [ $(wc -l < %q) -gt 1 ]; then echo cannot start >&2; exit 3; fi\nexec %q \"$@\"\n", runs, runs, program)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	egress, err := tor.Start(ctx, &tor.Options{Binary: script, Torrc: networkTorrc(t, network)})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(egress.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() error {
		text, err := os.ReadFile(runs)
		if n := strings.Count(string(text), "run"); err != nil || n < 3 {
			return fmt.Errorf("run %d times, %v", n, err)
		}
		return nil
	})
	for name, err := range map[string]error{
		"Check": egress.Check(t.Context()), "Probe": egress.Probe(t.Context()),
		"Status": func() error { _, err := egress.Status(t.Context()); return err }(),
		"Dial":   func() error { _, err := egress.DialContext(t.Context(), "x", "tcp", "x.test:80"); return err }(),
	} {
		if !errors.Is(err, scrape.ErrEgressUnavailable) || !errors.Is(err, tor.ErrStart) || !strings.Contains(err.Error(), "cannot start") {
			t.Errorf("%s = %v, want ErrEgressUnavailable, ErrStart and the reason", name, err)
		}
	}
	began := time.Now()
	if err := egress.Close(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("Close = %v after %v", err, time.Since(began))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "svcblocks-tor-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := egress.Check(t.Context()); !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("Check after Close = %v", err)
	}
}
