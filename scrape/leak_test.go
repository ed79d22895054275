//go:build unix

package scrape_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// pidOf asks a Tor for its process id, without the product's own client.
func pidOf(t testing.TB, client *tornet.Client) int {
	t.Helper()
	conn, err := textproto.Dial("tcp", client.ControlAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, line := range []string{fmt.Sprintf("AUTHENTICATE %q", client.Password), "GETINFO process/pid"} {
		if err := conn.PrintfLine("%s", line); err != nil {
			t.Fatal(err)
		}
		answer, err := conn.ReadLine()
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := strings.CutPrefix(answer, "250-process/pid="); ok {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("Tor does not tell its process id")
	return 0
}

// TestTorStopped stops Tor with SIGSTOP, in which it accepts connections, by
// the kernel, and answers none.
func TestTorStopped(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(source))
	client := network.NewClient(t, nil)
	const timeout = 6 * time.Second
	opts := options(dialTor(t, client))
	opts.Limits.Timeout = timeout
	c := newClient(t, opts)
	address := site.URL("stopped.test", "/")
	if _, _, err := get(t, c, address); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, client)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // it may have ended
	for i := range 2 {                                           // on the open connection, and on a new one
		began := time.Now()
		_, _, err := get(t, c, address)
		if took := time.Since(began); !errors.Is(err, scrape.ErrEgressUnavailable) || took > timeout {
			t.Errorf("request %d: %v after %v, want ErrEgressUnavailable within %v", i, err, took, timeout)
		}
		if _, err := c.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for {
		_, _, err := get(t, c, address)
		if err == nil {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("30s after SIGCONT: %v", err)
		}
	}
	if s := site.Strangers(); len(s) > 0 {
		t.Errorf("connections that bypassed Tor: %v", s)
	}
}

// traceVariable makes the test binary the process that is traced.
const traceVariable = "SVCBLOCKS_TEST_TRACE"

// TestTraced is no test: it is the process of TestConnectTrace.
func TestTraced(t *testing.T) {
	settings := strings.Split(os.Getenv(traceVariable), "|")
	if len(settings) != 4 {
		return
	}
	egress, err := tor.Dial(t.Context(), &tor.Options{SOCKS: settings[0], Control: settings[1], Password: secret.New(settings[2])})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = egress.Close() }()
	opts := options(egress)
	opts.Robots = scrape.Robots{}
	opts.Rotation = scrape.Rotation{Every: 5, Distinct: true}
	c := newClient(t, opts)
	for range 20 {
		if _, _, err := get(t, c, settings[3]); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestConnectTrace has the kernel tell each address that the client connects
// to or sends to.
func TestConnectTrace(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	strace := testenv.Require(t, "strace")
	site := network.ServeSite(t, http.HandlerFunc(source))
	client := network.Client
	trace := filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, strace.Path, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none", "-o", trace,
		os.Args[0], "-test.run=^TestTraced$", "-test.v")
	cmd.Env = append(os.Environ(), traceVariable+"="+strings.Join([]string{client.SOCKSAddr, client.ControlAddr, client.Password, site.URL("traced.test", "/")}, "|"))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestTraced") {
		t.Fatalf("traced process: %v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`sin6?_port=htons\((\d+)\).*?"([^"]+)"`)
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if m := address.FindStringSubmatch(line); m != nil {
			seen[net.JoinHostPort(m[2], m[1])]++
		} else if strings.Contains(line, "AF_UNIX") {
			t.Errorf("a socket of this machine: %s", line)
		}
	}
	allowed := []string{client.SOCKSAddr, client.ControlAddr}
	for addr, n := range seen {
		if !slices.Contains(allowed, addr) {
			t.Errorf("%d times to %s, which is neither the SOCKS nor the control port", n, addr)
		}
	}
	if len(seen) != 2 {
		t.Errorf("traced %v, want the SOCKS and the control port", seen)
	}
	for _, q := range network.LocalQueries() { // other tests may have asked for other names
		if strings.HasSuffix(q.Name, ".test") {
			t.Errorf("a question to the local resolver: %v", q)
		}
	}
}
