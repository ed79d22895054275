package scrape

import (
	"net/http"
	"time"
)

// Hooks are called as things happen, from the goroutine that the thing happens
// in: concurrently, and the request waits for them. Each may be nil.
type Hooks struct {
	// OnRequest is called before each request is sent, retries, redirects and
	// robots.txt included. It may change the header of req, which is a copy; its
	// error ends the request.
	OnRequest func(req *http.Request) error
	// OnPage is called when a body, fetched or from the cache, has been read to
	// its end or closed.
	OnPage func(Page)
	// OnRotate is called when an identity takes over; old is the zero Identity
	// for the first.
	OnRotate func(old, next Identity)
	// OnRetry is called before the wait for another attempt.
	OnRetry func(Attempt)
	// OnBan is called when Options.Banned recognised a ban.
	OnBan func(Attempt)
	// OnFallback is called when a request is about to be sent from this
	// machine's own address.
	OnFallback func(Attempt)
}

// Page is an answer that was delivered.
type Page struct {
	// URL is the address without user, password, query and fragment.
	URL string
	// Status is the HTTP status code.
	Status int
	// Bytes and WireBytes count what was read of the body, decoded and as sent.
	Bytes, WireBytes int64
	// Elapsed is the time from the start of the attempt to the end of the body.
	Elapsed time.Duration
	// Cached says that the body comes from Options.Cache, as it was or after the
	// site has confirmed it.
	Cached bool
	// Identity is the one that fetched it, the zero Identity if Cached.
	Identity Identity
	// Agent is the user agent that was sent, or would have been.
	Agent string
	// Err is why the body ended early, nil if it did not.
	Err error
}

// Attempt is one try of a request that did not end in a page.
type Attempt struct {
	// URL is the address without user, password, query and fragment.
	URL string
	// Number counts the attempts of the request, from 1.
	Number int
	// Status is the HTTP status code, 0 if there was no answer.
	Status int
	// Err is what went wrong, nil if Status says it.
	Err error
	// Wait is how long is waited before the next attempt.
	Wait time.Duration
	// Identity is the one that made the attempt.
	Identity Identity
}
