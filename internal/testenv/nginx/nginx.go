// Package nginx runs an nginx with a configuration that a test gives as text.
package nginx

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

// startTimeout bounds the start, which takes a fraction of a second.
const startTimeout = 30 * time.Second

// A Server is a running nginx.
type Server struct {
	// Addr and TLSAddr are host:port of what the configuration calls
	// {{ADDR}} and {{TLS_ADDR}}.
	Addr, TLSAddr string
	// Certificate is for localhost and 127.0.0.1.
	Certificate testenv.Certificate

	process *daemon.Process
	dir     string
}

// Start starts an nginx whose http block holds config, until the end of t. In
// config {{ADDR}} and {{TLS_ADDR}} stand for two free addresses, {{CERT}} and
// {{KEY}} for the files of a certificate, and {{DIR}} for an empty folder. It
// skips t where nginx is not here, or fails it with SVCBLOCKS_REQUIRE=all.
//
//	server { listen {{ADDR}}; location / { return 200 "hello"; } }
func Start(t testing.TB, config string) *Server {
	t.Helper()
	part := testenv.Require(t, "nginx")
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}

	s := &Server{
		Addr:        net.JoinHostPort("127.0.0.1", strconv.Itoa(daemon.Port(t))),
		TLSAddr:     net.JoinHostPort("127.0.0.1", strconv.Itoa(daemon.Port(t))),
		Certificate: testenv.NewCertificate(t, dir, "localhost", "127.0.0.1"),
		dir:         dir,
	}
	config = strings.NewReplacer(
		"{{ADDR}}", s.Addr,
		"{{TLS_ADDR}}", s.TLSAddr,
		"{{CERT}}", s.Certificate.CertFile,
		"{{KEY}}", s.Certificate.KeyFile,
		"{{DIR}}", files,
	).Replace(config)

	// A single process needs no user to change to, and no rights.
	main := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr info;
events { worker_connections 1024; }
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/client_body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	%[2]s
}
`, dir, config)

	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	s.process = daemon.Start(t, part.Command("-c", file, "-p", dir, "-e", "stderr"))

	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for _, addr := range []string{s.Addr, s.TLSAddr} {
		if strings.Contains(config, addr) {
			s.process.Await(ctx, t, daemon.Listening(addr))
		}
	}
	return s
}

// AccessLog returns nginx's access log.
func (s *Server) AccessLog() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	return string(text), err
}

// Output returns what nginx wrote to its error log.
func (s *Server) Output() string { return s.process.Output() }

// Stop stops nginx; it may be called more than once.
func (s *Server) Stop() { s.process.Stop() }
