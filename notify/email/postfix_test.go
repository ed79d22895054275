package email_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
		for i := range 2 { // the second one goes in one write
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
