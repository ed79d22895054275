package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The purposes of a cookie; one of them cannot be passed off as another.
const (
	sessionCookie = "session"
	loginCookie   = "login"
)

// session is what the cookie of a login holds.
type session struct {
	ID      string    `json:"id"`
	Subject string    `json:"sub"`
	Email   string    `json:"email,omitempty"` // verified
	Name    string    `json:"name"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

// attempt is what the cookie of a login under way holds.
type attempt struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // RFC 7636 §4.1
	Until    time.Time `json:"until"`
}

// Logouts remembers what sessions ended before their time.
type Logouts interface {
	// End remembers that the session called id, which would last until until,
	// has ended.
	End(id string, until time.Time) error
	// Ended returns what was remembered and would still last.
	Ended() (map[string]time.Time, error)
}

// sessions seals and opens cookies, and remembers the sessions that ended
// before their time.
type sessions struct {
	aead  cipher.AEAD
	store Logouts       // nil for none
	lasts time.Duration // a session, by the settings in force

	mu    sync.Mutex
	ended map[string]time.Time // by ID, until when they would have lasted
	floor time.Time            // sessions that began before it have ended
}

// maxEnded bounds the sessions that are remembered one by one.
const maxEnded = 10_000

// allEnded begins the ID that stands for every session that began before the
// time behind it. That it ends at is no measure: the length of a session may be
// another at the next start.
const allEnded = "all before "

// newSessions seals cookies with a key for this provider and client alone: an
// installation beside this one, with the same given key, makes others.
func newSessions(c Config, store Logouts) (*sessions, error) {
	material := []byte(c.SessionKey.Reveal())
	if len(material) == 0 {
		material = make([]byte, 32)
		_, _ = rand.Read(material) // it never fails
	}

	key, err := hkdf.Key(sha256.New, material, nil, fmt.Sprintf("svcblocks shopwatch: cookies of %q at %q", c.ClientID, c.Issuer), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}

	s := &sessions{aead: aead, store: store, lasts: c.Session, ended: map[string]time.Time{}}
	if store == nil {
		return s, nil
	}

	known, err := store.Ended()
	if err != nil {
		return nil, fmt.Errorf("the sessions that ended: %w", err)
	}

	for id, until := range known {
		text, all := strings.CutPrefix(id, allEnded)
		if !all {
			s.ended[id] = until
			continue
		}
		floor, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("the sessions that ended: %w", err)
		}
		if floor.After(s.floor) {
			s.floor = floor
		}
	}
	return s, nil
}

var errCookie = errors.New("auth: cookie is not ours")

func (s *sessions) seal(purpose string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(purpose))), nil
}

func (s *sessions) open(purpose, value string, v any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return errCookie
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return errCookie
	}
	return json.Unmarshal(plain, v)
}

// end makes a session, and every copy of its cookie, worthless. Where an error
// says that it could not be stored, it holds until the next restart.
func (s *sessions) end(x session) error {
	s.mu.Lock()
	now := time.Now()
	if len(s.ended) >= maxEnded {
		maps.DeleteFunc(s.ended, func(_ string, until time.Time) bool { return until.Before(now) })
	}
	id, until := x.ID, x.Until
	if len(s.ended) >= maxEnded {
		// None may live again for want of room, so all end that began by now.
		clear(s.ended)
		s.floor = now
		id, until = allEnded+now.Format(time.RFC3339Nano), now.Add(x.Until.Sub(x.Since))
	} else {
		s.ended[id] = until
	}
	s.mu.Unlock()

	if s.store == nil {
		return nil
	}
	return s.store.End(id, until)
}

// hasEnded reports whether x was logged out or is too old, by what held at its
// login or by what holds now, whichever is less.
func (s *sessions) hasEnded(x session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ended[x.ID]
	now := time.Now()
	return ok || x.Since.Before(s.floor) || now.After(x.Until) || now.Sub(x.Since) > s.lasts
}

// session returns who is logged in.
func (a *Auth) session(r *http.Request) (User, bool) {
	x, ok := a.readSession(r)
	return User{Subject: x.Subject, Name: x.Name}, ok
}

func (a *Auth) readSession(r *http.Request) (session, bool) {
	var x session
	c, err := r.Cookie(a.cookieName(sessionCookie))
	if err != nil || a.opts.ClientID == "" || a.sessions.open(sessionCookie, c.Value, &x) != nil || a.sessions.hasEnded(x) {
		return session{}, false
	}
	// Whom the settings name may have changed since the login.
	if !a.admitted.user(x.Subject, x.Email) {
		return session{}, false
	}
	return x, true
}

// cookieName carries the prefix that binds a cookie to this very host and to
// https, where there is https (RFC 6265bis §4.1.3.2).
func (a *Auth) cookieName(purpose string) string {
	if a.secure {
		return "__Host-" + purpose
	}
	return purpose
}

// setCookie gives the browser a sealed cookie; nil v takes it away.
func (a *Auth) setCookie(w http.ResponseWriter, purpose string, v any, age time.Duration) error {
	c := &http.Cookie{
		Name: a.cookieName(purpose), Path: "/", HttpOnly: true, Secure: a.secure,
		// Strict would not be sent on the way back from the provider.
		SameSite: http.SameSiteLaxMode, MaxAge: -1,
	}
	if v != nil {
		value, err := a.sessions.seal(purpose, v)
		if err != nil {
			return err
		}
		c.Value, c.MaxAge = value, int(age/time.Second)
	}
	http.SetCookie(w, c)
	return nil
}
