package scrape

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/svcblocks/svcblocks/scrape/internal/robots"
)

// maxAddress bounds an address that was found, in bytes: what is longer is a
// trap more often than a page. It is what Scrapy takes, too.
const maxAddress = 2083

// scope says which of the pages that were found are fetched.
type scope struct {
	hosts            []string
	include, exclude []string
	maxDepth         int
}

// has reports whether a page is in scope.
func (s *scope) has(u *url.URL, depth int) bool {
	if s.maxDepth < 0 || s.maxDepth > 0 && depth > s.maxDepth || !s.hasHost(u) {
		return false
	}
	path := u.RequestURI()
	if len(u.Host)+len(path) > maxAddress {
		return false
	}

	matches := func(pattern string) bool { return robots.Match(path, pattern) }
	if len(s.include) > 0 && !slices.ContainsFunc(s.include, matches) {
		return false
	}
	return !slices.ContainsFunc(s.exclude, matches)
}

// hasHost reports whether pages of a host are in scope.
func (s *scope) hasHost(u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	host := hostKey(u)
	return slices.ContainsFunc(s.hosts, func(s string) bool {
		return host == s || strings.HasPrefix(s, ".") && (strings.HasSuffix(host, s) || host == s[1:])
	})
}

// sameSite reports whether two hosts are of one owner: example.com and
// www.example.com, or two ports of one name.
func sameSite(a, b *url.URL) bool {
	one, other := strings.TrimSuffix(a.Hostname(), "."), strings.TrimSuffix(b.Hostname(), ".")
	if strings.EqualFold(one, other) {
		return true
	}
	if net.ParseIP(one) != nil || net.ParseIP(other) != nil {
		return false
	}
	owner, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(one))
	if err != nil {
		return false
	}
	otherOwner, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(other))
	return err == nil && owner == otherOwner
}
