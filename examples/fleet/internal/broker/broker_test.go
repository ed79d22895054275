package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/patient"
)

func TestStartErrors(t *testing.T) {
	t.Parallel()
	other, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() }) // after the subtests
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	writable := filepath.Join(t.TempDir(), "writable")
	if err := errors.Join(os.Mkdir(writable, 0o700), os.Chmod(writable, 0o777)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		opts broker.ServerOptions
		want string
	}{
		"no port":          {broker.ServerOptions{Listen: "127.0.0.1", Dir: t.TempDir()}, "host:port"},
		"no folder":        {broker.ServerOptions{Listen: "127.0.0.1:0"}, "no folder"},
		"a file":           {broker.ServerOptions{Listen: "127.0.0.1:0", Dir: file}, file},
		"open to everyone": {broker.ServerOptions{Listen: "0.0.0.0:0", Dir: t.TempDir()}, "set nats.token"},
		"every address":    {broker.ServerOptions{Listen: ":0", Dir: t.TempDir()}, "set nats.token"},
		"in use":           {broker.ServerOptions{Listen: strings.TrimPrefix(other.URL(), "nats://"), Dir: t.TempDir()}, "address already in use"},
	}
	if runtime.GOOS != "windows" { // there are no such bits there
		tests["others may write"] = struct {
			opts broker.ServerOptions
			want string
		}{broker.ServerOptions{Listen: "127.0.0.1:0", Dir: writable}, "everybody may write it"}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := broker.StartServer(context.Background(), tt.opts)
			if err == nil {
				_ = s.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// The address of a server may hold a password; what is no address is quoted.
func TestAddressIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"nats://ann:hunter2%zz@nats.example:4222", "nats://ann:hunter2@nats.example:x", "://hunter2@nats.example"} {
		if _, err := broker.Dial(t.Context(), broker.DialOptions{URL: url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Dial(%q) = %v", url, err)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	s, err := broker.StartServer(t.Context(), broker.ServerOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), Token: secret.New("hunter2")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	nc, err := s.Connect(t.Context(), "hub", nil)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if nc, err = broker.Dial(t.Context(), broker.DialOptions{URL: s.URL(), Token: secret.New("hunter2")}); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	for _, token := range []string{"", "hunter3"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := broker.Dial(ctx, broker.DialOptions{URL: s.URL(), Token: secret.New(token)})
		cancel()
		if !errors.Is(err, nats.ErrAuthorization) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("token %q: error %v, want nats.ErrAuthorization without the token", token, err)
		}
	}
}

// Dial waits for a server that is not there, and says so and why, once in the
// log and at the end.
func TestDialWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	told := &endAt{text: "no server answers yet", end: cancel}
	_, err := broker.Dial(ctx, broker.DialOptions{URL: "nats://127.0.0.1:1", Asker: patient.New(slog.New(slog.NewTextHandler(told, nil)))})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nats.url") || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v", err)
	}
	if log := told.String(); strings.Count(log, "no server answers yet") != 1 || !strings.Contains(log, "connection refused") {
		t.Errorf("log %q", log)
	}
}

// endAt keeps what is written, and calls end once text was.
type endAt struct {
	text string
	end  func()

	mu    sync.Mutex
	lines strings.Builder
}

func (e *endAt) Write(line []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if strings.Contains(string(line), e.text) {
		e.end()
	}
	return e.lines.Write(line)
}

func (e *endAt) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lines.String()
}
