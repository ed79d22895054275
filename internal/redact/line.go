package redact

import (
	"strings"
	"unicode/utf8"
)

// maxReason bounds what is quoted of somebody else's text.
const maxReason = 256

// Line makes one line of s: control characters become spaces, and each run of
// spaces one.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// Reason makes somebody else's error text fit to be shown: one line in which
// addresses are hidden as [URLs] does, of at most 256 bytes and an ellipsis.
func Reason(s string) string {
	s = Line(URLs(s))
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}
