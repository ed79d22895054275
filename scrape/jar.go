package scrape

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Bounds of a jar, as browsers have them. A site that gives each page a cookie
// of its own would else take all memory, and in the end refuse requests for the
// length of their header.
const (
	maxCookieBytes = 4096 // of a name and its value (RFC 6265 §6.1)
	maxSiteCookies = 180  // of a registered domain
	maxCookies     = 3000
)

// jar is a cookie jar that knows the public suffix list. Of too many cookies it
// drops those that were set longest ago.
type jar struct {
	jar *cookiejar.Jar

	mu    sync.Mutex
	known []knownCookie // longest ago first
}

// knownCookie is what tells a cookie from others (RFC 6265 §5.3), and what its
// removal needs.
type knownCookie struct {
	domain, path, name string
	site               string
	from               *url.URL
	attribute          string // the Domain that it came with
}

// newJar returns an empty jar.
func newJar() *jar {
	inner, _ := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List}) // fails only for other options
	return &jar{jar: inner}
}

// Cookies returns what is sent with a request for u.
func (j *jar) Cookies(u *url.URL) []*http.Cookie { return j.jar.Cookies(u) }

// SetCookies takes the cookies of an answer from u.
func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range cookies {
		if len(c.Name)+len(c.Value) <= maxCookieBytes {
			j.jar.SetCookies(u, []*http.Cookie{c})
			j.note(u, c)
		}
	}
}

// note remembers a cookie that was set, and drops others for it. j.mu is held.
func (j *jar) note(u *url.URL, c *http.Cookie) {
	k, ok := know(u, c)
	if !ok {
		return
	}
	j.known = slices.DeleteFunc(j.known, func(old knownCookie) bool {
		return old.name == k.name && old.path == k.path && old.domain == k.domain
	})
	if c.MaxAge < 0 || c.MaxAge == 0 && !c.Expires.IsZero() && !c.Expires.After(time.Now()) {
		return // the site has removed it
	}

	j.known = append(j.known, k)
	ofSite := func(old knownCookie) bool { return old.site == k.site }
	count := 0
	for _, old := range j.known {
		if ofSite(old) {
			count++
		}
	}
	if count > maxSiteCookies {
		j.drop(slices.IndexFunc(j.known, ofSite))
	}
	if len(j.known) > maxCookies {
		j.drop(0)
	}
}

// drop removes a cookie. j.mu is held.
func (j *jar) drop(i int) {
	k := j.known[i]
	j.known = slices.Delete(j.known, i, i+1)
	j.jar.SetCookies(k.from, []*http.Cookie{{Name: k.name, Path: k.path, Domain: k.attribute, MaxAge: -1}})
}

// know returns what tells a cookie, or false for one that its domain keeps out of
// a jar.
func know(u *url.URL, c *http.Cookie) (k knownCookie, ok bool) {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	k = knownCookie{domain: host, path: c.Path, name: c.Name, site: host, from: u, attribute: c.Domain}
	if domain := strings.ToLower(strings.TrimPrefix(c.Domain, ".")); domain != "" && domain != host {
		suffix, _ := publicsuffix.PublicSuffix(domain)
		if suffix == domain || !strings.HasSuffix(host, "."+domain) || net.ParseIP(host) != nil {
			return k, false
		}
		k.domain = domain
	}

	if net.ParseIP(host) == nil {
		if site, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
			k.site = site
		}
	}
	if !strings.HasPrefix(k.path, "/") { // the folder of u (RFC 6265 §5.1.4)
		k.path = u.Path[:max(0, strings.LastIndexByte(u.Path, '/'))]
		if !strings.HasPrefix(k.path, "/") {
			k.path = "/"
		}
	}
	return k, true
}
