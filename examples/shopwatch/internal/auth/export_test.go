package auth

import (
	"crypto/rand"
	"time"
)

// SealSession returns the value of the cookie of a session that ends at until.
func (a *Auth) SealSession(until time.Time) (string, error) {
	return a.sessions.seal(sessionCookie, session{ID: rand.Text(), Subject: "ada", Name: "Ada", Since: time.Now(), Until: until})
}

// SealSessionOf returns the value of the cookie of a session that began at since.
func (a *Auth) SealSessionOf(since, until time.Time) (string, error) {
	return a.sessions.seal(sessionCookie, session{ID: rand.Text(), Subject: "ada", Name: "Ada", Since: since, Until: until})
}

// Admits reports whether a person of that e-mail address is among users.
func Admits(users []string, email string) bool { return admitted{users: users}.user("", email) }

// SealAttempt returns the value of the cookie of a login that was begun, which
// has to be done by until.
func (a *Auth) SealAttempt(state string, until time.Time) (string, error) {
	return a.sessions.seal(loginCookie, attempt{State: state, Nonce: rand.Text(), Verifier: rand.Text(), Until: until})
}

// EndSessions logs n sessions out.
func (a *Auth) EndSessions(n int) error {
	for range n {
		now := time.Now()
		if err := a.sessions.end(session{ID: rand.Text(), Since: now, Until: now.Add(a.opts.Session)}); err != nil {
			return err
		}
	}
	return nil
}
