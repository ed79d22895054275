package slack

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escape makes text in which Slack finds no mention, channel link or disguised
// address.
func escape(s string) string { return escaper.Replace(s) }

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

// cut shortens text to at most limit characters, counted as Slack does, see
// width. It returns the number of characters that it left out.
func cut(s string, limit int) (kept string, left int) {
	total := width(s)
	if total <= limit {
		return s, 0
	}
	n := 0
	for i, r := range s {
		w := runeWidth(r)
		if n+w > limit {
			return s[:i], total - n
		}
		n += w
	}
	return s, 0
}

// width returns the characters of s as Slack counts them: after escaping,
// whoever escapes. It does not say how it counts those beyond 16 bits, as most
// emoji are; two is what JavaScript does, and the most.
func width(s string) (n int) {
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch r {
	case '&':
		return len("&amp;")
	case '<', '>':
		return len("&lt;")
	case utf8.RuneError:
		return 1
	}
	return max(1, utf16.RuneLen(r))
}
