// Package postfix runs a private postfix, whose mails a test can read.
//
// It has a configuration, a queue and ports of its own, beside whatever mail
// system the machine has, and delivers every mail that it accepts into one
// folder.
//
// Postfix insists on root and on users of its own. A package whose tests also
// run as an ordinary user, who has subordinate ids, wraps them in netns.Wrap.
package postfix

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/mail"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/daemon"
)

// A Server is a running postfix.
type Server struct {
	// Addr is the host:port of its SMTP port, which offers STARTTLS.
	Addr string
	// TLSAddr is the host:port of its port for TLS from the first byte.
	TLSAddr string
	// CAFile holds its certificate, which is for localhost and 127.0.0.1, and
	// Pool trusts it.
	CAFile string
	Pool   *x509.CertPool

	dir     string
	process *daemon.Process
}

// Options are the options of Start.
type Options struct {
	// Reject lists recipients that are answered with 550.
	Reject []string
	// Defer lists recipients that are answered with 450.
	Defer []string
	// RequireTLS makes Addr refuse mail before STARTTLS, with 530.
	RequireTLS bool
	// Main holds further lines of main.cf.
	Main string
}

// A Mail is one that postfix delivered.
type Mail struct {
	// Recipient is the envelope's.
	Recipient string
	Header    mail.Header
	Body      string
}

// startTimeout bounds the start, which takes less than a second.
const startTimeout = 30 * time.Second

// Start starts a postfix that ends with t. It skips t where postfix cannot
// run, or fails it with SVCBLOCKS_REQUIRE=all.
func Start(t testing.TB, opts *Options) *Server {
	t.Helper()
	part := testenv.Require(t, "postfix")
	if opts == nil {
		opts = &Options{}
	}

	// Postfix's users must be able to enter the folder, which t's own folder
	// does not let them.
	dir, err := os.MkdirTemp("", "svcblocks-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("postfix: %v", err)
		}
	})

	owner, err := findOwner()
	if err != nil {
		t.Fatalf("postfix: %v", err)
	}
	certificate := testenv.NewCertificate(t, dir, "localhost", "127.0.0.1")

	s := &Server{
		Addr:    net.JoinHostPort("127.0.0.1", strconv.Itoa(daemon.Port(t))),
		TLSAddr: net.JoinHostPort("127.0.0.1", strconv.Itoa(daemon.Port(t))),
		CAFile:  certificate.CertFile,
		Pool:    certificate.Pool,
		dir:     dir,
	}

	if err := s.layOut(owner); err != nil {
		t.Fatalf("postfix: %v", err)
	}
	if err := s.configure(part, owner, certificate, opts); err != nil {
		t.Fatalf("postfix: %v", err)
	}
	s.start(t, part)
	return s
}

// start starts the master process and waits until it answers.
func (s *Server) start(t testing.TB, part testenv.Part) {
	t.Helper()
	s.process = daemon.Start(t, part.Command("-c", s.path("etc"), "-d"))
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s.process.Await(ctx, t, func() error {
		if err := errors.Join(daemon.Listening(s.Addr)(), daemon.Listening(s.TLSAddr)()); err != nil {
			return fmt.Errorf("%w\n%s", err, s.Log())
		}
		return nil
	})
}

// owners are the user and the group that postfix takes on, which no other
// program may share.
type owners struct {
	user, group string
	uid, gid    int
}

// findOwner returns postfix's own user and group, or where its package is not
// installed two that Debian has and nothing runs as.
func findOwner() (owners, error) {
	var errs []error
	for _, o := range []owners{{user: "postfix", group: "postdrop"}, {user: "mail", group: "games"}} {
		u, err := user.Lookup(o.user)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		g, err := user.LookupGroup(o.group)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		o.uid, err = strconv.Atoi(u.Uid)
		if err != nil {
			return owners{}, err
		}
		o.gid, err = strconv.Atoi(g.Gid)
		return o, err
	}
	return owners{}, errors.Join(errs...)
}

// layOut makes the folders that postfix's own installation would make.
func (s *Server) layOut(o owners) error {
	const nobody = 65534
	for _, f := range []struct {
		name     string
		mode     os.FileMode
		uid, gid int
	}{
		{".", 0o755, 0, 0},
		{"etc", 0o755, 0, 0},
		{"data", 0o700, o.uid, 0},
		{"mail", 0o755, nobody, nobody},
		{"queue", 0o755, 0, 0},
		{"queue/active", 0o700, o.uid, 0},
		{"queue/bounce", 0o700, o.uid, 0},
		{"queue/corrupt", 0o700, o.uid, 0},
		{"queue/defer", 0o700, o.uid, 0},
		{"queue/deferred", 0o700, o.uid, 0},
		{"queue/flush", 0o700, o.uid, 0},
		{"queue/hold", 0o700, o.uid, 0},
		{"queue/incoming", 0o700, o.uid, 0},
		{"queue/maildrop", 0o730, o.uid, o.gid},
		{"queue/pid", 0o755, 0, 0},
		{"queue/private", 0o700, o.uid, 0},
		{"queue/public", 0o710, o.uid, o.gid},
		{"queue/saved", 0o700, o.uid, 0},
		{"queue/trace", 0o700, o.uid, 0},
	} {
		dir := s.path(f.name)
		err := errors.Join(os.MkdirAll(dir, f.mode), os.Chown(dir, f.uid, f.gid), os.Chmod(dir, f.mode))
		if err != nil {
			return err
		}
	}

	return nil
}

// master is master.cf; the two inet services come before it.
const master = `cleanup    unix       n - n - 0 cleanup
qmgr       unix       n - n 300 1 qmgr
tlsmgr     unix       - - n 1000? 1 tlsmgr
rewrite    unix       - - n - - trivial-rewrite
bounce     unix       - - n - 0 bounce
defer      unix       - - n - 0 bounce
trace      unix       - - n - 0 bounce
error      unix       - - n - - error
retry      unix       - - n - - error
virtual    unix       - n n - - virtual
discard    unix       - - n - - discard
anvil      unix       - - n - 1 anvil
proxymap   unix       - - n - - proxymap
postlog    unix-dgram n - n - 1 postlogd
`

// configure writes main.cf and master.cf.
func (s *Server) configure(part testenv.Part, o owners, c testenv.Certificate, opts *Options) error {
	security := "may"
	if opts.RequireTLS {
		security = "encrypt"
	}

	var access []string
	for _, recipient := range opts.Reject {
		access = append(access, fmt.Sprintf("{%s = 550 5.1.1 no such mailbox}", recipient))
	}
	for _, recipient := range opts.Defer {
		access = append(access, fmt.Sprintf("{%s = 450 4.2.1 mailbox is busy}", recipient))
	}
	recipients := "permit_mynetworks, reject"
	if len(access) > 0 {
		recipients = "check_recipient_access inline:{" + strings.Join(access, ", ") + "}, " + recipients
	}

	var environment strings.Builder
	environment.WriteString("MAIL_CONFIG TZ LANG=C")
	for _, e := range part.Env {
		environment.WriteString(" " + e)
	}

	settings := []string{
		"compatibility_level = 3.6",
		"myhostname = mail.test",
		"mydestination =",
		"mynetworks = 127.0.0.0/8",
		"inet_interfaces = 127.0.0.1",
		"inet_protocols = ipv4",
		"mail_owner = " + o.user,
		"setgid_group = " + o.group,
		"default_privs = nobody",
		"queue_directory = " + s.path("queue"),
		"data_directory = " + s.path("data"),
		"daemon_directory = " + filepath.Dir(part.Path),
		"command_directory = " + filepath.Join(part.Root, "/usr/sbin"),
		"import_environment = " + environment.String(),
		"maillog_file_prefixes = " + s.dir,
		"maillog_file = " + s.path("log"),
		"alias_maps =",
		"alias_database =",
		"smtpd_relay_restrictions = permit_mynetworks, reject",
		"smtpd_recipient_restrictions = " + recipients,
		"smtpd_peername_lookup = no",
		"smtpd_client_connection_count_limit = 0",
		"smtpd_client_connection_rate_limit = 0",
		"smtpd_tls_security_level = " + security,
		"smtpd_tls_cert_file = " + c.CertFile,
		"smtpd_tls_key_file = " + c.KeyFile,
		"smtp_dns_support_level = disabled",
		"virtual_mailbox_domains = static:all",
		"virtual_mailbox_maps = static:inbox/",
		"virtual_mailbox_base = " + s.path("mail"),
		"virtual_uid_maps = static:65534",
		"virtual_gid_maps = static:65534",
		opts.Main,
	}

	var services strings.Builder
	for _, service := range []struct{ addr, options string }{
		{s.Addr, ""},
		{s.TLSAddr, " -o smtpd_tls_wrappermode=yes -o syslog_name=postfix/smtps"},
	} {
		services.WriteString(service.addr + " inet n - n - - smtpd" + service.options + "\n")
	}

	return errors.Join(
		os.WriteFile(s.path("etc/main.cf"), []byte(strings.Join(settings, "\n")+"\n"), 0o644),
		os.WriteFile(s.path("etc/master.cf"), []byte(services.String()+master), 0o644),
	)
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// Log returns what postfix logged.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop stops postfix; mails that it delivered can still be read.
func (s *Server) Stop() { s.process.Stop() }

// Mails returns what was delivered so far, oldest first.
func (s *Server) Mails() ([]Mail, error) {
	dir := s.path("mail/inbox/new")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("postfix: %w", err)
	}

	type delivered struct {
		time time.Time
		mail Mail
	}
	var all []delivered
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("postfix: %w", err)
		}
		m, err := read(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("postfix: %w", err)
		}
		all = append(all, delivered{info.ModTime(), m})
	}

	slices.SortStableFunc(all, func(a, b delivered) int { return a.time.Compare(b.time) })
	mails := make([]Mail, len(all))
	for i, d := range all {
		mails[i] = d.mail
	}
	return mails, nil
}

// read reads one mail of the folder.
func read(file string) (Mail, error) {
	f, err := os.Open(file)
	if err != nil {
		return Mail{}, err
	}
	defer f.Close()
	msg, err := mail.ReadMessage(f)
	if err != nil {
		return Mail{}, err
	}
	body, err := io.ReadAll(msg.Body)
	if err != nil {
		return Mail{}, err
	}
	return Mail{Recipient: msg.Header.Get("X-Original-To"), Header: msg.Header, Body: string(body)}, nil
}

// Wait returns the delivered mails as soon as there are count of them, and
// fails t when ctx ends first.
func (s *Server) Wait(ctx context.Context, t testing.TB, count int) []Mail {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()

	for {
		mails, err := s.Mails()
		if err != nil {
			t.Fatal(err)
		}
		if len(mails) >= count {
			return mails
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("postfix: %d mails, want %d: %v\n%s", len(mails), count, context.Cause(ctx), s.Log())
		}
	}
}
