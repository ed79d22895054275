// Package syslogng runs a syslog-ng that ships a log file over HTTP: the
// established tool that ours is compared with.
package syslogng

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

// A Shipper is a syslog-ng that follows one file and posts its lines to one
// URL. What it has shipped survives its restarts.
type Shipper struct {
	part    testenv.Part
	dir     string
	process *daemon.Process
}

// Options are the options of New.
type Options struct {
	// BatchLines is the most lines of one request. Defaults to 10,000.
	BatchLines int
	// BatchTimeout is how long a batch waits for further lines. Defaults to
	// 100 ms.
	BatchTimeout time.Duration
	// DiskBuffer puts a reliable buffer on disk before the destination.
	DiskBuffer bool
}

// New makes a shipper of the lines of file to url, as a newline-separated
// body. It skips t where syslog-ng is not here, or fails it with
// SVCBLOCKS_REQUIRE=all.
func New(t testing.TB, file, url string, opts *Options) *Shipper {
	t.Helper()
	part := testenv.Require(t, "syslog-ng")
	if opts == nil {
		opts = &Options{}
	}

	lines, timeout := opts.BatchLines, opts.BatchTimeout
	if lines == 0 {
		lines = 10_000
	}
	if timeout == 0 {
		timeout = 100 * time.Millisecond
	}

	s := &Shipper{part: part, dir: t.TempDir()}
	buffer := ""
	if opts.DiskBuffer {
		buffer = fmt.Sprintf("disk-buffer(reliable(yes) mem-buf-size(16777216) disk-buf-size(268435456) dir(%q))", s.dir)
	}

	// One read may fetch a batch, and a slow destination stops the reading.
	config := fmt.Sprintf(`@version: 3.35
options { stats-freq(0); time-reopen(1); };
source lines {
	file(%q flags(no-parse) follow-freq(0.1) log-fetch-limit(%[3]d) log-iw-size(%[4]d));
};
destination bulk {
	http(url(%[2]q) method("POST") headers("Content-Type: application/x-ndjson")
		body("$MESSAGE") delimiter("\n") batch-lines(%[3]d) batch-timeout(%[5]d)
		workers(1) timeout(10) %[6]s);
};
log { source(lines); destination(bulk); flags(flow-control); };
`, file, url, lines, max(10_000, 2*lines), timeout.Milliseconds(), buffer)

	if err := os.WriteFile(filepath.Join(s.dir, "syslog-ng.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Start starts syslog-ng, again after Stop or Kill, until the end of t.
func (s *Shipper) Start(t testing.TB) {
	t.Helper()
	modules, err := filepath.Glob(filepath.Join(s.part.Root, "usr/lib/syslog-ng/*/libaffile.so"))
	if err != nil || len(modules) == 0 {
		t.Fatalf("syslog-ng: no modules below %s: %v", s.part.Root, err)
	}
	s.process = daemon.Start(t, s.part.Command(
		"--foreground", "--no-caps", "--stderr",
		"--cfgfile", filepath.Join(s.dir, "syslog-ng.conf"),
		"--persist-file", filepath.Join(s.dir, "persist"),
		"--pidfile", filepath.Join(s.dir, "pid"),
		"--control", filepath.Join(s.dir, "control"),
		"--module-path", filepath.Dir(modules[0]),
	))
}

// Stop ends syslog-ng politely and waits for its end.
func (s *Shipper) Stop() { s.process.Stop() }

// Kill ends syslog-ng with SIGKILL and waits for its end.
func (s *Shipper) Kill() { s.process.Kill() }

// Pid returns the id of the process, whose CPU time is compared.
func (s *Shipper) Pid() int { return s.process.Pid() }

// Output returns what syslog-ng said about itself since the last Start.
func (s *Shipper) Output() string { return s.process.Output() }
