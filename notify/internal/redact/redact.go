// Package redact takes secrets out of text.
package redact

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Mask is what stands in place of a secret.
const Mask = "[redacted]"

// minLen is the length below which a secret is left alone: replacing one or
// two letters everywhere would destroy every text and tell the secret.
const minLen = 4

// Redactor replaces known secrets. The zero value and nil know none.
type Redactor struct {
	replacer *strings.Replacer
	forms    []string // the longest first
}

// New returns a Redactor that knows each secret as it is and in the forms it
// takes in addresses, JSON and base64. Secrets below 4 bytes are left out.
func New(secrets ...string) *Redactor {
	var forms []string
	for _, s := range secrets {
		if len(s) < minLen {
			continue
		}
		forms = append(forms, s, url.PathEscape(s), url.QueryEscape(s))
		if flat := flatten(s); len(flat) >= minLen {
			forms = append(forms, flat)
		}
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, e.EncodeToString([]byte(s)))
		}
		if quoted, err := json.Marshal(s); err == nil {
			forms = append(forms, string(quoted[1:len(quoted)-1]))
		}
	}
	// Longest first, so that a secret which contains another one goes whole.
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	forms = slices.Compact(forms)
	if len(forms) == 0 {
		return &Redactor{}
	}
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range forms {
		pairs = append(pairs, f, Mask)
	}
	return &Redactor{replacer: strings.NewReplacer(pairs...), forms: forms}
}

// String returns s with every known secret replaced, also one that was cut off
// before a "…", as [Reason] sets.
func (r *Redactor) String(s string) string {
	if r == nil || r.replacer == nil {
		return s
	}
	s = r.replacer.Replace(s)
	if !strings.Contains(s, more) {
		return s
	}
	parts := strings.Split(s, more)
	for i := range parts[:len(parts)-1] {
		parts[i] = r.cutOff(parts[i])
	}
	return strings.Join(parts, more)
}

// cutOff replaces the start of a secret that s ends with.
func (r *Redactor) cutOff(s string) string {
	longest := 0
	for _, f := range r.forms {
		for n := min(len(f)-1, len(s)); n >= max(minLen, longest+1); n-- {
			if strings.HasSuffix(s, f[:n]) {
				longest = n
				break
			}
		}
	}
	if longest == 0 {
		return s
	}
	return s[:len(s)-longest] + Mask
}

// more stands for what was left out.
const more = "…"

// maxReason bounds what is quoted of somebody else's text.
const maxReason = 256

// Reason makes a foreign error text fit to be shown: addresses lose userinfo,
// path and query, control characters become spaces, and at most 256 bytes stay.
func Reason(s string) string {
	s = flatten(URLs(s))
	if len(s) > maxReason {
		n := maxReason
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + more
	}
	return s
}

// flatten makes one line of s, with single spaces.
func flatten(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// URLs replaces every address in s by scheme, host and "/…".
func URLs(s string) string {
	i := strings.Index(s, "://")
	if i < 0 {
		return s
	}
	var b strings.Builder
	for i >= 0 {
		start := i + len("://")
		b.WriteString(s[:start])
		s = s[start:]
		end := strings.IndexFunc(s, func(r rune) bool {
			return r <= ' ' || r == '"' || r == '\'' || r == '<' || r == '>' || r == '`' || r == '\\' || r == '|'
		})
		if end < 0 {
			end = len(s)
		}
		address := s[:end]
		s = s[end:]
		// A separator that ends the address in a sentence is not part of it.
		trimmed := strings.TrimRight(address, ":,.;)")
		tail := address[len(trimmed):]
		host := trimmed
		if at := strings.IndexAny(host, "/?#"); at >= 0 {
			host = host[:at]
		}
		rest := len(trimmed) > len(host)
		if at := strings.LastIndexByte(trimmed, '@'); at >= 0 {
			// A password may hold a slash that nobody escaped: whatever
			// stands before the last @ may be userinfo.
			host = trimmed[at+1:]
			if cut := strings.IndexAny(host, "/?#"); cut >= 0 {
				host, rest = host[:cut], true
			}
		}
		b.WriteString(host)
		if rest {
			b.WriteString("/…")
		}
		b.WriteString(tail)
		i = strings.Index(s, "://")
	}
	b.WriteString(s)
	return b.String()
}
