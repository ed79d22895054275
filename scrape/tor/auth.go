package tor

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cretz/bine/control"

	"github.com/svcblocks/svcblocks/config/secret"
)

// ErrAuth reports that the control port took none of the credentials. It comes
// with scrape.ErrEgressUnavailable.
var ErrAuth = errors.New("tor: control port credentials refused")

// cookieLen is the length of an authentication cookie (control-spec §3.24).
const cookieLen = 32

// The keys of SAFECOOKIE (control-spec §3.24).
const (
	serverKey     = "Tor safe cookie authentication server-to-controller hash"
	controllerKey = "Tor safe cookie authentication controller-to-server hash"
)

// login is where the control port is and what opens it.
type login struct {
	addr       string
	password   secret.Secret
	cookieFile string
	timeout    time.Duration
}

// dial reaches the control port.
func (l *login) dial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	network, addr := "tcp", l.addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("control port %s: %w (is ControlPort set in torrc?)", l.addr, err)
	}
	return &session{net: conn, bine: control.NewConn(textproto.NewConn(conn))}, nil
}

// open returns an authenticated connection. Tor closes a connection on which
// authentication failed, so each method gets its own.
func (l *login) open(ctx context.Context) (*session, error) {
	s, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}

	var info *control.ProtocolInfo
	if err := s.within(ctx, l.timeout, func() error {
		info, err = s.bine.ProtocolInfo()
		return err
	}); err != nil {
		s.close()
		return nil, fmt.Errorf("control port %s: greeting: %w", l.addr, err)
	}

	methods, failures := l.methods(info)
	for _, m := range methods {
		if s == nil {
			if s, err = l.dial(ctx); err != nil {
				return nil, err
			}
		}

		err := m.try(ctx, s)
		if err == nil {
			return s, nil
		}
		s.close()
		s = nil
		if _, refused := errors.AsType[*textproto.Error](err); !refused && !errors.Is(err, errProof) {
			return nil, fmt.Errorf("control port %s: authentication by %s: %w", l.addr, m.name, err)
		}
		failures = append(failures, m.name+": "+err.Error())
	}

	if s != nil {
		s.close()
	}
	return nil, fmt.Errorf("control port %s: %w: it offers %s; %s", l.addr, ErrAuth,
		strings.Join(info.AuthMethods, ", "), strings.Join(failures, "; "))
}

// method is one way to authenticate.
type method struct {
	name string
	try  func(context.Context, *session) error
}

// methods returns the ways that both sides know, and why others are left out.
func (l *login) methods(info *control.ProtocolInfo) (list []method, failures []string) {
	offers := func(name string) bool { return slices.Contains(info.AuthMethods, name) }
	authenticate := func(argument string) func(context.Context, *session) error {
		return func(ctx context.Context, s *session) error {
			_, err := s.send(ctx, l.timeout, strings.TrimSpace("AUTHENTICATE "+argument))
			return err
		}
	}

	if offers("NULL") {
		list = append(list, method{"NULL", authenticate("")})
	}

	if offers("HASHEDPASSWORD") {
		if l.password.IsZero() {
			failures = append(failures, "password: none given (Options.Password)")
		} else {
			list = append(list, method{"password", authenticate(hex.EncodeToString([]byte(l.password.Reveal())))})
		}
	}

	if offers("SAFECOOKIE") || offers("COOKIE") {
		path := l.cookieFile
		if path == "" {
			path = info.CookieFile
		}
		cookie, err := readCookie(path)
		switch {
		case err != nil:
			failures = append(failures, "cookie: "+err.Error()+" (Options.CookieFile, if it lies elsewhere here)")
		case offers("SAFECOOKIE"):
			list = append(list, method{"SAFECOOKIE", func(ctx context.Context, s *session) error {
				return l.safeCookie(ctx, s, cookie)
			}})
		default:
			list = append(list, method{"COOKIE", authenticate(hex.EncodeToString(cookie))})
		}
	}

	return list, failures
}

// readCookie reads the cookie file. What has another length is not a cookie and
// is not sent anywhere.
func readCookie(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("Tor names no file")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() != cookieLen {
		return nil, fmt.Errorf("%s has %d bytes, a cookie has %d", path, info.Size(), cookieLen)
	}
	return os.ReadFile(path)
}

// errProof reports a server that does not know the cookie.
var errProof = errors.New("the port does not prove that it knows the cookie")

// safeCookie proves knowledge of the cookie without sending it, and asks the
// port for the same proof first.
func (l *login) safeCookie(ctx context.Context, s *session, cookie []byte) error {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // documented never to fail
	res, err := s.send(ctx, l.timeout, "AUTHCHALLENGE SAFECOOKIE "+hex.EncodeToString(nonce))
	if err != nil {
		return err
	}

	var serverHash, serverNonce []byte
	for field := range strings.FieldsSeq(res.Reply) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "SERVERHASH":
			serverHash, err = hex.DecodeString(value)
		case "SERVERNONCE":
			serverNonce, err = hex.DecodeString(value)
		}
		if err != nil {
			return errProof
		}
	}

	digest := func(key string) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(cookie)
		mac.Write(nonce)
		mac.Write(serverNonce)
		return mac.Sum(nil)
	}

	if !hmac.Equal(digest(serverKey), serverHash) {
		return errProof
	}
	_, err = s.send(ctx, l.timeout, "AUTHENTICATE "+hex.EncodeToString(digest(controllerKey)))
	return err
}
