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
	return email != "" && slices.ContainsFunc(a.users, func(u string) bool { return sameAddress(u, email) })
}

// sameAddress compares e-mail addresses, whatever the case of their ASCII
// letters. Other letters are not folded: the Kelvin sign would be a k, and a
// mailbox with it another person's.
func sameAddress(a, b string) bool { return lowerASCII(a) == lowerASCII(b) }

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
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
