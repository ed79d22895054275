package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestHashPassword compares with what `tor --hash-password` gave for the same
// salt.
func TestHashPassword(t *testing.T) {
	t.Parallel()
	part := testenv.Require(t, "tor")
	for _, password := range []string{"x", "correct horse", `"\`, strings.Repeat("long", 100)} {
		out, err := part.Command("--quiet", "--hash-password", password).Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(string(out))
		want := lines[len(lines)-1]
		// 16:, the salt, the count, the sum.
		salt, err := hex.DecodeString(want[3:19])
		if err != nil {
			t.Fatal(err)
		}
		if got := hashPassword(password, [8]byte(salt)); got != want {
			t.Errorf("hashPassword(%q) = %s, tor says %s", password, got, want)
		}
	}
}

// TestARealTor has one that reaches nobody: its password is taken, a wrong one
// is not, and it is not ready.
func TestARealTor(t *testing.T) {
	t.Parallel()
	part := testenv.Require(t, "tor")
	const password = `pass "word" \ 7f3a`
	dir := t.TempDir()
	addr := net.JoinHostPort("127.0.0.1", fmt.Sprint(daemon.Port(t)))
	text := strings.NewReplacer(
		"0.0.0.0:9050", "0", "0.0.0.0:9051", addr, "/var/lib/tor", filepath.Join(dir, "data"), "/etc/tor/torrc.d", dir,
		"IsolateSOCKSAuth KeepAliveIsolateSOCKSAuth", "",
	).Replace(settings) + "DisableNetwork 1\nHashedControlPassword " + hashPassword(password, [8]byte{1, 2, 3}) + "\n"
	file := filepath.Join(dir, "torrc")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tor := daemon.Start(t, part.Command("--defaults-torrc", "/dev/null", "-f", file))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tor.Await(ctx, t, daemon.Listening(addr))
	if err := bootstrapped(ctx, addr, password); err == nil || !strings.Contains(err.Error(), "not ready") || !strings.Contains(err.Error(), "PROGRESS=0") {
		t.Errorf("bootstrapped = %v\n%s", err, tor.Output())
	}
	if err := bootstrapped(ctx, addr, "wrong"); err == nil || !strings.Contains(err.Error(), "authenticate: 515") {
		t.Errorf("bootstrapped with a wrong password = %v", err)
	}
}

func TestBootstrapped(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answers, want string }{
		{"done", "250 OK\r\n250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"\r\n250 OK\r\n", ""},
		{"nearly", "250 OK\r\n250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=10 TAG=conn SUMMARY=\"PROGRESS=1000\"\r\n250 OK\r\n", "not ready: NOTICE BOOTSTRAP PROGRESS=10 "},
		{"refused", "515 Authentication failed\r\n", "authenticate: 515"},
		{"unknown", "250 OK\r\n552 Unrecognized key\r\n", "bootstrap phase: 552"},
		{"cut off", "250 OK\r\n250-status", "EOF"},
		{"garbage", "\x00\x01\r\n", "short response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				lines := bufio.NewScanner(conn)
				lines.Scan()
				_, _ = conn.Write([]byte(tc.answers))
				lines.Scan()
			}()
			err = bootstrapped(t.Context(), l.Addr().String(), "x")
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("bootstrapped = %v, want %q", err, tc.want)
			}
			_ = l.Close()
			<-done
		})
	}
}
