package notify_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"mime/quotedprintable"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nikoksr/notify/service/mail"
	gomail "github.com/wneessen/go-mail"

	"github.com/svcblocks/svcblocks/internal/bench"
	"github.com/svcblocks/svcblocks/internal/testenv/postfix"
	"github.com/svcblocks/svcblocks/notify/email"
)

const (
	from    = "shop@example.com"
	to      = "ops@example.com"
	subject = "price changed"
)

// text is 1 KB in lines.
var text = strings.Repeat("Tea costs 4.20 now, and it cost 3.90 before. It is in stock....\n", 16)

// target is the server that mails go to.
type target struct {
	host   string
	port   int
	secure bool // STARTTLS is used
	server *postfix.Server
	conns  atomic.Int64 // made by dial
}

func newTarget(t testing.TB, addr string, server *postfix.Server, secure bool) *target {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return &target{host: host, port: n, secure: secure, server: server}
}

func (x *target) addr() string { return net.JoinHostPort(x.host, strconv.Itoa(x.port)) }

func (x *target) tls() *tls.Config {
	return &tls.Config{RootCAs: x.server.Pool, ServerName: x.host, MinVersion: tls.VersionTLS12}
}

// dial counts the connections.
func (x *target) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	x.conns.Add(1)
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// mailer sends n mails and returns when the server has taken responsibility
// for each.
type mailer struct {
	name string
	// slow has a connection for each mail.
	slow bool
	send func(ctx context.Context, x *target, n int) error
}

var mailers = []mailer{
	{"ours", false, func(ctx context.Context, x *target, n int) error { return sendOurs(ctx, x, n, 4) }},
	{"ours-1", false, func(ctx context.Context, x *target, n int) error { return sendOurs(ctx, x, n, 1) }},
	{"nikoksr", true, func(ctx context.Context, x *target, n int) error { return sendNikoksr(ctx, x, n, 1) }},
	{"nikoksr-4", true, func(ctx context.Context, x *target, n int) error { return sendNikoksr(ctx, x, n, 4) }},
	{"gomail", true, sendGomail},
	{"gomail-kept-4", false, sendGomailKept},
	{"raw-pipelined-4", false, func(ctx context.Context, x *target, n int) error {
		return share(n, 4, func(n int) error { return sendRaw(ctx, x, n) })
	}},
}

// share lets callers do n things together.
func share(n, callers int, do func(n int) error) error {
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		part := n / callers
		if i < n%callers {
			part++
		}
		wg.Go(func() { errs[i] = do(part) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func times(n int, do func() error) error {
	for range n {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

func sendOurs(ctx context.Context, x *target, n, callers int) (err error) {
	opts := &email.Options{
		Host: x.host, Port: x.port, From: from, To: []string{to}, MaxConns: callers,
		TLS: email.None, DialContext: x.dial,
	}
	if x.secure {
		opts.TLS, opts.TLSConfig = email.Mandatory, x.tls()
	}
	client, err := email.New(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return share(n, callers, func(n int) error {
		return times(n, func() error { return client.Send(ctx, subject, text) })
	})
}

func sendNikoksr(ctx context.Context, x *target, n, callers int) error {
	service := mail.New(from, x.addr())
	service.BodyFormat(mail.PlainText)
	service.AddReceivers(to)
	return share(n, callers, func(n int) error {
		return times(n, func() error { return service.Send(ctx, subject, text) })
	})
}

func newGomail(x *target, opts ...gomail.Option) (*gomail.Client, error) {
	policy := gomail.NoTLS
	if x.secure {
		policy = gomail.TLSMandatory
	}
	return gomail.NewClient(x.host, append(opts,
		gomail.WithPort(x.port), gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(x.tls()),
		gomail.WithDialContextFunc(x.dial), gomail.WithTimeout(time.Minute))...)
}

func gomailMessage() (*gomail.Msg, error) {
	m := gomail.NewMsg()
	if err := errors.Join(m.From(from), m.To(to)); err != nil {
		return nil, err
	}
	m.Subject(subject)
	m.SetBodyString(gomail.TypeTextPlain, text)
	return m, nil
}

// sendGomail is the usual way: DialAndSend for each mail.
func sendGomail(ctx context.Context, x *target, n int) error {
	client, err := newGomail(x)
	if err != nil {
		return err
	}
	return times(n, func() error {
		m, err := gomailMessage()
		if err != nil {
			return err
		}
		return client.DialAndSendWithContext(ctx, m)
	})
}

// sendGomailKept is the best that go-mail's Send can do: four connections that
// are kept, without NOOP and RSET.
func sendGomailKept(ctx context.Context, x *target, n int) error {
	return share(n, 4, func(n int) (err error) {
		client, err := newGomail(x, gomail.WithoutNoop(), gomail.WithoutRset())
		if err != nil {
			return err
		}
		if err := client.DialWithContext(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, client.Close()) }()
		return times(n, func() error {
			m, err := gomailMessage()
			if err != nil {
				return err
			}
			return client.Send(m)
		})
	})
}

// sendRaw is the bound of what one connection can do: mails made in advance,
// each envelope sent together with the mail before it.
func sendRaw(ctx context.Context, x *target, n int) (err error) {
	conn, err := x.dial(ctx, "tcp", x.addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	in := textproto.NewReader(bufio.NewReader(conn))
	out := bufio.NewWriterSize(conn, 64<<10)
	expect := func(code int) error {
		_, _, err := in.ReadResponse(code)
		return err
	}
	command := func(code int, line string) error {
		if _, err := io.WriteString(out, line+"\r\n"); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		return expect(code)
	}
	if err := errors.Join(expect(220), command(250, "EHLO bench.example.com")); err != nil {
		return err
	}
	if x.secure {
		if err := command(220, "STARTTLS"); err != nil {
			return err
		}
		secured := tls.Client(conn, x.tls())
		in, out = textproto.NewReader(bufio.NewReader(secured)), bufio.NewWriterSize(secured, 64<<10)
		if err := command(250, "EHLO bench.example.com"); err != nil {
			return err
		}
	}
	envelope := "MAIL FROM:<" + from + ">\r\nRCPT TO:<" + to + ">\r\nDATA\r\n"
	body := "Date: " + time.Now().Format(time.RFC1123Z) + "\r\nFrom: <" + from + ">\r\nTo: <" + to +
		">\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n" +
		strings.ReplaceAll(text, "\n", "\r\n") + ".\r\n"
	next := envelope
	for i := range n + 1 {
		if i == n {
			next = "QUIT\r\n"
		}
		if i > 0 {
			next = body + next
		}
		if _, err := io.WriteString(out, next); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		codes := []int{250, 250, 250, 354} // of the mail before, MAIL, RCPT, DATA
		switch i {
		case 0:
			codes = codes[1:]
		case n:
			codes = []int{250, 221}
		}
		for _, code := range codes {
			if err := expect(code); err != nil {
				return err
			}
		}
		next = envelope
	}
	return nil
}

// noTLS makes a postfix without STARTTLS, which nikoksr's service would use
// wherever it is offered.
const noTLS = "smtpd_tls_security_level = none"

func TestMailersAgree(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		secure bool
		main   string
	}{{"plain", false, noTLS}, {"starttls", true, ""}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := postfix.Start(t, &postfix.Options{Main: tc.main})
			x := newTarget(t, server.Addr, server, tc.secure)
			want := 0
			for _, m := range mailers {
				if tc.secure && strings.HasPrefix(m.name, "nikoksr") {
					continue // it trusts the machine's certificates only
				}
				if err := m.send(t.Context(), x, 5); err != nil {
					t.Fatalf("%s: %v", m.name, err)
				}
				want += 5
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			mails := server.Wait(ctx, t, want)
			if len(mails) != want {
				t.Errorf("%d mails arrived, want %d", len(mails), want)
			}
			for _, m := range mails {
				got := []string{m.Recipient, m.Header.Get("Subject"), m.Header.Get("From"), decoded(t, m)}
				got[2] = strings.Trim(got[2], "<>")
				if diff := cmp.Diff([]string{to, subject, from, text}, got); diff != "" {
					t.Errorf("mail (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestFewConnections holds for every run what the benchmark is about.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	server := postfix.Start(t, &postfix.Options{Main: "virtual_transport = discard:"})
	x := newTarget(t, server.Addr, server, true)
	if err := sendOurs(t.Context(), x, 500, 4); err != nil {
		t.Fatal(err)
	}
	if n := x.conns.Load(); n > 8 {
		t.Errorf("%d connections for 500 mails, want at most 8", n)
	}
}

func BenchmarkMail(b *testing.B) {
	secure := postfix.Start(b, &postfix.Options{Main: "virtual_transport = discard:"})
	plain := postfix.Start(b, &postfix.Options{Main: "virtual_transport = discard:\n" + noTLS})
	// nikoksr's service knows the system's certificates only, which the process
	// reads once: run this benchmark once per process.
	b.Setenv("SSL_CERT_FILE", secure.CAFile)
	for _, tc := range []struct {
		name       string
		server     *postfix.Server
		addr       string
		secure     bool
		slow, many int // mails per iteration of slow mailers and of others
	}{
		{"plain", plain, plain.Addr, false, 100, 500},
		{"starttls", secure, secure.Addr, true, 40, 500},
		{"starttls-20ms", secure, delayed(b, secure.Addr, 10*time.Millisecond), true, 12, 250},
	} {
		b.Run("over="+tc.name, func(b *testing.B) {
			var impls []bench.Impl
			for _, m := range mailers {
				n := tc.many
				if m.slow {
					n = tc.slow
				}
				impls = append(impls, bench.Impl{Name: m.name, Run: func(b *testing.B) {
					x := newTarget(b, tc.addr, tc.server, tc.secure)
					ops := 0
					for b.Loop() {
						if err := m.send(b.Context(), x, n); err != nil {
							b.Fatal(err)
						}
						ops++
					}
					b.ReportMetric(float64(n*ops)/b.Elapsed().Seconds(), "mails/s")
					b.ReportMetric(0, "ns/op")
					if conns := x.conns.Load(); conns > 0 {
						b.ReportMetric(float64(conns)/float64(ops), "conns/op")
					}
				}})
			}
			bench.Compare(b, impls...)
		})
	}
}

// delayed returns the address of a proxy to addr on which everything takes the
// given time in each direction, connecting included.
func delayed(b *testing.B, addr string, delay time.Duration) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	b.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer near.Close()
				time.Sleep(2 * delay) // the round trip of the handshake
				far, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer far.Close()
				var both sync.WaitGroup
				both.Go(func() { lag(far, near, delay) })
				both.Go(func() { lag(near, far, delay) })
				both.Wait()
			})
		}
	})
	return l.Addr().String()
}

// lag copies from src to dst, each piece after the delay, until either ends.
func lag(dst, src net.Conn, delay time.Duration) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := src.Read(buf)
			if n > 0 {
				pieces <- piece{time.Now().Add(delay), buf[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if !failed {
			if _, err := dst.Write(p.data); err != nil {
				failed = true
				_ = src.Close()
			}
		}
	}
	if c, ok := dst.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

// decoded returns the text of a mail.
func decoded(t *testing.T, m postfix.Mail) string {
	t.Helper()
	body := m.Body
	switch encoding := strings.ToLower(m.Header.Get("Content-Transfer-Encoding")); encoding {
	case "quoted-printable":
		plain, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		body = string(plain)
	case "", "7bit", "8bit":
	default:
		t.Fatalf("unexpected encoding %q", encoding)
	}
	return strings.TrimRight(strings.ReplaceAll(body, "\r\n", "\n"), "\n") + "\n"
}
