package nginx_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/nginx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServes(t *testing.T) {
	t.Parallel()
	server := nginx.Start(t, `
		server { listen {{ADDR}}; location / { return 200 "plain"; } }
		server {
			listen {{TLS_ADDR}} ssl;
			ssl_certificate {{CERT}};
			ssl_certificate_key {{KEY}};
			location / { proxy_pass http://{{ADDR}}; }
		}`)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.Certificate.Pool}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, url := range []string{"http://" + server.Addr + "/", "https://" + server.TLSAddr + "/"} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatalf("%v\n%s", err, server.Output())
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "plain" || !strings.HasPrefix(resp.Header.Get("Server"), "nginx") {
			t.Errorf("GET %s = %q, %v, served by %q", url, body, err, resp.Header.Get("Server"))
		}
	}
	server.Stop()
	log, err := server.AccessLog()
	if err != nil || strings.Count(log, "GET /") != 3 {
		t.Errorf("access log %q, %v; want three requests", log, err)
	}
	if _, err := client.Get("http://" + server.Addr + "/"); err == nil {
		t.Error("nginx answers after Stop")
	}
}
