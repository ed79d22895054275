package tor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/lifetest"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tornet.Wrap(m)) }

// newTor returns a Tor made of a SOCKS server and a control port.
func newTor(t testing.TB, f *fakeControl, opts tor.Options) *tor.Tor {
	t.Helper()
	opts.SOCKS, opts.Control = sockstest.Start(t).Addr, f.addr
	if opts.Timeout == 0 {
		opts.Timeout = time.Second
	}
	opts.DisableStartCheck = true
	egress, err := tor.Dial(t.Context(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = egress.Close() })
	return egress
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("c", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cookie, short, missing := write("cookie", 32), write("short", 31), filepath.Join(dir, "missing")
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte(strings.Repeat("o", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	right := []byte(strings.Repeat("c", 32))
	const canary = "hunter2-canary"
	for _, tc := range []struct {
		name    string
		control *fakeControl
		opts    tor.Options
		want    error
		says    string
	}{
		{"none needed", &fakeControl{methods: "NULL"}, tor.Options{}, nil, ""},
		{"password", &fakeControl{methods: "HASHEDPASSWORD", password: canary}, tor.Options{Password: secret.New(canary)}, nil, ""},
		{"wrong password", &fakeControl{methods: "HASHEDPASSWORD", password: "x"}, tor.Options{Password: secret.New(canary)}, tor.ErrAuth, "Authentication failed"},
		{"no password", &fakeControl{methods: "HASHEDPASSWORD", password: "x"}, tor.Options{}, tor.ErrAuth, "Options.Password"},
		{"safe cookie", &fakeControl{methods: "COOKIE,SAFECOOKIE", cookieFile: cookie, cookie: right}, tor.Options{}, nil, ""},
		{"plain cookie", &fakeControl{methods: "COOKIE", cookieFile: cookie, cookie: right}, tor.Options{}, nil, ""},
		{"cookie elsewhere", &fakeControl{methods: "SAFECOOKIE", cookieFile: missing, cookie: right}, tor.Options{CookieFile: cookie}, nil, ""},
		{"cookie missing", &fakeControl{methods: "SAFECOOKIE", cookieFile: missing, cookie: right}, tor.Options{}, tor.ErrAuth, "Options.CookieFile"},
		{"cookie too short", &fakeControl{methods: "SAFECOOKIE", cookieFile: short, cookie: right}, tor.Options{}, tor.ErrAuth, "31 bytes"},
		{"another Tor's cookie", &fakeControl{methods: "SAFECOOKIE", cookieFile: other, cookie: right}, tor.Options{}, tor.ErrAuth, "does not prove"},
		{"cookie missing, password right", &fakeControl{methods: "COOKIE,SAFECOOKIE,HASHEDPASSWORD", cookieFile: missing, cookie: right, password: canary}, tor.Options{Password: secret.New(canary)}, nil, ""},
		{"password wrong, cookie right", &fakeControl{methods: "COOKIE,SAFECOOKIE,HASHEDPASSWORD", cookieFile: cookie, cookie: right, password: "x"}, tor.Options{Password: secret.New(canary)}, nil, ""},
		{"both wrong", &fakeControl{methods: "COOKIE,SAFECOOKIE,HASHEDPASSWORD", cookieFile: other, cookie: right, password: "x"}, tor.Options{Password: secret.New(canary)}, tor.ErrAuth, "password"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			egress := newTor(t, startControl(t, tc.control), tc.opts)
			err := egress.Check(t.Context())
			if !errors.Is(err, tc.want) || err != nil && !errors.Is(err, scrape.ErrEgressUnavailable) {
				t.Fatalf("Check = %v, want %v and ErrEgressUnavailable", err, tc.want)
			}
			if err != nil && (!strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "canary")) {
				t.Errorf("Check = %v, want it to say %q and no secret", err, tc.says)
			}
			if err == nil {
				if s, err := egress.Status(t.Context()); err != nil || s.Version != "0.4.9.11" || s.Bootstrap != 100 || s.Summary != "Done" {
					t.Errorf("Status = %+v, %v", s, err)
				}
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	var answer atomic.Value
	f := startControl(t, &fakeControl{on: func(_ net.Conn, line string) (string, bool) {
		return answer.Load().(string), strings.HasPrefix(line, "GETINFO")
	}})
	egress := newTor(t, f, tor.Options{})
	ready := info("version status/bootstrap-phase status/circuit-established network-liveness net/listeners/socks")
	for _, replace := range [][2]string{
		{`PROGRESS=100 TAG=done SUMMARY="Done"`, `PROGRESS=45 TAG=x SUMMARY="Asking for relay descriptors"`},
		{"circuit-established=1", "circuit-established=0"},
	} {
		answer.Store(strings.Replace(ready, replace[0], replace[1], 1))
		if err := egress.Check(t.Context()); !errors.Is(err, tor.ErrNotReady) || !errors.Is(err, scrape.ErrEgressUnavailable) {
			t.Errorf("Check with %s = %v, want ErrNotReady", replace[1], err)
		}
	}
	answer.Store(ready)
	if err := egress.Check(t.Context()); err != nil {
		t.Errorf("Check = %v", err)
	}
}

func TestConcurrentCommands(t *testing.T) {
	t.Parallel()
	f := startControl(t, &fakeControl{})
	egress := newTor(t, f, tor.Options{Timeout: 30 * time.Second})
	n := testenv.Reps(2000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range n {
				if s, err := egress.Status(t.Context()); err != nil || s.Version != "0.4.9.11" {
					t.Errorf("Status = %+v, %v", s, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if opened := f.opened.Load(); opened != 1 {
		t.Errorf("%d connections for %d commands, want 1", opened, 8*n)
	}
}

func TestEventFlood(t *testing.T) {
	t.Parallel()
	f := &fakeControl{}
	f.on = func(_ net.Conn, line string) (string, bool) {
		if line == "SIGNAL NEWNYM" {
			var flood strings.Builder
			for i := range 5000 {
				fmt.Fprintf(&flood, "650 SIGNAL RELOAD%d\r\n", i)
			}
			f.emit(flood.String() + "650 SIGNAL NEWNYM\r\n")
		}
		return "", false
	}
	startControl(t, f)
	egress := newTor(t, f, tor.Options{})
	for range 3 {
		if err := egress.NewIdentity(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewIdentityWaitsForTheEvent(t *testing.T) {
	t.Parallel()
	signalled := make(chan struct{}, 1)
	f := &fakeControl{}
	f.on = func(_ net.Conn, line string) (string, bool) {
		if line == "SIGNAL NEWNYM" {
			signalled <- struct{}{}
		}
		return "", false
	}
	startControl(t, f)
	egress := newTor(t, f, tor.Options{})
	done := make(chan error, 1)
	go func() { done <- egress.NewIdentity(t.Context()) }()
	<-signalled
	f.emit("650 NOTICE Rate limiting NEWNYM request: delaying by 10 second(s)\r\n")
	select {
	case err := <-done:
		t.Fatalf("NewIdentity returned %v before the event", err)
	case <-time.After(50 * time.Millisecond):
	}
	f.emit("650 SIGNAL NEWNYM\r\n")
	if err := <-done; err != nil {
		t.Errorf("NewIdentity = %v", err)
	}
	// One whose event never comes ends with its context, one whose connection is
	// lost at once.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := egress.NewIdentity(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("NewIdentity without an event = %v", err)
	}
	<-signalled
	go func() { done <- egress.NewIdentity(t.Context()) }()
	<-signalled
	f.drop()
	if err := <-done; !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("NewIdentity on a lost connection = %v, want ErrEgressUnavailable", err)
	}
}

func TestHostileControlPort(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, by the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for name, f := range map[string]*fakeControl{
		"silent from the start": {addr: silent.Addr().String()},
		"silent later":          {on: func(net.Conn, string) (string, bool) { return "", true }},
		"cut line": {on: func(c net.Conn, _ string) (string, bool) {
			_, _ = c.Write([]byte("250-vers"))
			return "", c.Close() == nil
		}},
		"never a line's end":   {on: func(net.Conn, string) (string, bool) { return "250-version=", true }},
		"garbage":              {on: func(net.Conn, string) (string, bool) { return "HTTP/1.1 400 Bad Request\r\n\r\n", true }},
		"short line":           {on: func(net.Conn, string) (string, bool) { return "25\r\n", true }},
		"bad code":             {on: func(net.Conn, string) (string, bool) { return "abc def\r\n", true }},
		"code changes":         {on: func(net.Conn, string) (string, bool) { return "250-a=b\r\n551 x\r\n", true }},
		"bad separator":        {on: func(net.Conn, string) (string, bool) { return "250?a=b\r\n", true }},
		"dot body without end": {on: func(net.Conn, string) (string, bool) { return "250+version=\r\nx\r\n", true }},
		"no value":             {on: func(net.Conn, string) (string, bool) { return "250 OK\r\n", true }},
		"refusal":              {on: func(net.Conn, string) (string, bool) { return "552 Unrecognized key\r\n", true }},
		"events and no answer": {on: func(net.Conn, string) (string, bool) { return strings.Repeat("650 SIGNAL X\r\n", 1000), true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if f.addr == "" {
				startControl(t, f)
			}
			egress := newTor(t, f, tor.Options{Timeout: limit})
			for range 2 {
				began := time.Now()
				_, err := egress.Status(t.Context())
				if took := time.Since(began); err == nil || took > limit+2*time.Second {
					t.Errorf("Status = %v after %v, want an error within %v", err, took, limit)
				}
				if err := egress.Check(t.Context()); !errors.Is(err, scrape.ErrEgressUnavailable) {
					t.Errorf("Check = %v, want ErrEgressUnavailable", err)
				}
			}
			began := time.Now()
			if err := egress.Close(); err != nil || time.Since(began) > time.Second {
				t.Errorf("Close = %v after %v", err, time.Since(began))
			}
		})
	}
}

func TestControlCharactersAreRefused(t *testing.T) {
	t.Parallel()
	f := startControl(t, &fakeControl{})
	egress := newTor(t, f, tor.Options{})
	for _, line := range []string{"SIGNAL NEWNYM\r\nSETCONF ControlPort=1", "GETINFO version\n", "X\rY", "X\x00"} {
		if err := egress.Command(t.Context(), line); !errors.Is(err, tor.ErrCommand) {
			t.Errorf("Command(%q) = %v, want ErrCommand", line, err)
		}
	}
	if n := f.commands.Load(); n != 0 {
		t.Errorf("%d commands arrived", n)
	}
}

func TestReconnectsAfterRestart(t *testing.T) {
	t.Parallel()
	f := startControl(t, &fakeControl{})
	egress := newTor(t, f, tor.Options{})
	for range 3 {
		if _, err := egress.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.drop()
	}
}

func TestWithoutControlPort(t *testing.T) {
	t.Parallel()
	egress, err := tor.Dial(t.Context(), &tor.Options{SOCKS: sockstest.Start(t).Addr})
	if err != nil {
		t.Fatal(err)
	}
	if err := egress.NewIdentity(t.Context()); !errors.Is(err, tor.ErrNoControl) {
		t.Errorf("NewIdentity = %v, want ErrNoControl", err)
	}
	if _, err := egress.Exit(t.Context(), "x"); !errors.Is(err, tor.ErrNoControl) {
		t.Errorf("Exit = %v, want ErrNoControl", err)
	}
	for _, rotation := range []scrape.Rotation{{Distinct: true}, {By: scrape.NewNym}} {
		if _, err := scrape.New(t.Context(), &scrape.Options{Egress: egress, Rotation: rotation}); err == nil {
			t.Errorf("New accepts %+v without a control port", rotation)
		}
	}
}

func TestParseCircuit(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`7 BUILT $AA~g,$BB~m,$CC~e BUILD_FLAGS=NEED_CAPACITY PURPOSE=CONFLUX_LINKED TIME_CREATED=2026 SOCKS_USERNAME="id-A" SOCKS_PASSWORD="x"`: "BUILT [AA BB CC] id-A",
		`7 BUILT $AA=g,$BB PURPOSE=GENERAL SOCKS_USERNAME="with \"quotes\" and spaces"`:                                                         `BUILT [AA BB] with "quotes" and spaces`,

		`8 LAUNCHED BUILD_FLAGS=X PURPOSE=GENERAL`: "LAUNCHED [] ",

		`x BUILT $AA`:    "",
		`7`:              "",
		``:               "",
		`7 BUILT $AA AA`: "",
		`7 BUILT AA,$BB`: "",
	} {
		status, path, user, ok := tor.ParseCircuit(line)
		got := fmt.Sprintf("%s %v %s", status, path, user)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func FuzzParseCircuit(f *testing.F) {
	f.Add(`7 BUILT $AA~g,$BB~m,$CC~e PURPOSE=GENERAL SOCKS_USERNAME="id-A"`)
	f.Add(`NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"`)
	f.Fuzz(func(t *testing.T, line string) {
		_, path, _, ok := tor.ParseCircuit(line)
		if !ok && path != nil {
			t.Error("a path of no circuit")
		}
		for _, hop := range path {
			if strings.ContainsAny(hop, "$,~=") {
				t.Errorf("hop %q", hop)
			}
		}
		_ = tor.Field(line, "PROGRESS")
	})
}

func FuzzControlReply(f *testing.F) {
	f.Add("250-version=0.4.9.11\r\n250 OK\r\n")
	f.Add("250+circuit-status=\r\n7 BUILT $AA\r\n.\r\n250 OK\r\n")
	f.Add("650 SIGNAL NEWNYM\r\n250 OK\r\n")
	f.Add(info("version status/bootstrap-phase status/circuit-established network-liveness net/listeners/socks"))
	f.Fuzz(func(t *testing.T, text string) {
		began := time.Now()
		status, err := tor.Reply(t.Context(), text)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil && status.Version == "" && !strings.Contains(text, "version=") {
			t.Errorf("an answer without a version: %+v", status)
		}
	})
}

func TestLifeCycle(t *testing.T) {
	t.Parallel()
	f := startControl(t, &fakeControl{})
	socks := sockstest.Start(t)
	lifetest.Stress(t, lifetest.Subject{New: func() (any, error) {
		return tor.Dial(t.Context(), &tor.Options{SOCKS: socks.Addr, Control: f.addr, Timeout: 30 * time.Second})
	}})
}
