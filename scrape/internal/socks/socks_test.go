package socks_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/scrape/internal/socks"
	"github.com/svcblocks/svcblocks/scrape/internal/sockstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectAndResolve(t *testing.T) {
	t.Parallel()
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	go func() {
		for {
			conn, err := far.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(far.Addr().String())
	server := sockstest.Start(t)
	c := socks.Client{Addr: server.Addr, HandshakeTimeout: time.Second}
	for _, target := range []string{"shop.example.com", "192.0.2.1", "2001:db8::1", "abc.onion"} {
		for _, user := range []string{"", "id", strings.Repeat("u", 255)} {
			conn, err := c.Connect(t.Context(), user, "x", net.JoinHostPort(target, port))
			if err != nil {
				t.Fatalf("Connect %s: %v", target, err)
			}
			if text, err := io.ReadAll(conn); err != nil || string(text) != "hello" {
				t.Errorf("read %q, %v", text, err)
			}
			_ = conn.Close()
			requests := server.Requests()
			if last := requests[len(requests)-1]; last.Host != target || last.User != user {
				t.Errorf("the proxy saw %+v, want %s as %q", last, target, user)
			}
		}
	}
	if addr, err := c.Resolve(t.Context(), "id", "x", "shop.example.com"); err != nil || addr.String() != "127.0.0.1" {
		t.Errorf("Resolve = %v, %v", addr, err)
	}
	for _, bad := range []string{"no-port", "host:http", "host:70000", ":80", strings.Repeat("h", 256) + ":80"} {
		if _, err := c.Connect(t.Context(), "", "", bad); err == nil {
			t.Errorf("Connect %.20q succeeded", bad)
		}
	}
	if _, err := c.Connect(t.Context(), strings.Repeat("u", 256), "", "a:1"); err == nil {
		t.Error("a user name of 256 bytes was taken")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault sockstest.Fault
		proxy bool // the proxy's fault
		reply byte
		says  string
	}{
		{"hangs", sockstest.HangAccept, true, 0, "no answer within 200ms"},
		{"garbage", sockstest.Garbage, true, 0, "something else"},
		{"refuses", sockstest.RefuseAuth, true, 0, "refused"},
		{"no user names", sockstest.NoUserPass, true, 0, "identities cannot be kept apart"},
		{"resets", sockstest.ResetRequest, true, 0, "EOF"},
		{"cut reply", sockstest.CutReply, true, 0, "EOF"},
		{"general", sockstest.ReplyGeneral, false, 1, "general failure"},
		{"host", sockstest.ReplyHost, false, 4, "does not resolve"},
		{"onion", sockstest.ReplyOnionGone, false, 0xf0, "descriptor not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := sockstest.Start(t)
			server.Fail(tc.fault)
			c := socks.Client{Addr: server.Addr, HandshakeTimeout: 200 * time.Millisecond}
			_, err := c.Connect(t.Context(), "id", "x", "example.com:80")
			_, isProxy := errors.AsType[*socks.ProxyError](err)
			reply, isReply := errors.AsType[*socks.ReplyError](err)
			if err == nil || isProxy != tc.proxy || isReply == tc.proxy || isReply && reply.Code != tc.reply || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Connect = %v (%T), want it to say %q", err, err, tc.says)
			}
		})
	}
}

func TestContextEndsEverything(t *testing.T) {
	t.Parallel()
	server := sockstest.Start(t)
	for _, fault := range []sockstest.Fault{sockstest.HangAccept, sockstest.HangRequest} {
		server.Fail(fault)
		c := socks.Client{Addr: server.Addr, HandshakeTimeout: time.Minute}
		reason := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, reason)
		began := time.Now()
		_, err := c.Connect(ctx, "id", "x", "example.com:80")
		cancel()
		if _, isProxy := errors.AsType[*socks.ProxyError](err); isProxy || time.Since(began) > 3*time.Second || !errors.Is(err, reason) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("fault %d: %v after %v", fault, err, time.Since(began))
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte{5, 2, 1, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
	f.Add([]byte{5, 2, 1, 0, 5, 0, 0, 3, 255, 'x'})
	f.Add([]byte{5, 0xff})
	f.Fuzz(func(t *testing.T, script []byte) {
		c := socks.Client{Addr: "proxy:1", HandshakeTimeout: time.Second, Dial: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				go func() { _, _ = io.Copy(io.Discard, far) }()
				_, _ = far.Write(script)
				_ = far.Close()
			}()
			return near, nil
		}}
		conn, err := c.Connect(t.Context(), "id", "x", "example.com:80")
		if err == nil {
			_ = conn.Close()
		}
	})
}
