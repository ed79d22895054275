package email_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/notifytest"
)

const password = "canary-Passw0rd"

func startServer(t *testing.T, opts *notifytest.SMTPOptions) *notifytest.SMTP {
	t.Helper()
	s, err := notifytest.StartSMTP(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// options are good ones for s.
func options(s *notifytest.SMTP) *email.Options {
	return &email.Options{
		Host: s.Host(), Port: s.Port(), TLSConfig: s.TLSConfig(),
		From: "Shop <shop@example.com>", To: []string{"ops@example.com"},
	}
}

func newClient(t *testing.T, o *email.Options) *email.Client {
	t.Helper()
	c, err := email.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSend(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		smtp notifytest.SMTPOptions
		set  func(*email.Options)
		tls  bool
	}{
		{"STARTTLS", notifytest.SMTPOptions{}, nil, true},
		{"STARTTLS with login", notifytest.SMTPOptions{Username: "shop", Password: password}, login, true},
		{"without pipelining", notifytest.SMTPOptions{NoPipelining: true}, nil, true},
		{"simple", notifytest.SMTPOptions{DSN: true}, func(o *email.Options) { o.Simple = true }, true},
		{"implicit TLS", notifytest.SMTPOptions{ImplicitTLS: true}, func(o *email.Options) { o.TLS = email.Implicit }, true},
		{"implicit TLS with login", notifytest.SMTPOptions{ImplicitTLS: true, Username: "shop", Password: password}, func(o *email.Options) { o.TLS = email.Implicit; login(o) }, true},
		{"plain", notifytest.SMTPOptions{NoSTARTTLS: true}, func(o *email.Options) { o.TLS = email.None }, false},
		{"plain with login on loopback", notifytest.SMTPOptions{NoSTARTTLS: true, Username: "shop", Password: password}, func(o *email.Options) { o.TLS = email.None; login(o) }, false},
		{"DSN", notifytest.SMTPOptions{DSN: true}, func(o *email.Options) { o.DSN = true }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &tc.smtp)
			o := options(s)
			o.To = []string{"Ops <ops@example.com>", "night@example.com"}
			o.Bcc = []string{"hidden@example.com"}
			if tc.set != nil {
				tc.set(o)
			}
			c := newClient(t, o)
			for i := range 3 {
				if err := c.Send(t.Context(), fmt.Sprint("subject ", i), "text"); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Check(t.Context()); err != nil {
				t.Errorf("Check: %v", err)
			}
			mails := s.Mails()
			if len(mails) != 3 {
				t.Fatalf("%d mails, want 3", len(mails))
			}
			for _, m := range mails {
				if diff := cmp.Diff([]string{"ops@example.com", "night@example.com", "hidden@example.com"}, m.To); diff != "" {
					t.Errorf("recipients (-want +got):\n%s", diff)
				}
				if m.From != "shop@example.com" || m.TLS != tc.tls || m.Conn != 1 {
					t.Errorf("from %q, TLS %v, connection %d", m.From, m.TLS, m.Conn)
				}
				if bytes.Contains(m.Data, []byte("hidden")) {
					t.Error("Bcc stands in the mail")
				}
				if strings.Contains(m.MailArgs, "SMTPUTF8") {
					t.Error("SMTPUTF8 without need")
				}
				if o.DSN != strings.Contains(strings.Join(m.RcptArgs, " "), "NOTIFY=FAILURE") {
					t.Errorf("DSN %v, arguments %v", o.DSN, m.RcptArgs)
				}
			}
			for _, want := range []string{"Subject: subject 0", "Auto-Submitted: auto-generated", "Message-ID: <", "@example.com>", "To: \"Ops\" <ops@example.com>"} {
				if !bytes.Contains(mails[0].Data, []byte(want)) {
					t.Errorf("mail lacks %q:\n%s", want, mails[0].Data)
				}
			}
		})
	}
}

func login(o *email.Options) { o.Username, o.Password = "shop", secret.New(password) }

// Without privacy there is no mail, and the password stays here.
func TestPrivacyIsDemanded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		smtp notifytest.SMTPOptions
		set  func(*notifytest.SMTP, *email.Options)
		want notify.Class
	}{
		{"no STARTTLS offered", notifytest.SMTPOptions{NoSTARTTLS: true, Username: "shop", Password: password}, nil, notify.ClassTLS},
		{"STARTTLS stripped", notifytest.SMTPOptions{Username: "shop", Password: password}, func(s *notifytest.SMTP, _ *email.Options) {
			s.Inject(notifytest.Fault{Step: notifytest.StepSTARTTLS, Reply: "502 5.5.1 what?"})
		}, notify.ClassTLS},
		{"certificate for another host", notifytest.SMTPOptions{WrongName: true, Username: "shop", Password: password}, nil, notify.ClassTLS},
		{"certificate of nobody known", notifytest.SMTPOptions{Username: "shop", Password: password}, func(_ *notifytest.SMTP, o *email.Options) { o.TLSConfig = nil }, notify.ClassTLS},
		{"no TLS on the implicit port", notifytest.SMTPOptions{Username: "shop", Password: password}, func(_ *notifytest.SMTP, o *email.Options) { o.TLS = email.Implicit }, notify.ClassTLS},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &tc.smtp)
			o := options(s)
			login(o)
			if tc.set != nil {
				tc.set(s, o)
			}
			c := newClient(t, o)
			err := c.Send(t.Context(), "subject", "text")
			errs := notify.Errors(err)
			if len(errs) != 1 || errs[0].Class != tc.want || errs[0].Temporary() {
				t.Errorf("error %v of %+v, want one of class %q", err, errs, tc.want)
			}
			if err := c.Check(t.Context()); err == nil {
				t.Error("Check is content")
			}
			if len(s.Mails()) != 0 {
				t.Error("mail was sent")
			}
			plain := base64.StdEncoding.EncodeToString([]byte("\x00shop\x00" + password))
			for _, form := range []string{password, plain, base64.StdEncoding.EncodeToString([]byte(password)), "AUTH", "MAIL"} {
				if bytes.Contains(s.Wire(), []byte(form)) {
					t.Errorf("%q was on the wire", form)
				}
			}
		})
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		step      notifytest.Step
		reply     string
		class     notify.Class
		temporary bool
	}{
		{notifytest.StepGreeting, "554 5.3.2 not today", notify.ClassRejected, false},
		{notifytest.StepGreeting, "421 4.3.2 too busy", notify.ClassThrottled, true},
		{notifytest.StepAUTH, "535 5.7.8 wrong", notify.ClassAuth, false},
		{notifytest.StepAUTH, "454 4.7.0 try later", notify.ClassServer, true},
		{notifytest.StepMAIL, "550 5.7.1 no", notify.ClassRejected, false},
		{notifytest.StepMAIL, "454 4.7.0 throttling failure", notify.ClassThrottled, true},
		{notifytest.StepMAIL, "530 5.7.0 authenticate", notify.ClassAuth, false},
		{notifytest.StepDATA, "451 4.3.0 later", notify.ClassServer, true},
		{notifytest.StepDot, "552 5.3.4 too big", notify.ClassRejected, false},
		{notifytest.StepDot, "452 4.3.1 disk full", notify.ClassServer, true},
	} {
		for name, smtp := range manners {
			if smtp.second && isSetUp(tc.step) {
				continue
			}
			t.Run(fmt.Sprint(tc.step, " ", tc.reply, " ", name), func(t *testing.T) {
				t.Parallel()
				smtp.Username, smtp.Password = "shop", password
				s := startServer(t, &smtp.SMTPOptions)
				o := options(s)
				login(o)
				c := newClient(t, o)
				if smtp.second {
					if err := c.Send(t.Context(), "s", "t"); err != nil {
						t.Fatal(err)
					}
				}
				s.Inject(notifytest.Fault{Step: tc.step, Reply: tc.reply, Times: 1})
				err := c.Send(t.Context(), "s", "t")
				errs := notify.Errors(err)
				if len(errs) != 1 {
					t.Fatalf("error %v", err)
				}
				e := errs[0]
				if e.Class != tc.class || e.Temporary() != tc.temporary || fmt.Sprint(e.Code) != tc.reply[:3] || e.Enhanced != tc.reply[4:9] {
					t.Errorf("got %+v", e)
				}
				if err := c.Send(t.Context(), "s", "t"); err != nil {
					t.Errorf("next mail: %v", err)
				}
			})
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := email.New(&email.Options{
		Host: "mail.example.com:25", Port: 70000, TLS: email.None, Username: "u", Password: secret.New(password),
		From: "nobody", To: []string{"a@b", "c@d\r\nRCPT TO:<e@f>"}, HELO: "a b", MaxConns: -1, MaxConnAge: -1,
		CAFile: filepath.Join(t.TempDir(), "missing.pem"),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Host", "Port: 70000", "plain text", `From: "nobody"`, "To[1]", "HELO", "MaxConns", "MaxConnAge"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), password) {
		t.Error("error shows the password")
	}
	if _, err := email.New(nil); err == nil {
		t.Error("New(nil) succeeded")
	}
	if _, err := email.New(&email.Options{Host: "h", From: "a@b.c", To: []string{"a@b.c"}, CAFile: "/does/not/exist.pem"}); err == nil || !strings.Contains(err.Error(), "CAFile") {
		t.Errorf("CAFile: %v", err)
	}
}

func TestCAFile(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.TLSConfig = nil
	o.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(o.CAFile, s.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newClient(t, o).Send(t.Context(), "s", "t"); err != nil {
		t.Error(err)
	}
}

func TestTLSModeText(t *testing.T) {
	t.Parallel()
	for _, m := range []email.TLSMode{email.Mandatory, email.Implicit, email.None} {
		text, err := m.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		back := email.TLSMode(9)
		if err := back.UnmarshalText(text); err != nil || back != m {
			t.Errorf("%v became %q and %v, %v", m, text, back, err)
		}
	}
	var m email.TLSMode
	if err := m.UnmarshalText([]byte("opportunistic")); err == nil {
		t.Error("took a mode that does not exist")
	}
}

// Many mails at once stay within MaxConns connections.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.MaxConns, o.MaxPerConn = 3, 20
	var mu sync.Mutex
	open, most := 0, 0
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		open++
		most = max(most, open)
		return &countedConn{Conn: c, closed: func() {
			mu.Lock()
			defer mu.Unlock()
			open--
		}}, nil
	}
	c := newClient(t, o)
	var wg sync.WaitGroup
	const mails = 100
	for i := range mails {
		wg.Go(func() {
			if err := c.Send(t.Context(), fmt.Sprint("s", i), "t"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(s.Mails()); n != mails {
		t.Errorf("%d mails, want %d", n, mails)
	}
	if most > 3 {
		t.Errorf("%d connections at once, want at most 3", most)
	}
	if n := s.Conns(); n < 5 || n > 8 {
		t.Errorf("%d connections for %d mails, want 5 to 8 of 20 each", n, mails)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if open != 0 {
		t.Errorf("%d connections open after Close", open)
	}
	if err := c.Send(t.Context(), "s", "t"); !errors.Is(err, notify.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
}

type countedConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.MaxIdle = 50 * time.Millisecond
	gone := make(chan struct{})
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &countedConn{Conn: c, closed: func() { close(gone) }}, err
	}
	c := newClient(t, o)
	if err := c.Send(t.Context(), "s", "t"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("idle connection is kept")
	}
}

// A connection after the first takes up the TLS session.
func TestReconnectIsResumed(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	o := options(s)
	o.MaxIdle = -1
	c := newClient(t, o)
	for range 4 {
		if err := c.Send(t.Context(), "s", "t"); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range s.Mails() {
		if m.Conn != i+1 || m.Resumed != (i > 0) {
			t.Errorf("mail %d: connection %d, resumed %v", i, m.Conn, m.Resumed)
		}
	}
}

// Connections that are too old, or carried enough, are not used again.
func TestConnectionsWearOut(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*email.Options){
		"age":   func(o *email.Options) { o.MaxConnAge = time.Nanosecond },
		"count": func(o *email.Options) { o.MaxPerConn = 1 },
	} {
		s := startServer(t, nil)
		o := options(s)
		set(o)
		c := newClient(t, o)
		for range 3 {
			if err := c.Send(t.Context(), "s", "t"); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Conns(); n != 3 {
			t.Errorf("%s: %d connections for 3 mails, want 3", name, n)
		}
	}
}
