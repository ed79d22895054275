package scrape

import (
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/svcblocks/svcblocks/internal/loopback"
	"github.com/svcblocks/svcblocks/scrape/useragent"
)

// header returns what is sent: what the caller set, then what Options.Header
// says, and for the rest what the browser of the user agent sends.
func (c *Client) header(req *http.Request, browser *profile) http.Header {
	own := browser.header
	if len(c.opts.Header) > 0 {
		own = merge(own, c.opts.Header)
	}
	header := merge(own, req.Header)
	if req.Response != nil {
		refer(header, req)
	}
	if cookies, ok := req.Header["Cookie"]; ok {
		header["Cookie"] = append([]string(nil), cookies...) // AddCookie writes to it
	}
	return header
}

// merge returns the fields of both, the second's where both have one.
func merge(first, second http.Header) http.Header {
	header := maps.Clone(first)
	if header == nil {
		header = http.Header{}
	}
	for name, values := range second {
		if canonical := textproto.CanonicalMIMEHeaderKey(name); canonical != name {
			delete(header, canonical) // the caller's spelling stands for the field
		}
		header[name] = values
	}
	return header
}

// refer makes the Referer of a redirect what browsers send: a redirect brings
// none of its own, and one that the caller set is shortened to the origin for
// another origin (strict-origin-when-cross-origin).
func refer(header http.Header, req *http.Request) {
	before := req.Response.Request
	value := header.Get("Referer")
	if before == nil || value == "" {
		return
	}

	set := before.Header.Get("Referer")
	if set == "" {
		header.Del("Referer") // http.Client added it
		return
	}

	to, err := url.Parse(set)
	if err != nil || to.Scheme == "https" && req.URL.Scheme == "http" {
		header.Del("Referer")
		return
	}

	if originOf(to) != originOf(req.URL) {
		set = originOf(to).String() + "/"
	}
	header.Set("Referer", set)
}

// profile returns the headers of the user agent of a request, which it chooses:
// the caller's, the identity's, or one that is drawn.
func (c *Client) profile(req *http.Request, ch *chain, identitys string) *profile {
	own := req.Header.Get("User-Agent")
	_, given := req.Header["User-Agent"]
	if !given {
		own = c.opts.Header.Get("User-Agent")
	}
	switch {
	case own != "":
		ch.agent = own
	case identitys != "":
		ch.agent = identitys
	case ch.agent == "":
		ch.agent = c.opts.UserAgents.GetRandom()
	}
	return c.profiles.get(profileKey{ch.agent, isSecure(req.URL), isNavigation(req)})
}

// isNavigation reports whether a request is what a browser sends for an address
// that was typed. Whoever posts, asks for something else than a page by Accept
// or shows a token is a program that talks to a program.
func isNavigation(req *http.Request) bool {
	if req.Method != "" && req.Method != http.MethodGet && req.Method != http.MethodHead {
		return false
	}
	if req.Body != nil && req.Body != http.NoBody || req.Header.Get("Authorization") != "" || req.Header.Get("X-Requested-With") != "" {
		return false
	}
	accept := req.Header.Get("Accept")
	return accept == "" || strings.Contains(accept, "text/html")
}

// isSecure reports whether browsers take the origin for a secure one.
func isSecure(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	return loopback.Is(u.Hostname()) || strings.HasSuffix(u.Hostname(), ".localhost") // browsers keep these here
}

// maxProfiles bounds the profile cache; a pool has some hundred agents.
const maxProfiles = 4096

// profileKey is what the headers of a browser depend on.
type profileKey struct {
	agent            string
	secure, navigate bool
}

// profile is what a browser sends. It is shared and not changed.
type profile struct {
	key     profileKey
	header  http.Header
	spelled http.Header // as it goes over HTTP/1.1
}

// hints are the fields that Chromium writes in lower case, which shows on
// HTTP/1.1.
var hints = map[string]string{
	"Sec-Ch-Ua": "sec-ch-ua", "Sec-Ch-Ua-Mobile": "sec-ch-ua-mobile", "Sec-Ch-Ua-Platform": "sec-ch-ua-platform",
}

// spelled returns header with its hints as Chromium spells them.
func spelled(header http.Header) http.Header {
	if len(header["Sec-Ch-Ua"]) == 0 {
		return header
	}
	sent := make(http.Header, len(header))
	for name, values := range header {
		if lower, ok := hints[name]; ok {
			name = lower
		}
		sent[name] = values
	}
	return sent
}

// profileCache keeps the profile of each user agent.
type profileCache struct {
	contact string // appended to the agent
	last    atomic.Pointer[profile]
	cache   sync.Map // profileKey → *profile
	size    atomic.Int64
}

func (p *profileCache) get(key profileKey) *profile {
	if last := p.last.Load(); last != nil && last.key == key { // most requests are one identity's
		return last
	}
	if known, ok := p.cache.Load(key); ok {
		p.last.Store(known.(*profile))
		return known.(*profile)
	}

	parsed, _ := useragent.Parse(key.agent) // no browser: the plain headers
	header := parsed.Header(key.secure)
	if !key.navigate {
		plain(header)
	}
	if p.contact != "" {
		header.Set("User-Agent", key.agent+" (+"+p.contact+")")
	}
	browser := &profile{key: key, header: header, spelled: spelled(header)}
	if p.size.Add(1) <= maxProfiles {
		p.cache.Store(key, browser)
	}
	return browser
}

// plain takes from a browser's headers what belongs to a navigation.
func plain(header http.Header) {
	for _, name := range []string{"Upgrade-Insecure-Requests", "Sec-Fetch-User", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"} {
		header.Del(name)
	}
	header.Set("Accept", "*/*")
}
