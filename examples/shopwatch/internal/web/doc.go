// Package web renders the status page of the showcase.
//
// [Page] is plain view data: the service fills one from what its blocks report
// and hands [NewHandler] a function that makes a fresh one for each request.
//
//	page := func(ctx context.Context) web.Page { return service.page(ctx) }
//	mux.Handle("/", web.NewHandler(page, logger))
//
// The page is rendered on the server with html/template from files that are
// embedded in the binary: no build step, nothing fetched from elsewhere, and
// readable without JavaScript. Where JavaScript runs, a small script asks for
// the same address every few seconds and swaps the parts that changed; it
// rests while the page is hidden. The Content-Security-Policy allows the
// page's own two files and nothing else.
//
// The "Scrape now" button is a plain form that posts to /scrape. The route,
// and the check that the request comes from the same origin
// ([net/http.CrossOriginProtection]), belong to the service.
//
// What arrives from outside (item names, caught mail, log lines) is untrusted
// and appears as text only. Secrets are the caller's duty: a [Setting] with
// Secret set never shows its Value.
package web
