package broker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/fleet/internal/broker"
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
	for name, tt := range map[string]struct {
		opts broker.ServerOptions
		want string
	}{
		"no port":          {broker.ServerOptions{Listen: "127.0.0.1", Dir: t.TempDir()}, "host:port"},
		"no folder":        {broker.ServerOptions{Listen: "127.0.0.1:0"}, "no folder"},
		"a file":           {broker.ServerOptions{Listen: "127.0.0.1:0", Dir: file}, file},
		"open to everyone": {broker.ServerOptions{Listen: "0.0.0.0:0", Dir: t.TempDir()}, "set nats.token"},
		"every address":    {broker.ServerOptions{Listen: ":0", Dir: t.TempDir()}, "set nats.token"},
		"in use":           {broker.ServerOptions{Listen: strings.TrimPrefix(other.URL(), "nats://"), Dir: t.TempDir()}, "address already in use"},
	} {
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

// Dial waits for a server that is not there, and says so at the end.
func TestDialWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := broker.Dial(ctx, broker.DialOptions{URL: "nats://127.0.0.1:1"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nats.url") {
		t.Errorf("error %v", err)
	}
}
