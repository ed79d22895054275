package postfix_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/netns"
	"github.com/svcblocks/svcblocks/internal/testenv/postfix"
)

// Where the test is not run as root, the namespace makes it root.
func TestMain(m *testing.M) { goleak.VerifyTestMain(netns.Wrap(m)) }

// dial connects to the server with STARTTLS, or with TLS from the first byte.
func dial(t *testing.T, s *postfix.Server, implicit bool) *smtp.Client {
	t.Helper()
	config := &tls.Config{RootCAs: s.Pool, ServerName: "localhost"}
	addr := s.Addr
	if implicit {
		addr = s.TLSAddr
	}
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if implicit {
		conn = tls.Client(conn, config)
	}
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if !implicit {
		if err := client.StartTLS(config); err != nil {
			t.Fatal(err)
		}
	}
	return client
}

func TestDelivers(t *testing.T) {
	t.Parallel()
	s := postfix.Start(t, nil)
	for i, implicit := range []bool{false, true} {
		client := dial(t, s, implicit)
		if err := errors.Join(client.Mail("service@shop.test"), client.Rcpt("ops@shop.test")); err != nil {
			t.Fatal(err)
		}
		w, err := client.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("Subject: price\r\nMessage-ID: <1@shop.test>\r\n\r\nLamp: 12.50\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Close(), client.Quit()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		mails := s.Wait(ctx, t, i+1)
		cancel()
		got := mails[i]
		if got.Recipient != "ops@shop.test" || got.Header.Get("Subject") != "price" || got.Body != "Lamp: 12.50\n" {
			t.Errorf("implicit TLS %v: %+v", implicit, got)
		}
	}
	s.Stop()
	if _, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
		t.Error("still listening after Stop")
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	s := postfix.Start(t, &postfix.Options{
		Reject: []string{"gone@shop.test"}, Defer: []string{"busy@shop.test"}, RequireTLS: true,
	})
	client := dial(t, s, false)
	if err := client.Mail("service@shop.test"); err != nil {
		t.Fatal(err)
	}
	for recipient, want := range map[string]int{"gone@shop.test": 550, "busy@shop.test": 450} {
		var refused *textproto.Error
		if err := client.Rcpt(recipient); !errors.As(err, &refused) || refused.Code != want {
			t.Errorf("RCPT %s: %v, want %d", recipient, err, want)
		}
	}
	plain, err := smtp.Dial(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.Mail("service@shop.test"); err == nil || !strings.HasPrefix(err.Error(), "530") {
		t.Errorf("MAIL without TLS: %v, want 530", err)
	}
}
