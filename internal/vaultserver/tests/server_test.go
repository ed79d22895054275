package tests_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

// binary is the server that TestMain has built.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vaultserver")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "vaultserver")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		panic(fmt.Sprintf("go build: %v: %s", err, out))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

const root = "root-token-5d1e"

// server is a running Vault behind a proxy that counts requests.
type server struct {
	t         *testing.T
	direct    string // its own URL
	url       string // the proxy's
	unsealKey string
	process   *daemon.Process

	mu    sync.Mutex
	calls map[string]int // "METHOD path" → how often
}

var listening = regexp.MustCompile(`listening on (http://\S+)\n`)

func newServer(t *testing.T, requests ...map[string]any) *server {
	t.Helper()
	dir := t.TempDir()
	seed, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"token": []byte(root + "\n"), "seed": seed} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "-listen", "127.0.0.1:0", "-token-file", filepath.Join(dir, "token"),
		"-unseal-key-file", filepath.Join(dir, "key"), "-requests", filepath.Join(dir, "seed"))
	s := &server{t: t, process: daemon.Start(t, cmd), calls: map[string]int{}}
	testenv.Eventually(t, func() error {
		if m := listening.FindStringSubmatch(s.process.Output()); m != nil {
			s.direct = m[1]
			return nil
		}
		return fmt.Errorf("the server does not listen: %s", s.process.Output())
	})
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	s.unsealKey = strings.TrimSpace(string(key))
	target, err := url.Parse(s.direct)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/v1/")]++
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.url = front.URL
	return s
}

func (s *server) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// request is an entry of the file that -requests names.
func request(method, path string, body map[string]any) map[string]any {
	return map[string]any{"method": method, "path": path, "body": body}
}

// api makes a request as root and returns what is under data and auth.
func (s *server) api(method, path string, body map[string]any) map[string]any {
	s.t.Helper()
	payload, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(s.t.Context()), method, s.direct+"/v1/"+path, bytes.NewReader(payload))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", root)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 400 {
		s.t.Fatalf("%s %s: status %d: %s, %v", method, path, resp.StatusCode, text, err)
	}
	var out struct{ Data, Auth map[string]any }
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			s.t.Fatal(err)
		}
	}
	if out.Auth != nil {
		return out.Auth
	}
	return out.Data
}

func (s *server) resolver(change func(o *vault.Options)) *vault.Resolver {
	s.t.Helper()
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	o := vault.Options{Address: s.url, Token: secret.New(root), Retry: vault.Retry{Attempts: 1}, Client: &http.Client{Transport: transport}}
	if change != nil {
		change(&o)
	}
	r, err := vault.New(&o)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// token makes a token that may read everything under secret/, kv/ and leased/.
func (s *server) token(ttl string, more map[string]any) (token, accessor string) {
	s.t.Helper()
	s.api("PUT", "sys/policies/acl/reader", map[string]any{"policy": `
		path "secret/*" { capabilities = ["read"] }
		path "kv/*"     { capabilities = ["read"] }
		path "leased/*" { capabilities = ["read"] }`})
	body := map[string]any{"policies": []string{"reader"}, "ttl": ttl}
	maps.Copy(body, more)
	auth := s.api("POST", "auth/token/create", body)
	return auth["client_token"].(string), auth["accessor"].(string)
}
