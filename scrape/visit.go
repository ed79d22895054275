package scrape

import (
	"net/http"
	"net/url"
)

// Visit is one page of a crawl in the hands of the caller's function.
type Visit struct {
	// Request is what was asked for.
	Request Request
	// Response is the answer, nil with Err. Its body is closed when the function
	// returns. Its Request has the address that redirects led to. A redirect that
	// leads out of scope is not followed: it is the answer.
	Response *http.Response
	// Err is why there is no answer, an *Error.
	Err error

	crawl *crawl
	head  head
	found []*item
}

// NoIndex reports whether the site asks not to keep the page (noindex in
// X-Robots-Tag or in the meta element robots, or in those for Robots.Agent).
// Whether to is the caller's affair.
func (v *Visit) NoIndex() bool { return v.head.noIndex }

// NoFollow reports whether the site asks not to follow the links of the page.
// Add then passes over all of them, unless CrawlOptions.IgnoreNoFollow is set.
func (v *Visit) NoFollow() bool { return v.head.noFollow }

// Canonical returns the address by which the site wants the page to be known
// (rel="canonical", RFC 6596), absolute; "" if it names none. See
// CrawlOptions.Canonical.
func (v *Visit) Canonical() string {
	u := v.canonical()
	if u == nil {
		return ""
	}
	return u.String()
}

func (v *Visit) canonical() *url.URL {
	if v.head.canonical == "" {
		return nil
	}
	u, err := resolve(v.base(), v.head.canonical)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil
	}
	return u
}

// Add adds the pages at these addresses, which may be relative to this one, or
// to the base that its HTML names. What is out of scope, known already or no
// address of http or https is passed over, and everything if the site says
// nofollow. It returns how many were added.
func (v *Visit) Add(addresses ...string) int {
	n := 0
	for _, address := range addresses {
		if v.AddRequest(Request{URL: address}) {
			n++
		}
	}
	return n
}

// AddRequest adds a request, and reports whether it is new and in scope. A
// request of another method than GET is known by its body as well.
func (v *Visit) AddRequest(r Request) bool {
	if v.NoFollow() && !v.crawl.opts.IgnoreNoFollow {
		return false
	}
	u, err := resolve(v.base(), r.URL)
	if err != nil {
		return false
	}

	r.Depth = v.Request.Depth + 1
	it := v.crawl.admit(u, r, false)
	if it != nil {
		v.found = append(v.found, it)
	}
	return it != nil
}

// base is what addresses on the page are relative to.
func (v *Visit) base() *url.URL {
	base := &url.URL{}
	if v.Response != nil && v.Response.Request != nil {
		base = v.Response.Request.URL
	} else if u, err := parseAddress(v.Request.URL); err == nil {
		base = u
	}
	if u, err := resolve(base, v.head.base); v.head.base != "" && err == nil {
		return u
	}
	return base
}
