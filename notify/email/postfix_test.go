package email_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/internal/testenv/postfix"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
)

// postfixOptions are good ones for s.
func postfixOptions(t testing.TB, s *postfix.Server, mode email.TLSMode) *email.Options {
	t.Helper()
	addr := s.Addr
	if mode == email.Implicit {
		addr = s.TLSAddr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return &email.Options{
		Host: host, Port: n, TLS: mode, CAFile: s.CAFile, From: "Shop <shop@shop.test>", To: []string{"ops@shop.test"},
	}
}

// A real mail server takes what we send, in every mode, and delivers it.
func TestPostfixDelivers(t *testing.T) {
	t.Parallel()
	s := postfix.Start(t, nil)
	modes := []email.TLSMode{email.Mandatory, email.Implicit, email.None}
	evil := "line\n.\n.dot\nFrom nobody\nBcc: evil@shop.test\n" + strings.Repeat("x", 3000)
	for _, mode := range modes {
		o := postfixOptions(t, s, mode)
		o.Bcc, o.DSN = []string{"hidden@shop.test"}, true
		c := newClient(t, o)
		if err := c.Check(t.Context()); err != nil {
			t.Fatalf("%v: Check: %v", mode, err)
		}
		for i := range 2 { // over one connection
			m := notify.Message{ID: fmt.Sprintf("m-%v-%d", mode, i), Subject: "Größe " + mode.String() + "\r\nBcc: evil@shop.test", Text: evil, HTML: "<p>é</p>"}
			if err := c.Notify(t.Context(), m); err != nil {
				t.Fatalf("%v: %v", mode, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	mails := s.Wait(ctx, t, 4*len(modes))
	if len(mails) != 4*len(modes) {
		t.Fatalf("%d mails, want %d", len(mails), 4*len(modes))
	}
	for _, m := range mails {
		if m.Recipient != "ops@shop.test" && m.Recipient != "hidden@shop.test" {
			t.Errorf("mail for %s", m.Recipient)
		}
		if got := subject(t, m.Header); !strings.HasPrefix(got, "Größe ") || !strings.Contains(got, "Bcc: evil") {
			t.Errorf("subject %q", got)
		}
		if m.Header.Get("Bcc") != "" || !strings.HasPrefix(m.Header.Get("Message-ID"), "<m-") {
			t.Errorf("headers %v", m.Header)
		}
		list := parts(t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), "", strings.NewReader(m.Body))
		if len(list) != 2 || !sameText(string(list[0].data), evil) || !sameText(string(list[1].data), "<p>é</p>") {
			t.Errorf("parts %d, text %.100q", len(list), list[0].data)
		}
	}
}

// One bad recipient of three: the others get the mail.
func TestPostfixRecipients(t *testing.T) {
	t.Parallel()
	s := postfix.Start(t, &postfix.Options{Reject: []string{"gone@shop.test"}, Defer: []string{"later@shop.test"}})
	o := postfixOptions(t, s, email.Mandatory)
	o.To = []string{"a@shop.test", "gone@shop.test", "b@shop.test", "later@shop.test"}
	c := newClient(t, o)
	for i := range 2 { // the connection is good after it
		errs := notify.Errors(c.Notify(t.Context(), notify.Message{Subject: fmt.Sprint("s", i), Text: "t"}))
		if len(errs) != 2 || errs[0].Recipient != "gone@shop.test" || errs[0].Code != 550 || errs[0].Temporary() || errs[1].Recipient != "later@shop.test" || errs[1].Code != 450 || !errs[1].Temporary() {
			t.Errorf("errors %v", errs)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got := s.Wait(ctx, t, 4); len(got) != 4 {
		t.Errorf("%d mails, want 4", len(got))
	}
	errs := notify.Errors(c.NotifyRecipients(t.Context(), notify.Message{Subject: "s", Text: "t"}, []string{"gone@shop.test"}))
	if len(errs) != 1 || errs[0].Partial {
		t.Errorf("nobody: %v", errs)
	}
}

// relay passes what a server says on, line by line, as change makes it.
func relay(t *testing.T, addr string, change func(line string) string) (port int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				_ = near.Close()
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(far, near)
				_ = far.Close()
			})
			wg.Go(func() {
				defer func() { _ = near.Close() }()
				for r := bufio.NewReader(far); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := io.WriteString(near, change(line)); err != nil {
						return
					}
				}
			})
		}
	})
	return ln.Addr().(*net.TCPAddr).Port // we listen on TCP
}

// What a real server makes hard: each recipient who can have the mail has it
// once.
func TestPostfixHard(t *testing.T) {
	t.Parallel()
	slow := 2 * time.Second
	if testenv.Soak() {
		slow = 40 * time.Second
	}
	for _, tc := range []struct {
		name, main string
		to         []string
		change     func(string) string
		got, lost  []string
	}{
		{
			name: "a domain beyond ASCII", main: "smtpd_discard_ehlo_keywords = smtputf8", to: []string{"a@shop.test", "d@bücher.test", "z@shop.test"},
			got: []string{"a@shop.test", "d@xn--bcher-kva.test", "z@shop.test"},
		},
		{
			name: "a local part beyond ASCII", main: "smtpd_discard_ehlo_keywords = smtputf8", to: []string{"a@shop.test", "jürgen@shop.test"},
			got: []string{"a@shop.test"}, lost: []string{"jürgen@shop.test"},
		},
		{
			name: "quotes", to: []string{`"taro..x."@shop.test`, `"john doe"@shop.test`, "a@shop.test"},
			got: []string{`"john doe"@shop.test`, `"taro..x."@shop.test`, "a@shop.test"},
		},
		{
			name: "closes after one refusal", main: "smtpd_hard_error_limit = 1\nsmtpd_soft_error_limit = 1\nsmtpd_error_sleep_time = 0",
			to: []string{"a@shop.test", "gone@shop.test", "b@shop.test", "gone2@shop.test", "c@shop.test"}, got: []string{"a@shop.test", "b@shop.test", "c@shop.test"},
			lost: []string{"gone2@shop.test", "gone@shop.test"},
		},
		{
			name: "keywords in small letters", to: []string{"a@shop.test"}, got: []string{"a@shop.test"},
			change: strings.ToLower,
		},
		{
			name: "takes its time after the final dot", to: []string{"a@shop.test"}, got: []string{"a@shop.test"},
			change: func(line string) string {
				if strings.Contains(line, "queued as") {
					time.Sleep(slow) // longer than the hub's and the client's Timeout
				}
				return line
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := postfix.Start(t, &postfix.Options{Reject: []string{"gone@shop.test", "gone2@shop.test"}, Main: tc.main})
			o := postfixOptions(t, s, email.None)
			o.To, o.Timeout = tc.to, time.Second
			if tc.change != nil {
				o.Port = relay(t, s.Addr, tc.change)
			}
			c := newClient(t, o)
			hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{
				Name: "mail", Notifier: c, Timeout: slow / 3, Retry: notify.Retry{Base: 10 * time.Millisecond, Max: 50 * time.Millisecond, Attempts: 20},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = hub.Close() }()

			err = hub.Send(t.Context(), "s", "t")
			var lost []string
			for _, e := range notify.Errors(err) {
				lost = append(lost, e.Recipient)
			}
			slices.Sort(lost)
			if diff := cmp.Diff(tc.lost, lost); diff != "" {
				t.Errorf("not delivered (-want +got):\n%s\n%v", diff, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var got []string
			for _, m := range s.Wait(ctx, t, len(tc.got)) {
				got = append(got, m.Recipient)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.got, got); diff != "" {
				t.Errorf("delivered (-want +got):\n%s\n%s", diff, s.Log())
			}
		})
	}
}

// Many mails take few connections, and a new connection takes up the session.
func TestPostfixConnections(t *testing.T) {
	t.Parallel()
	s := postfix.Start(t, nil)
	o := postfixOptions(t, s, email.Mandatory)
	var dials atomic.Int32
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	c := newClient(t, o)
	mails := testenv.Reps(500)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < mails; i += 8 {
				if err := c.Send(t.Context(), fmt.Sprint("s", i), "t"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	used := dials.Load()
	if used > 8 {
		t.Errorf("%d connections for %d mails, want at most 8", used, mails)
	}
	o.MaxIdle = -1
	again := newClient(t, o)
	if err := again.Check(t.Context()); err != nil { // the first one pays for the handshake
		t.Fatal(err)
	}
	best := time.Hour
	for range 5 {
		begin := time.Now()
		if err := again.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(begin))
	}
	t.Logf("%d mails over %d connections; a resumed connection is ready in %v", mails, used, best)
	if limit := testenv.Within(15*time.Millisecond, 500*time.Millisecond); best > limit {
		t.Errorf("a resumed connection took %v, want at most %v", best, limit)
	}
}

func BenchmarkPostfix(b *testing.B) {
	s := postfix.Start(b, nil)
	for _, mode := range []email.TLSMode{email.None, email.Mandatory} {
		for _, conns := range []int{1, 4} {
			b.Run(fmt.Sprintf("tls=%v/conns=%d", mode, conns), func(b *testing.B) {
				o := postfixOptions(b, s, mode)
				o.MaxConns = conns
				c, err := email.New(o)
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				text := strings.Repeat("0123456789abcde\n", 64)
				b.SetParallelism(conns)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := c.Send(b.Context(), "s", text); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
			})
		}
	}
}
