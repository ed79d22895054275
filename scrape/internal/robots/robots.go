// Package robots reads robots.txt as RFC 9309 says, for one agent.
//
// Where sites write what the RFC does not know, it reads what they mean, as
// Google's published parser does: a missing colon, the common misspellings, a
// byte order mark or a control character within, any line end.
package robots

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxBytes is how much of a file is read (RFC 9309 §2.5 asks for at least
// this).
const MaxBytes = 500 << 10

// maxSitemaps is how many lines of sitemaps are kept.
const maxSitemaps = 1000

// maxLine is how much of a line is read, as in Google's parser.
const maxLine = 2083 * 8

// Rules are the rules of one robots.txt that apply to one agent. The zero Rules
// allow everything. Safe for concurrent use.
type Rules struct {
	rules    []rule
	delay    time.Duration
	sitemaps []string
}

type rule struct {
	pattern string
	allow   bool
}

// AllowAll returns rules that allow everything.
func AllowAll() *Rules { return &Rules{} }

// DenyAll returns rules that allow nothing but robots.txt itself.
func DenyAll() *Rules { return &Rules{rules: []rule{{pattern: "/"}}} }

// Sitemaps returns the addresses of the site's sitemaps, which are for all
// agents.
func (r *Rules) Sitemaps() []string { return r.sitemaps }

// Delay returns the Crawl-delay, 0 if there is none.
func (r *Rules) Delay() time.Duration { return r.delay }

// group is what applies to an agent: the rules of every group that names it.
type group struct {
	seen  bool
	rules []rule
	delay time.Duration
}

// Lines returns the whole lines that cut data begins with: half of a rule may
// be another rule.
func Lines(data []byte) []byte { return data[:bytes.LastIndexAny(data, "\r\n")+1] }

// Parse reads the lines in the first MaxBytes of data and keeps what applies to
// agent, a product token; "" or "*" stands for an agent that no group names. It
// takes any input.
func Parse(data []byte, agent string) *Rules {
	if len(data) > MaxBytes {
		data = Lines(data[:MaxBytes])
	}
	agent = productToken(agent)

	var (
		sitemaps          []string
		own, everyone     group
		inOwn, inEveryone bool // groups that the current lines belong to
		sawRule           bool // a user-agent line now begins another group
		apply             = func(f func(*group)) {
			if inOwn {
				f(&own)
			}
			if inEveryone {
				f(&everyone)
			}
		}
	)

	for len(data) > 0 {
		var line []byte
		if end := bytes.IndexAny(data, "\r\n"); end >= 0 {
			line, data = data[:end], data[end+1:]
		} else {
			line, data = data, nil
		}

		key, value := split(line[:min(len(line), maxLine)])
		switch directive(key) {
		case "user-agent":
			if sawRule {
				inOwn, inEveryone, sawRule = false, false, false
			}
			if value == "*" || strings.HasPrefix(value, "* ") || strings.HasPrefix(value, "*\t") {
				inEveryone, everyone.seen = true, true
			} else if token := productToken(value); agent != "" && strings.EqualFold(token, agent) {
				inOwn, own.seen = true, true
			}
		case "allow", "disallow":
			sawRule = true
			if value == "" { // allows or disallows nothing
				continue
			}
			r := rule{pattern: literalDollars(normalize(value)), allow: directive(key) == "allow"}
			apply(func(g *group) { g.rules = append(g.rules, r) })
		case "sitemap":
			if value != "" && len(sitemaps) < maxSitemaps {
				sitemaps = append(sitemaps, value)
			}
		case "crawl-delay":
			// No rule of the RFC's, so it neither ends the list of agents nor
			// counts before the first group.
			if delay, ok := seconds(value); ok {
				apply(func(g *group) { g.delay = max(g.delay, delay) })
			}
		}
	}

	if own.seen {
		return &Rules{rules: own.rules, delay: own.delay, sitemaps: sitemaps}
	}
	return &Rules{rules: everyone.rules, delay: everyone.delay, sitemaps: sitemaps}
}

// special encodes the characters that mean something in a pattern.
var special = strings.NewReplacer("*", "%2A", "$", "%24")

// Allowed reports whether a path, with its query if there is one, may be
// fetched: the rule with the longest pattern that matches decides, and of two
// equally long ones the one that allows.
func (r *Rules) Allowed(path string) bool {
	if len(r.rules) == 0 {
		return true
	}
	if path == "" {
		path = "/"
	}
	path = special.Replace(normalize(path)) // in a path they stand for themselves (RFC 9309 §2.2.3)
	if path == "/robots.txt" {
		return true
	}

	best, allowed := -1, true
	for _, rule := range r.rules {
		if len(rule.pattern) < best || len(rule.pattern) == best && !rule.allow {
			continue
		}
		if match(path, rule.pattern) {
			best, allowed = len(rule.pattern), rule.allow
		}
		// A rule for a folder's index page is meant for the folder.
		if folder, ok := strings.CutSuffix(rule.pattern, "/index.html"); ok && rule.allow && len(folder)+2 > best && match(path, folder+"/$") {
			best, allowed = len(folder)+2, true
		}
	}

	return allowed
}

// Match reports whether a path, with its query if there is one, matches a
// pattern as a rule's does.
func Match(path, pattern string) bool {
	return match(special.Replace(normalize(path)), literalDollars(normalize(pattern)))
}

// literalDollars encodes each $ of a pattern but one at its end.
func literalDollars(pattern string) string {
	last := len(pattern) - 1
	if i := strings.IndexByte(pattern, '$'); i < 0 || i == last {
		return pattern
	}
	return strings.ReplaceAll(pattern[:last], "$", "%24") + pattern[last:]
}

// match reports whether pattern, in which * stands for anything and a $ at the
// end for the end, matches the beginning of path. It keeps the set of positions
// that the pattern may have reached, so its time is bounded by the product of
// the lengths.
func match(path, pattern string) bool {
	anchored := strings.HasSuffix(pattern, "$")
	pattern = strings.TrimSuffix(pattern, "$")
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(path, parts[0]) {
		return false
	}
	path = path[len(parts[0]):]

	if len(parts) == 1 {
		return !anchored || path == ""
	}

	last := len(parts) - 1
	for _, part := range parts[1:last] { // the first fit leaves the most room
		i := strings.Index(path, part)
		if i < 0 {
			return false
		}
		path = path[i+len(part):]
	}

	if anchored {
		return strings.HasSuffix(path, parts[last])
	}
	return strings.Contains(path, parts[last])
}

// visible returns a line without the bytes that no editor shows and no rule can
// hold (RFC 9309 §2.2): control characters but the tab, and byte order marks,
// which stand within a file where it was put together from several.
func visible(line []byte) string {
	text := strings.ReplaceAll(string(line), "\ufeff", "")
	hidden := func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }
	if !slices.ContainsFunc([]byte(text), hidden) {
		return text
	}
	return string(slices.DeleteFunc([]byte(text), hidden))
}

// split returns the key and the value of a line, "" and "" if it has none.
func split(line []byte) (key, value string) {
	text, _, _ := strings.Cut(visible(line), "#")
	text = strings.TrimSpace(text)
	key, value, ok := strings.Cut(text, ":")
	if !ok { // exactly two words: the colon was forgotten
		words := strings.Fields(text)
		if len(words) != 2 {
			return "", ""
		}
		return words[0], words[1]
	}
	return strings.TrimSpace(key), strings.TrimSpace(value)
}

// directive returns the name that a key, in any spelling seen in the wild,
// stands for.
func directive(key string) string {
	key = strings.ToLower(key)
	switch key {
	case "useragent", "user agent":
		return "user-agent"
	case "dissallow", "dissalow", "disalow", "diasllow", "disallaw":
		return "disallow"
	case "crawldelay", "crawl delay":
		return "crawl-delay"
	}
	return key
}

// productToken returns the leading letters, hyphens and underscores of s (RFC
// 9309 §2.2.1).
func productToken(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		return s
	}
	return s[:end]
}

// seconds reads a Crawl-delay: a number, perhaps with a fraction. A day is the
// most.
func seconds(value string) (time.Duration, bool) {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n > 0) {
		return 0, false
	}
	return time.Duration(min(n, 86400) * float64(time.Second)), true
}

// normalize brings a path or a pattern into one spelling (RFC 9309 §2.2.2):
// bytes outside ASCII are %-encoded, hexadecimal digits are upper case, and an
// encoded character that need not be encoded is not.
func normalize(s string) string {
	plain := true
	for i := range len(s) {
		if s[i] == '%' || s[i] >= 0x80 || s[i] <= ' ' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}

	const digits = "0123456789ABCDEF"
	var out strings.Builder
	out.Grow(len(s) + 8)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
				if isUnreserved(c) {
					out.WriteByte(c)
				} else {
					out.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
				}
				continue
			}
		}

		if c >= 0x80 || c <= ' ' {
			out.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
			continue
		}
		out.WriteByte(c)
	}

	return out.String()
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
