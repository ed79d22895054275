package slack

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escape makes text that Slack shows as it is: without its three special
// characters there is no mention, channel link or disguised address.
func escape(s string) string {
	return escaper.Replace(clean(s))
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// clean removes what could disturb: control characters but line breaks and
// tabs, and marks that turn the direction of text.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r', r < 0x20, r >= 0x7f && r < 0xa0:
			return -1
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cut shortens escaped text to at most limit characters, counted as Slack does
// after escaping, without splitting an entity. It returns the number of
// characters that it left out.
func cut(escaped string, limit int) (kept string, left int) {
	total := width(escaped)
	if total <= limit {
		return escaped, 0
	}
	if limit <= 0 {
		return "", total
	}
	end, n := 0, 0
	for i := 0; i < len(escaped); {
		size, width := entity(escaped[i:])
		if n+width > limit {
			break
		}
		i += size
		n += width
		end = i
	}
	return escaped[:end], total - n
}

// entity returns the bytes and characters of the unit at the start of s: an
// entity, or one rune.
func entity(s string) (size, width int) {
	for _, e := range []string{"&amp;", "&lt;", "&gt;"} {
		if strings.HasPrefix(s, e) {
			return len(e), len(e)
		}
	}
	r, size := utf8.DecodeRuneInString(s)
	return size, max(1, utf16.RuneLen(r))
}

// width returns the characters of s. Slack does not say how it counts those
// beyond 16 bits, as most emoji are; two is what JavaScript does, and the most.
func width(s string) (n int) {
	for _, r := range s {
		n += max(1, utf16.RuneLen(r))
	}
	return n
}
