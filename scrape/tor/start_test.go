//go:build unix

package tor_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// networkTorrc returns the lines by which a client joins the private network.
func networkTorrc(t testing.TB, network *tornet.Network) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(network.Client.LogFile), "torrc"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch word, _, _ := strings.Cut(line, " "); word {
		case "", "Nickname", "DataDirectory", "Log", "ControlPort", "CookieAuthentication", "CookieAuthFile", "SocksPort", "HashedControlPassword", "RunAsDaemon", "ShutdownWaitLength":
		default:
			lines = append(lines, line)
		}
	}
	return lines
}

func TestRealAuthentication(t *testing.T) {
	network := tornet.Shared(t)
	client := network.NewClient(t, nil)
	cookieOnly := network.NewClient(t, &tornet.ClientOptions{DisablePassword: true})
	missing := filepath.Join(t.TempDir(), "missing")
	right, wrong := secret.New(client.Password), secret.New("wrong-canary")
	for _, tc := range []struct {
		name   string
		client *tornet.Client
		opts   tor.Options
		want   error
	}{
		{"cookie", client, tor.Options{}, nil},
		{"cookie alone", cookieOnly, tor.Options{}, nil},
		{"password", client, tor.Options{Password: right}, nil},
		{"cookie unreadable, password", client, tor.Options{Password: right, CookieFile: missing}, nil},
		{"password wrong, cookie", client, tor.Options{Password: wrong}, nil},
		{"both wrong", client, tor.Options{Password: wrong, CookieFile: missing}, tor.ErrAuth},
		{"none", client, tor.Options{CookieFile: missing}, tor.ErrAuth},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := tc.opts
			opts.SOCKS, opts.Control = tc.client.SOCKSAddr, tc.client.ControlAddr
			egress, err := tor.Dial(t.Context(), &opts)
			if !errors.Is(err, tc.want) || err != nil && (!errors.Is(err, scrape.ErrEgressUnavailable) || strings.Contains(err.Error(), "canary")) {
				t.Fatalf("Dial = %v, want %v", err, tc.want)
			}
			if err != nil {
				return
			}
			defer func() { _ = egress.Close() }()
			s, err := egress.Status(t.Context())
			if err != nil || s.Bootstrap != 100 || !s.CircuitEstablished || s.Version == "" || len(s.SOCKSListeners) != 1 || s.SOCKSListeners[0] != tc.client.SOCKSAddr {
				t.Errorf("Status = %+v, %v", s, err)
			}
		})
	}
}

func TestRealExit(t *testing.T) {
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	}))
	egress, err := tor.Dial(t.Context(), &tor.Options{SOCKS: network.Client.SOCKSAddr, Control: network.Client.ControlAddr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = egress.Close() }()
	// The private authority has the flag too, though its policy rejects all.
	if n, err := egress.Exits(t.Context()); err != nil || n != 4 && n != 5 {
		t.Errorf("Exits = %d, %v; want 4 or 5", n, err)
	}
	if _, err := egress.Exit(t.Context(), "never used"); !errors.Is(err, tor.ErrNoCircuit) {
		t.Errorf("Exit of an unused key = %v, want ErrNoCircuit", err)
	}
	addrs := map[string]string{}
	for _, exit := range network.Exits {
		addrs[exit.Fingerprint] = exit.Addr.String()
	}
	agree := 0
	for i := range 10 {
		key := "exit-" + strconv.Itoa(i)
		if err := egress.Warm(t.Context(), key, "exit.test"); err != nil {
			t.Fatal(err)
		}
		before, err := egress.Exit(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		conn, exit, err := egress.DialExit(t.Context(), key, "tcp", fmt.Sprintf("exit.test:%d", site.Port))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		answer, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(answer), addrs[exit]) {
			t.Errorf("the site saw %q, DialExit told %s", answer, addrs[exit])
		}
		if strings.HasSuffix(string(answer), addrs[before]) {
			agree++
		}
	}
	if agree < 8 { // Tor may move a stream to another circuit
		t.Errorf("%d of 10 exits were the ones told before", agree)
	}
	if err := egress.Warm(t.Context(), "nx", "does-not-exist.invalid"); err != nil {
		t.Errorf("Warm for a name that does not resolve = %v", err)
	}
	if err := egress.Warm(t.Context(), "ptr", network.SiteAddr.String()); err != nil {
		t.Errorf("Warm for an address = %v", err)
	}
	if _, err := egress.Exit(t.Context(), "ptr"); err != nil {
		t.Errorf("Exit after Warm for an address = %v", err)
	}
}

func TestStart(t *testing.T) {
	network := tornet.Shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	data := t.TempDir()
	egress, err := tor.Start(ctx, &tor.Options{Torrc: networkTorrc(t, network), DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := egress.Check(t.Context()); err != nil {
		t.Errorf("Check = %v", err)
	}
	pid := egress.PID()
	for range 2 {
		if err := egress.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if alive(pid) {
		t.Error("the process runs after Close")
	}
	if err := egress.Check(t.Context()); !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("Check after Close = %v, want ErrEgressUnavailable", err)
	}
	if entries, _ := os.ReadDir(data); len(entries) == 0 {
		t.Error("DataDir is empty")
	}
}

// TestStartCountries: a Tor that is to leave by one country does so, and tells
// which it is.
func TestStartCountries(t *testing.T) {
	network := tornet.Shared(t)
	table := filepath.Join(t.TempDir(), "geoip")
	var lines strings.Builder
	for i, exit := range network.Exits { // two in Germany, two in the Netherlands
		b := exit.Addr.As4()
		n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		fmt.Fprintf(&lines, "%d,%d,%s\n", n, n, []string{"DE", "NL"}[i%2])
	}
	if err := os.WriteFile(table, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	egress, err := tor.Start(ctx, &tor.Options{Torrc: append(networkTorrc(t, network), "GeoIPFile "+table), ExitCountries: []string{"nl"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = egress.Close() }()
	for i := range 8 {
		key := "country-" + strconv.Itoa(i)
		if err := egress.Warm(ctx, key, "exit.test"); err != nil {
			t.Fatal(err)
		}
		exit, err := egress.Exit(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		address, country, err := egress.Where(ctx, exit)
		if err != nil || country != "nl" || !slices.ContainsFunc(network.Exits, func(e tornet.Exit) bool { return e.Addr.String() == address }) {
			t.Errorf("Where(%s) = %q, %q, %v", exit, address, country, err)
		}
	}
}

func TestStartFails(t *testing.T) {
	tornet.Shared(t)
	for name, tc := range map[string]struct {
		opts tor.Options
		says string
	}{
		"no program":    {tor.Options{Binary: "no-such-tor"}, "apt-get install tor"},
		"bad torrc":     {tor.Options{Torrc: []string{"NoSuchOption 1"}}, "NoSuchOption"},
		"never ready":   {tor.Options{Torrc: []string{"DisableNetwork 1"}}, "no SOCKS port"},
		"unreachable":   {tor.Options{}, "waiting for a circuit"},
		"bad data dir":  {tor.Options{DataDir: "/dev/null/x"}, "not a directory"},
		"two lines":     {tor.Options{Torrc: []string{"A 1\nB 2"}}, "more than one line"},
		"other program": {tor.Options{Binary: "false"}, "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := tor.Start(ctx, &tc.opts)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Start = %v, want it to say %q", err, tc.says)
			}
		})
	}
}

// TestStartHidesTheEnvironment starts a program that writes down what it
// inherits.
func TestStartHidesTheEnvironment(t *testing.T) {
	for _, name := range []string{"VAULT_TOKEN", "SVC_MAIL_PASSWORD", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X"} {
		t.Setenv(name, "canary")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "tor")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nenv > '"+dir+"/env'\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := tor.Start(ctx, &tor.Options{Binary: program}); err == nil {
		t.Fatal("a program that ends at once was taken for Tor")
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(env), "PATH=") {
		t.Errorf("the child does not know PATH: %s", env)
	}
	for line := range strings.Lines(string(env)) {
		switch name, _, _ := strings.Cut(line, "="); name {
		case "PATH", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_": // the last four are the shell's own
		default:
			t.Errorf("the child inherits %s", line)
		}
	}
}

// parentVariable makes the test binary a parent that is killed.
const parentVariable = "SVCBLOCKS_TEST_TOR_PARENT"

// TestStartParent is no test: it is the parent of TestStartEndsWithItsParent.
func TestStartParent(t *testing.T) {
	torrc := os.Getenv(parentVariable)
	if torrc == "" {
		return
	}
	egress, err := tor.Start(t.Context(), &tor.Options{Torrc: strings.Split(torrc, "\n")})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("pid=%d\n", egress.PID())
	select {} // until killed
}

func TestStartEndsWithItsParent(t *testing.T) {
	network := tornet.Shared(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestStartParent$", "-test.v")
	cmd.Env = append(os.Environ(), parentVariable+"="+strings.Join(networkTorrc(t, network), "\n"), "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	var seen strings.Builder
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		seen.WriteString(lines.Text() + "\n")
		if text, ok := strings.CutPrefix(lines.Text(), "pid="); ok {
			pid, _ = strconv.Atoi(text)
		}
	}
	if pid == 0 {
		t.Fatalf("the parent printed no pid: %s%v", seen.String(), cmd.Wait())
	}
	if !alive(pid) {
		t.Fatal("Tor does not run")
	}
	_ = cmd.Process.Kill() // SIGKILL: the parent can do nothing
	_ = cmd.Wait()         // it was killed
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		if time.Since(began) > 20*time.Second {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("Tor runs 20 s after its parent was killed")
		}
		<-tick.C
	}
	t.Logf("Tor ended %v after its parent was killed", time.Since(began))
}

// alive reports whether a process runs; one that has ended but was not waited
// for does not.
func alive(pid int) bool {
	// In a namespace of its own the test inherits orphans, and has to wait for
	// them; elsewhere this says that pid is no child.
	if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err == nil && got == pid {
		return false
	}
	return syscall.Kill(pid, 0) == nil
}
