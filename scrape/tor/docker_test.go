//go:build linux && docker

package tor_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/tornet"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// enterAndRun is what the container does: it becomes a Tor in the network
// namespace of this test, where the private network is. To the Engine it is a
// container on the host's network.
const enterAndRun = `printf '%s\n' "$TORRC" >/torrc
for p in /proc/[0-9]*; do
	if [ "$(readlink "$p/ns/net")" = "$NETNS" ]; then
		exec nsenter --net="$p/ns/net" tor --defaults-torrc /none -f /torrc
	fi
done
echo no process in "$NETNS" >&2
exit 1
`

// docker runs the client and returns what it printed.
func docker(t testing.TB, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := testenv.Require(t, "docker").Command(args...)
	cmd.Stdin = stdin
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", args[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// engineSocket is where the Engine of the docker client listens.
func engineSocket(t testing.TB) string {
	t.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		return "" // the default of both
	}
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		t.Fatalf("DOCKER_HOST=%s: the test needs an Engine on this machine", host)
	}
	return path
}

// torImage packs this machine's Tor, and the programs of enterAndRun, into an
// image: no registry is needed.
func torImage(t testing.TB) string {
	t.Helper()
	files := map[string]string{} // in the image → here
	add := func(program string) string {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		files["/bin/"+program] = path
		return path
	}
	for _, program := range []string{"tor", "sh", "readlink", "nsenter"} {
		out, err := exec.Command("ldd", add(program)).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", program, err)
		}
		for word := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(word, "/") {
				files[word] = word
			}
		}
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, dir := range []string{"data/", "proc/", "tmp/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o700}); err != nil {
			t.Fatal(err)
		}
	}
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(filepath.Clean(name), "/"), Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	id := docker(t, &image, "import", "-")
	t.Cleanup(func() { docker(t, nil, "rmi", "--force", id) })
	return id
}

// TestDockerContainer has a real Engine run a real Tor.
func TestDockerContainer(t *testing.T) {
	testenv.Require(t, "docker")
	network := tornet.Shared(t)
	site := network.ServeSite(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	}))
	netns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	password := rand.Text()
	hash, err := exec.Command("tor", "--quiet", "--hash-password", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(hash)), "\n") // warnings may stand before it
	torrc := append(networkTorrc(t, network), "DataDirectory /data", "SocksPort 127.0.0.1:9050", "ControlPort 127.0.0.1:9051",
		"HashedControlPassword "+lines[len(lines)-1], "Log notice stdout", "ShutdownWaitLength 0")

	name := "svcblocks-test-tor-" + strings.ToLower(rand.Text())
	id := docker(t, nil, "run", "--detach", "--name", name, "--network", "host", "--pid", "host", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--env", "NETNS="+netns, "--env", "TORRC="+strings.Join(torrc, "\n"), torImage(t), "/bin/sh", "-c", enterAndRun)
	removed := false
	t.Cleanup(func() {
		if !removed {
			docker(t, nil, "rm", "--force", id)
		}
	})
	opts := &tor.Options{DockerHost: "unix://" + engineSocket(t), Control: "127.0.0.1:9051", Password: secret.New(password)}
	connect := func(name string) (egress *tor.Tor) {
		t.Helper()
		opts.Container = name
		testenv.EventuallyWithin(t, 2*time.Minute, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var err error
			if egress, err = tor.Dial(ctx, opts); err != nil {
				if !errors.Is(err, scrape.ErrEgressUnavailable) {
					t.Fatalf("Container = %v, want ErrEgressUnavailable until it is ready", err)
				}
				return fmt.Errorf("%w\n%s", err, docker(t, nil, "logs", "--tail", "5", id))
			}
			return nil
		})
		t.Cleanup(func() { _ = egress.Close() })
		return egress
	}
	egress := connect(name)
	for _, other := range []string{id, id[:12]} {
		if err := connect(other).Check(t.Context()); err != nil {
			t.Errorf("Check by the id %s: %v", other, err)
		}
	}
	if s, err := egress.Status(t.Context()); err != nil || s.Bootstrap != 100 || s.Version == "" {
		t.Errorf("Status = %+v, %v", s, err)
	}

	c, err := scrape.New(t.Context(), &scrape.Options{
		Egress: egress, Rotation: scrape.Rotation{Every: 5, Distinct: true}, Robots: scrape.Robots{Ignore: true},
		HostLimit: scrape.HostLimit{PerSecond: -1}, Retry: scrape.Retry{Attempts: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fetch := func() (string, error) {
		res, err := c.Get(t.Context(), site.URL("docker.test", "/"))
		if err != nil {
			return "", err
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		return string(text), err
	}
	before := ""
	for i := range 20 {
		from, err := fetch()
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if i%5 == 0 && from == before {
			t.Errorf("request %d came from %s, as the identity before", i, from)
		} else if i%5 != 0 && from != before {
			t.Errorf("request %d came from %s, the one before it from %s", i, from, before)
		}
		before = from
	}

	docker(t, nil, "stop", id)
	if _, err := fetch(); !errors.Is(err, scrape.ErrEgressUnavailable) {
		t.Errorf("stopped: %v, want ErrEgressUnavailable", err)
	}
	if err := egress.Check(t.Context()); !errors.Is(err, tor.ErrContainer) || !errors.Is(err, scrape.ErrEgressUnavailable) || !strings.Contains(err.Error(), "docker start") {
		t.Errorf("Check while it is stopped: %v", err)
	}
	docker(t, nil, "start", id)
	began := time.Now()
	testenv.EventuallyWithin(t, 2*time.Minute, func() error { _, err := fetch(); return err })
	t.Logf("served again %v after docker start", time.Since(began))

	docker(t, nil, "rm", "--force", id)
	removed = true
	if err := egress.Check(t.Context()); !errors.Is(err, tor.ErrContainer) || !strings.Contains(err.Error(), "none of that name") {
		t.Errorf("Check after docker rm: %v", err)
	}
	if _, err := tor.Dial(t.Context(), opts); !errors.Is(err, tor.ErrContainer) {
		t.Errorf("Container after docker rm: %v", err)
	}
	if s := site.Strangers(); len(s) > 0 {
		t.Errorf("connections that bypassed Tor: %v", s)
	}
}
