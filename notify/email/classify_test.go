package email_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
)

// Whatever a server answers, there is a typed error or a mail that was taken,
// and nothing hangs.
func FuzzReplies(f *testing.F) {
	f.Add("220 hi\r\n250-x\r\n250-PIPELINING\r\n250 SIZE 100000\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n")
	f.Add("220 hi\r\n250 x\r\n250 ok\r\n550 5.1.1 no\r\n503 no\r\n")
	f.Add("220 hi\r\n250-PIPELINING\r\n250 x\r\n250 ok\r\n550 no\r\n354 go\r\n554 no\r\n")
	f.Add("421 4.3.2 busy\r\n")
	f.Add("HTTP/1.1 400 Bad Request\r\n\r\n")
	f.Add("220-\r\n220 \r\n\xff\xff\r\n")
	f.Fuzz(func(t *testing.T, replies string) {
		client, server := net.Pipe()
		go func() { // takes everything
			_, _ = io.Copy(io.Discard, server)
		}()
		go func() {
			_, _ = io.WriteString(server, replies)
			_ = server.Close()
		}()
		c := newFuzzClient(t, client)
		err := c.Notify(t.Context(), notify.Message{ID: "m1", Subject: "s", Text: "t"})
		_ = c.Close()
		_ = server.Close()
		if err == nil {
			if !strings.Contains(replies, "354") || !strings.Contains(replies, "250") {
				t.Errorf("taken after %q", replies)
			}
			return
		}
		errs := notify.Errors(err)
		if len(errs) == 0 {
			t.Errorf("untyped error %v", err)
		}
		for _, e := range errs {
			if e.Class == "" || len(e.Error()) > 600 || strings.ContainsAny(e.Error(), "\r\n\x00") {
				t.Errorf("error %+v", e)
			}
		}
	})
}

func FuzzClassify(f *testing.F) {
	ops := []string{"greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "end of data"}
	f.Add(uint(5), 550, "5.1.1 unknown user")
	f.Add(uint(3), 454, "4.7.0\r\nlater")
	f.Fuzz(func(t *testing.T, n uint, code int, text string) {
		op := ops[n%uint(len(ops))]
		e := email.Failure(op, &textproto.Error{Code: code, Msg: text})
		if e.Temporary() && (code < 400 || code > 499) {
			t.Errorf("%d is temporary", code)
		}
		if code >= 400 && code <= 499 && !e.Temporary() {
			t.Errorf("%d at %s is final", code, op)
		}
		if e.Enhanced != "" && !strings.HasPrefix(strings.TrimSpace(text), e.Enhanced) {
			t.Errorf("enhanced %q of %q", e.Enhanced, text)
		}
		if _, err := bufio.NewReader(strings.NewReader(e.Error())).ReadString('\n'); err == nil {
			t.Errorf("error has lines: %q", e.Error())
		}
	})
}

func newFuzzClient(t *testing.T, conn net.Conn) *email.Client {
	t.Helper()
	used := false
	return newClient(t, &email.Options{
		Host: "127.0.0.1", TLS: email.None, From: "a@example.com", To: []string{"b@example.com"}, MaxIdle: -1,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, net.ErrClosed
			}
			used = true
			return conn, nil
		},
	})
}
