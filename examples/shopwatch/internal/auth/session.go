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
	"net/http"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
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
	Name    string    `json:"name"`
	Until   time.Time `json:"until"`
}

// attempt is what the cookie of a login under way holds.
type attempt struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // RFC 7636 §4.1
	Until    time.Time `json:"until"`
}

// sessions seals and opens cookies, and remembers the sessions that ended
// before their time.
type sessions struct {
	aead cipher.AEAD

	mu    sync.Mutex
	ended map[string]time.Time // by ID, until when they would have lasted
}

// maxEnded bounds the sessions that are remembered.
const maxEnded = 10_000

func newSessions(given secret.Secret) (*sessions, error) {
	material := []byte(given.Reveal())
	if len(material) == 0 {
		material = make([]byte, 32)
		_, _ = rand.Read(material) // it never fails
	}
	key, err := hkdf.Key(sha256.New, material, nil, "svcblocks example service: cookies", 32)
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
	return &sessions{aead: aead, ended: map[string]time.Time{}}, nil
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

// end makes a session, and every copy of its cookie, worthless.
func (s *sessions) end(x session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for id, until := range s.ended {
		if until.Before(now) || len(s.ended) >= maxEnded {
			delete(s.ended, id)
		}
	}
	s.ended[x.ID] = x.Until
}

func (s *sessions) hasEnded(x session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ended[x.ID]
	return ok || time.Now().After(x.Until)
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
