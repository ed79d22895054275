package tor

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"slices"
	"strings"

	"github.com/cretz/bine/control"
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

// open returns an authenticated connection. Tor closes a connection on which
// authentication failed, so each method gets its own.
func (c *controller) open(ctx context.Context) (*session, error) {
	s, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}

	var info *control.ProtocolInfo
	if err := s.within(ctx, c.timeout, func() error {
		info, err = s.bine.ProtocolInfo()
		return err
	}); err != nil {
		s.close()
		return nil, fmt.Errorf("control port %s: greeting: %w", c.addr, err)
	}

	methods, failures := c.methods(info)
	for _, m := range methods {
		if s == nil {
			if s, err = c.dial(ctx); err != nil {
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
			return nil, fmt.Errorf("control port %s: authentication by %s: %w", c.addr, m.name, err)
		}
		failures = append(failures, m.name+": "+err.Error())
	}

	if s != nil {
		s.close()
	}
	return nil, fmt.Errorf("control port %s: %w: it offers %s; %s", c.addr, ErrAuth,
		strings.Join(info.AuthMethods, ", "), strings.Join(failures, "; "))
}

// method is one way to authenticate.
type method struct {
	name string
	try  func(context.Context, *session) error
}

// methods returns the ways that both sides know, and why others are left out.
func (c *controller) methods(info *control.ProtocolInfo) (list []method, failures []string) {
	offers := func(name string) bool { return slices.Contains(info.AuthMethods, name) }
	authenticate := func(argument string) func(context.Context, *session) error {
		return func(ctx context.Context, s *session) error {
			_, err := s.send(ctx, c.timeout, strings.TrimSpace("AUTHENTICATE "+argument))
			return err
		}
	}

	if offers("NULL") {
		list = append(list, method{"NULL", authenticate("")})
	}

	if offers("HASHEDPASSWORD") {
		if c.password.IsZero() {
			failures = append(failures, "password: none given (Options.Password)")
		} else {
			list = append(list, method{"password", authenticate(hex.EncodeToString([]byte(c.password.Reveal())))})
		}
	}

	if offers("SAFECOOKIE") || offers("COOKIE") {
		path := c.cookieFile
		if path == "" {
			path = info.CookieFile
		}
		cookie, err := readCookie(path)
		switch {
		case err != nil:
			failures = append(failures, "cookie: "+err.Error()+" (Options.CookieFile, if it lies elsewhere here)")
		case offers("SAFECOOKIE"):
			list = append(list, method{"SAFECOOKIE", func(ctx context.Context, s *session) error {
				return c.safeCookie(ctx, s, cookie)
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
func (c *controller) safeCookie(ctx context.Context, s *session, cookie []byte) error {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // documented never to fail
	res, err := s.send(ctx, c.timeout, "AUTHCHALLENGE SAFECOOKIE "+hex.EncodeToString(nonce))
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
	_, err = s.send(ctx, c.timeout, "AUTHENTICATE "+hex.EncodeToString(digest(controllerKey)))
	return err
}
