package auth

import (
	"slices"
	"strings"
)

// admitted says who may come in, for a login, for each request with its session
// and for an access token alike.
type admitted struct {
	users   []string // subjects and e-mail addresses; none: everybody
	clients []string // of access tokens; none: every one
}

// user reports whether subject, or the address email that the provider has
// verified, is among the users. An empty email is nobody's.
func (a admitted) user(subject, email string) bool {
	if len(a.users) == 0 || slices.Contains(a.users, subject) {
		return true
	}
	return email != "" && slices.ContainsFunc(a.users, func(u string) bool { return strings.EqualFold(u, email) })
}

// token reports whether a token is of an admitted client and speaks for an
// admitted user. A listed client that acts for itself (RFC 9068 §2.2: sub is the
// client) is nobody's user.
func (a admitted) token(c *tokenClaims) error {
	party := firstOf(c.Party, c.Client)
	listed := slices.Contains(a.clients, party)
	switch {
	case len(a.clients) > 0 && !listed:
		return &TokenError{Code: codeInsufficientScope, Text: "it was issued to a client that is not admitted here"}
	case listed && c.Subject == party, a.user(c.Subject, c.verified()):
		return nil
	}
	return &TokenError{Code: codeInsufficientScope, Text: "it speaks for somebody who is not admitted here"}
}
