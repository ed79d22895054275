package tor_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeControl is a scripted control port.
type fakeControl struct {
	addr string
	// methods, cookieFile and password are what it offers and takes.
	methods, cookieFile, password string
	cookie                        []byte
	// on answers a command, which is authenticated, in place of the usual answer;
	// what it returns is sent as it is. It reports false to leave it.
	on func(conn net.Conn, line string) (answer string, ok bool)

	opened, commands atomic.Int64

	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	events   []net.Conn // that asked for events
	wg       sync.WaitGroup
}

func startControl(t testing.TB, f *fakeControl) *fakeControl {
	t.Helper()
	var err error
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	f.addr, f.conns = f.listener.Addr().String(), map[net.Conn]struct{}{}
	if f.methods == "" {
		f.methods = "NULL"
	}
	f.wg.Go(func() {
		for {
			conn, err := f.listener.Accept()
			if err != nil {
				return
			}
			f.opened.Add(1)
			f.mu.Lock()
			f.conns[conn] = struct{}{}
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = f.listener.Close()
		f.drop()
		f.wg.Wait()
	})
	return f
}

// drop closes every connection, as a restart does.
func (f *fakeControl) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		_ = conn.Close()
	}
	f.conns, f.events = map[net.Conn]struct{}{}, nil
}

// emit sends to the connections that asked for events.
func (f *fakeControl) emit(text string) {
	f.mu.Lock()
	listeners := append([]net.Conn(nil), f.events...)
	f.mu.Unlock()
	for _, conn := range listeners {
		_, _ = conn.Write([]byte(text)) // the client may be gone
	}
}

func (f *fakeControl) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	authenticated := false
	var proof []byte
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		f.commands.Add(1)
		verb, argument, _ := strings.Cut(line, " ")
		answer := "250 OK\r\n"
		switch {
		case verb == "PROTOCOLINFO":
			file := ""
			if f.cookieFile != "" {
				file = fmt.Sprintf(" COOKIEFILE=%q", f.cookieFile)
			}
			answer = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=" + f.methods + file + "\r\n250-VERSION Tor=\"0.4.9.11\"\r\n250 OK\r\n"
		case verb == "AUTHCHALLENGE":
			nonce, _ := hex.DecodeString(strings.TrimPrefix(argument, "SAFECOOKIE "))
			serverNonce := make([]byte, 32)
			digest := func(key string) []byte {
				mac := hmac.New(sha256.New, []byte(key))
				mac.Write(f.cookie)
				mac.Write(nonce)
				mac.Write(serverNonce)
				return mac.Sum(nil)
			}
			proof = digest("Tor safe cookie authentication controller-to-server hash")
			answer = fmt.Sprintf("250 AUTHCHALLENGE SERVERHASH=%X SERVERNONCE=%X\r\n",
				digest("Tor safe cookie authentication server-to-controller hash"), serverNonce)
		case verb == "AUTHENTICATE":
			given, _ := hex.DecodeString(argument)
			authenticated = strings.Contains(f.methods, "NULL") ||
				f.password != "" && string(given) == f.password ||
				proof != nil && hmac.Equal(given, proof) ||
				strings.Contains(","+f.methods+",", ",COOKIE,") && f.cookie != nil && string(given) == string(f.cookie)
			if !authenticated {
				_, _ = conn.Write([]byte("515 Authentication failed\r\n"))
				return // as Tor does
			}
		case !authenticated:
			_, _ = conn.Write([]byte("514 Authentication required.\r\n"))
			return
		default:
			custom, ok := "", false
			if f.on != nil {
				custom, ok = f.on(conn, line)
			}
			switch {
			case ok:
				answer = custom
			case verb == "SETEVENTS":
				f.mu.Lock()
				f.events = append(f.events, conn)
				f.mu.Unlock()
			case verb == "GETINFO":
				answer = info(argument)
			}
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

// info answers GETINFO as a Tor does that is ready.
func info(keys string) string {
	values := map[string]string{
		"version":                    "0.4.9.11",
		"status/bootstrap-phase":     `NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"`,
		"status/circuit-established": "1",
		"network-liveness":           "up",
		"net/listeners/socks":        `"127.0.0.1:9050"`,
	}
	var answer strings.Builder
	for key := range strings.FieldsSeq(keys) {
		fmt.Fprintf(&answer, "250-%s=%s\r\n", key, values[key])
	}
	return answer.String() + "250 OK\r\n"
}
