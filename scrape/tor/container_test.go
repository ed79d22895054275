package tor_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// engine serves the Docker Engine's API on a socket, as far as it is used.
func engine(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	testenv.UnixSockets(t)
	dir, err := os.MkdirTemp("", "engine") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "docker.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return path
}

// containers answers for the containers it is given, by name or id.
func containers(t testing.TB, known map[string]string) string {
	return engine(t, func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/containers/"), "/json")
		body, ok := known[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"No such container: %s"}`, name)
			return
		}
		fmt.Fprint(w, body)
	})
}

func TestContainer(t *testing.T) {
	t.Parallel()
	socks := sockstest.Start(t).Addr
	_, socksPort, _ := net.SplitHostPort(socks)
	control := startControl(t, &fakeControl{})
	_, controlPort, _ := net.SplitHostPort(control.addr)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, deadPort, _ := net.SplitHostPort(dead.Addr().String())
	_ = dead.Close()

	const id = "4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01db0b339c4c01"
	running := `{"State":{"Running":true,"Status":"running"},"HostConfig":{"NetworkMode":"bridge"},"NetworkSettings":{%s}}`
	published := fmt.Sprintf(running, `"Ports":{"9050/tcp":[{"HostIp":"0.0.0.0","HostPort":"`+socksPort+`"}],"9051/tcp":[{"HostIp":"127.0.0.1","HostPort":"`+controlPort+`"}],"53/udp":null},"Networks":{}`)
	path := containers(t, map[string]string{
		"tor": published, id: published, id[:12]: published,
		"own-address": fmt.Sprintf(running, `"Ports":{"`+socksPort+`/tcp":null},"Networks":{"app":{"IPAddress":"127.0.0.1"},"none":{"IPAddress":""}}`),
		"second":      fmt.Sprintf(running, `"Ports":{"9050/tcp":[{"HostIp":"127.0.0.1","HostPort":"`+deadPort+`"},{"HostIp":"::","HostPort":"`+socksPort+`"},{"HostIp":"","HostPort":"`+socksPort+`"}]},"Networks":{}`),
		"scrape":      `{"State":{"Running":false,"Status":"exited"},"NetworkSettings":{"Ports":{}}}`,
		"stopped":     `{"State":{"Running":false,"Status":"exited"},"NetworkSettings":{"Ports":{}}}`,
		"no-ports":    fmt.Sprintf(running, `"Ports":{},"Networks":{}`),
		"dead":        fmt.Sprintf(running, `"Ports":{"9050/tcp":[{"HostIp":"127.0.0.1","HostPort":"`+deadPort+`"}]},"Networks":{}`),
		"garbage":     `<html>`,
		"strange":     `{"State":{"Running":true},"NetworkSettings":{"Ports":{"9050/tcp":[{"HostIp":"evil host","HostPort":"x y"}]},"Networks":{"a":{"IPAddress":"not an address"}}}}`,
	})
	for _, tc := range []struct {
		name string
		opts tor.Options
		want error
		says string
	}{
		{"tor", tor.Options{}, nil, ""},
		{id, tor.Options{}, nil, ""},
		{id[:12], tor.Options{}, nil, ""},
		{"tor", tor.Options{Control: "127.0.0.1:9051"}, nil, ""},
		{"own-address", tor.Options{SOCKS: "127.0.0.1:" + socksPort}, nil, ""},
		{"second", tor.Options{}, nil, ""},
		{"stopped", tor.Options{}, tor.ErrContainer, "docker start stopped"},
		{"scrape", tor.Options{}, tor.ErrContainer, "container scrape: it is not running"},
		{"missing", tor.Options{}, tor.ErrContainer, "docker ps -a"},
		{"no-ports", tor.Options{}, tor.ErrContainer, "docker run -p"},
		{"dead", tor.Options{}, scrape.ErrEgressUnavailable, "connection refused"},
		{"garbage", tor.Options{}, tor.ErrContainer, "Docker Engine"},
		{"strange", tor.Options{}, scrape.ErrEgressUnavailable, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			opts := tc.opts
			opts.Container, opts.DockerHost, opts.Timeout = tc.name, "unix://"+path, time.Second
			egress, err := tor.Dial(t.Context(), &opts)
			if !errors.Is(err, tc.want) {
				t.Fatalf("Container = %v, want %v", err, tc.want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tc.says) {
					t.Errorf("Container = %v, want it to say %q", err, tc.says)
				}
				return
			}
			defer func() { _ = egress.Close() }()
			if err := egress.Check(t.Context()); err != nil {
				t.Errorf("Check = %v", err)
			}
			if got, want := egress.HasControl(), tc.opts.Control != ""; got != want {
				t.Errorf("HasControl = %v, want %v", got, want)
			}
		})
	}
}

func TestContainerNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../../images/json?x=", "tor/../x", "tor\r\nHost: evil", "-tor", strings.Repeat("a", 300)} {
		if _, err := tor.Dial(t.Context(), &tor.Options{Container: name}); err == nil || !strings.Contains(err.Error(), "tor: new: Container: ") {
			t.Errorf("Dial with container %q = %v", name, err)
		}
	}
}

func TestContainerWithoutTheEngine(t *testing.T) {
	t.Parallel()
	testenv.UnixSockets(t)
	socks := sockstest.Start(t).Addr
	missing := filepath.Join(t.TempDir(), "docker.sock")
	// The published port of the host serves.
	egress, err := tor.Dial(t.Context(), &tor.Options{Container: "no-such-name", SOCKS: socks, DockerHost: "unix://" + missing, Timeout: time.Second})
	if err != nil {
		t.Fatalf("Container = %v", err)
	}
	_ = egress.Close()
	hang := make(chan struct{})
	silent := engine(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	defer close(hang)
	began := time.Now()
	if _, err := tor.Dial(t.Context(), &tor.Options{Container: "tor", DockerHost: "unix://" + silent, Timeout: 200 * time.Millisecond}); !errors.Is(err, scrape.ErrEgressUnavailable) || time.Since(began) > 3*time.Second {
		t.Errorf("Container with a silent Engine = %v after %v", err, time.Since(began))
	}
}

// TestContainerMoves has a container that is not there at first, then is, and
// comes back at another port.
func TestContainerMoves(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	body := ""
	path := engine(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if body == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, body)
	})
	move := func(addr string) {
		_, port, _ := net.SplitHostPort(addr)
		mu.Lock()
		defer mu.Unlock()
		body = `{"State":{"Running":true},"NetworkSettings":{"Ports":{"9050/tcp":[{"HostIp":"127.0.0.1","HostPort":"` + port + `"}]}}}`
	}
	egress, err := tor.Dial(t.Context(), &tor.Options{Container: "tor", DockerHost: "unix://" + path, Timeout: time.Second, DisableStartCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = egress.Close() }()
	if err := egress.Check(t.Context()); !errors.Is(err, tor.ErrContainer) || !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("Check without the container = %v", err)
	}
	first := sockstest.Start(t)
	move(first.Addr)
	if err := egress.Check(t.Context()); err != nil {
		t.Errorf("Check with the container = %v", err)
	}
	first.Stop()
	if err := egress.Check(t.Context()); !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("Check of a stopped one = %v", err)
	}
	move(sockstest.Start(t).Addr)
	if err := egress.Check(t.Context()); err != nil {
		t.Errorf("Check of a moved one = %v", err)
	}
}
