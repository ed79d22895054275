package scrape

import (
	"crypto/rand"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Identity is what one stretch of requests has in common: an isolation key and
// with it an exit, connections, cookies and, with PerIdentity, a user agent.
type Identity struct {
	// Number counts the identities of a client, from 1.
	Number int
	// Isolation is the key given to the egress. It is random and no secret.
	Isolation string
	// Way is the way out: "direct", a proxy, or what the egress calls itself.
	Way string
	// Exit is the exit as the egress names it (Tor: the fingerprint), "" if it
	// is not known, or not yet.
	Exit string
	// Address is the exit's address, and Country its country as two letters in
	// lower case; each is "" if the egress cannot tell it (Tor: without a control
	// port, and the country without its table of countries), or not yet.
	Address, Country string
	// Agent is the user agent with PerIdentity, else "".
	Agent string
	// Direct says that requests leave from this machine's own address.
	Direct bool
	// Since is when the identity was made.
	Since time.Time
}

// identity is an Identity at work.
type identity struct {
	*route
	owner     *identities
	info      Identity    // but for Exit and where it is
	connected atomic.Bool // it has had an answer
	unknown   int64       // pages counted before exit was known; guarded by stats.mu
	jar       http.CookieJar
	ownJar    bool        // jar was made here
	cookied   atomic.Bool // cookies were put into jar

	used   int  // guarded by identities.mu
	left   bool // no more requests; guarded by identities.mu
	opened bool // connections were opened in advance; guarded by identities.mu

	mu      sync.Mutex
	refs    int // requests in flight
	retired bool
	ended   bool
}

// newIsolation returns a key that no other identity of any process has. It
// never begins with "<torS0X>", which Tor takes for a format of its own.
func newIsolation() string { return "sb-" + rand.Text() }

// cookies returns what to send with req. A request that brings cookies has a
// jar of its own; the two are not mixed. A jar that was never given any is not
// asked: its answer costs a look into the public suffix list.
func (id *identity) cookies(req *http.Request) []*http.Cookie {
	if id.jar == nil || id.ownJar && !id.cookied.Load() || len(req.Header["Cookie"]) > 0 {
		return nil
	}
	return id.jar.Cookies(req.URL)
}

// setCookies keeps the cookies of an answer.
func (id *identity) setCookies(req *http.Request, res *http.Response) {
	if id.jar == nil {
		return
	}
	if cookies := res.Cookies(); len(cookies) > 0 {
		id.jar.SetCookies(req.URL, cookies)
		id.cookied.Store(true)
	}
}

// snapshot returns what is known of the identity now.
func (id *identity) snapshot() Identity {
	info := id.info
	if exit := id.exit.Load(); exit != nil {
		info.Exit = *exit
	}
	if at := id.at.Load(); at != nil {
		info.Address, info.Country = at.address, at.country
	}
	return info
}

// hold counts a request in flight, and reports whether the identity may make
// it. One that had ended, because a redirect took its time, comes to life again
// with the same key and cookies.
func (id *identity) hold() bool {
	id.mu.Lock()
	id.refs++
	revive := id.ended
	id.ended = false
	id.mu.Unlock()
	if revive && !id.owner.register(id) {
		id.release()
		return false
	}
	return true
}

// release ends a request in flight; the last one of a retired identity closes
// its connections.
func (id *identity) release() {
	id.mu.Lock()
	id.refs--
	over := id.retired && id.refs <= 0 && !id.ended
	if over {
		id.ended = true
	}
	id.mu.Unlock()
	if over {
		id.owner.forget(id)
	}
}

// retire takes the identity out of service. What is in flight goes on.
func (id *identity) retire() {
	id.mu.Lock()
	id.retired = true
	over := id.refs <= 0 && !id.ended
	if over {
		id.ended = true
	}
	id.mu.Unlock()
	if over {
		id.owner.forget(id)
	}
}
